/*
 * ampscand/main.c - the program; everything else is in the library.
 */
#include "scand.h"

int main(void)
{
	return scand_main();
}
