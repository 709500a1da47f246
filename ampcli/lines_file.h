/*
 * ampcli/lines_file.h - the lines that were typed, over several runs.
 *
 * Owns: ~/.ampcli_history: the user's own, for nobody else to read, bounded.
 * Must not own: libedit.
 */
#ifndef AMPCLI_LINES_FILE_H
#define AMPCLI_LINES_FILE_H

#include <stddef.h>

#define LINES_FILE ".ampcli_history"
#define LINES_MAX  500
#define LINE_KEPT  4096 /* bytes of one; longer ones are not kept */

struct lines {
	size_t n;
	char *line[LINES_MAX]; /* oldest first */
};

/* The newest goes to the end; a repeated, an empty and an overlong one are left out. */
void lines_add(struct lines *l, const char *line);
void lines_free(struct lines *l);

/*
 * `home`: $HOME. Nothing is read or written unless it is a directory of the
 * user that this process is, in which nobody else may write, and the file a
 * regular one of his without another name. 0 or -1+errno (EPERM: not his).
 */
int lines_load(struct lines *l, const char *home);
int lines_save(const struct lines *l, const char *home);

#endif
