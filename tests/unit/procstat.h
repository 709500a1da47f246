/*
 * tests/unit/procstat.h - what /proc/PID/stat says of a process (proc(5)).
 */
#ifndef AMP_PROCSTAT_H
#define AMP_PROCSTAT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#define PROCSTAT_SIZE 1024

/* Into line. The fields from the third on, the state, which the name cannot be taken for. */
static const char *procstat_fields(pid_t pid, char line[PROCSTAT_SIZE])
{
	char path[64], *at;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(line, PROCSTAT_SIZE, f));
	fclose(f);
	at = strrchr(line, ')');
	assert_non_null(at);
	return at + 2;
}

#endif
