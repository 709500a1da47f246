/*
 * ampcli/complete.h - what a word that is being typed may become.
 *
 * Owns: candidates from the table of commands, ids asked of the services,
 * names of files; the hidden option by which the completion of bash asks.
 * Must not own: the terminal (shell_edit.c), quoting (words.h).
 */
#ifndef AMPCLI_COMPLETE_H
#define AMPCLI_COMPLETE_H

#include "cli.h"

#include <stdbool.h>
#include <stddef.h>

#define COMPLETE_OPTION "--completion-words"
#define COMPLETE_MAX	512

enum complete_also { COMPLETE_NOTHING, COMPLETE_FILES, COMPLETE_DIRECTORIES };

struct completion {
	size_t n; /* at most COMPLETE_MAX: more are left out */
	char *word[COMPLETE_MAX];
	enum complete_also also; /* names of files fit too: complete_paths() */
};

/*
 * For the last of n words (n > 0; it may be empty), after the others. Asks a
 * service where an id is wanted; one that does not answer has none.
 */
void complete_words(struct completion *c, const struct cli *cli, size_t n, char *const *word);
/* Adds names of files that begin so; directories end with a slash. */
void complete_paths(struct completion *c, const char *beginning, bool directories);
void completion_free(struct completion *c);
/* Bytes that all candidates begin with. */
size_t completion_common(const struct completion *c);

/* COMPLETE_OPTION: prints them for bash, one a line; ":files" or ":directories" for names of files. */
int complete_print(const struct cli *cli, size_t n, char *const *word);

#endif
