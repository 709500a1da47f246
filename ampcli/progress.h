/*
 * ampcli/progress.h - the one line in which a scan says how far it is.
 *
 * Owns: rate and time left of the answers that came, the text of the line for
 * a width. Pure: no terminal, no clock.
 * Must not own: when it is drawn, asking (scan_wait.h).
 */
#ifndef AMPCLI_PROGRESS_H
#define AMPCLI_PROGRESS_H

#include "proto/cli.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_WIDTH_MAX 512 /* columns */

struct progress_rate {
	bool begun;
	int64_t at_ns; /* of the sample before */
	uint64_t files;
	double per_second; /* smoothed; 0: not known */
};

/* An answer that came at now_ns (monotonic). */
void progress_sample(struct progress_rate *r, const Amp__CliScan *s, int64_t now_ns);
/* Until the end, or -1: not known. */
int64_t progress_left_ns(const struct progress_rate *r, const Amp__CliScan *s);

/*
 * The line: at most `width` columns, in buf of PROGRESS_WIDTH_MAX * 4 + 1
 * bytes, without end of line. Characters that may be wide count as two. What
 * does not fit is left out, the last things first. Returns its columns.
 */
size_t progress_line(const Amp__CliScan *s, const struct progress_rate *r, size_t width, char *buf);

#endif
