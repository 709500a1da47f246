/*
 * ampscand/script.h - which process runs a shebang script.
 * Owns: telling, of an exec event on a script, whether the process runs the
 * script's interpreter by now. Must not own: the kill.
 */
#ifndef AMPSCAND_SCRIPT_H
#define AMPSCAND_SCRIPT_H

#include "scand.h"

enum script_answer {
	SCRIPT_GONE,	/* the process is no more */
	SCRIPT_NOT_YET, /* it runs something else: the exec may not be through, or it failed */
	SCRIPT_RUNS	/* *identity is its program, the script's interpreter */
};

/* line: what follows "#!". Nothing is opened: links and stat only. */
enum script_answer script_interpreter(struct scand *s, pid_t pid, const struct amp_fileid *script,
				      const char *line, size_t line_size, struct amp_identity *identity);

#endif
