/*
 * ampquard/step.c - in the program as it is used, a step is nothing.
 */
#include "step.h"

void step(const char *place)
{
	(void)place;
}
