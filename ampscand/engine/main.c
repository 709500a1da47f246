/*
 * ampscand/engine/main.c - the program; everything else is in libampengine.a, so that
 * tests link it. Must not own: anything.
 */
#include "engine.h"

int main(void)
{
	return engine_main();
}
