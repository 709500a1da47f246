/*
 * ampscand/engine/seam.c - in the program as it is used, nothing.
 */
#include "seam.h"

void seam_before_scan(const uint8_t *data, size_t size)
{
	(void)data;
	(void)size;
}

void seam_after_scan(const uint8_t *data, size_t size, struct adapter_verdict *v)
{
	(void)data;
	(void)size;
	(void)v;
}
