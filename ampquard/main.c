/*
 * ampquard/main.c - the program; its body is in the library beside it, so
 * that tests link the same code.
 */
#include "quard.h"

int main(void)
{
	return quard_main();
}
