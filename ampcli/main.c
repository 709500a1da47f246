/*
 * ampcli/main.c - the program; everything else is in libampcli.a, so that
 * tests link it.
 */
#include "cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv, stdout, stderr);
}
