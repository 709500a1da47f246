/*
 * ampscand/engine/seam.h - where the tests take hold of a worker.
 *
 * Owns: nothing. In the program as it is used both do nothing (seam.c); the tests link
 * one whose worker crashes, hangs, grows, breaks its filter or lies over contents that
 * say so (tests/system/engine_seam.c).
 */
#ifndef AMPENGINE_SEAM_H
#define AMPENGINE_SEAM_H

#include "adapter.h"

void seam_before_scan(const uint8_t *data, size_t size);
void seam_after_scan(const uint8_t *data, size_t size, struct adapter_verdict *v);

#endif
