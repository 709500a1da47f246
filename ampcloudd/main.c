/*
 * ampcloudd/main.c - the program; its body is in the library beside it, so
 * that tests link the same code.
 */
#include "cloudd.h"

int main(void)
{
	return cloudd_main();
}
