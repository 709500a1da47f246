/*
 * ampmon/main.c - the program; everything else is a library, so that tests link it.
 */
#include "ampmon/mon.h"

int main(int argc, char **argv)
{
	return mon_main(argc, argv);
}
