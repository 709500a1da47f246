/*
 * ampscand/ampread/main.c - the program; everything else is in libampread.a,
 * so that tests link it. Must not own: anything.
 */
#include "readroom.h"

int main(void)
{
	return amp_readroom_main();
}
