/*
 * lib/clock.h - the time, in nanoseconds, that a test can set.
 * Owns: the only calls of clock_gettime(2) in the suite.
 */
#ifndef AMP_CLOCK_H
#define AMP_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define AMP_NS_PER_SEC 1000000000LL
#define AMP_NS_PER_MS  1000000LL

int64_t amp_clock_monotonic(void); /* CLOCK_MONOTONIC, ns */
int64_t amp_clock_realtime(void);  /* CLOCK_REALTIME, ns since the epoch */

/* Never frozen: for deadlines that are handed to the kernel or to pthread. */
int64_t amp_clock_kernel_monotonic(void);
int64_t amp_clock_kernel_boottime(void); /* CLOCK_BOOTTIME, which start times of processes are in */

/* Tests: both clocks stand at these values until amp_clock_release(). */
void amp_clock_freeze(int64_t monotonic_ns, int64_t realtime_ns);
void amp_clock_advance(int64_t ns);
void amp_clock_release(void);

/* RFC 3339 in UTC with milliseconds, "2026-01-31T23:59:59.123Z", in buf[32]. */
const char *amp_clock_rfc3339(int64_t realtime_ns, char *buf, size_t size);

/* Parses RFC 3339, "YYYY-MM-DD[ T]HH:MM[:SS]", "YYYY-MM-DD" (UTC) or a span back from now
 * ("90s", "15m", "2h", "7d"). 0, or -1 with EINVAL. */
int amp_clock_parse(const char *text, int64_t *realtime_ns);

#endif
