/*
 * ampcli/words.h - a line taken apart into words, as a shell does it: spaces
 * and tabs part them; 'single quotes' keep all, "double quotes" all but
 * \" \\ \$ \`; a backslash elsewhere keeps the next character; # at the
 * beginning of a word ends the line.
 *
 * Owns: that. Nothing is expanded: * $ ; | & < > are characters as others are.
 * Must not own: what the words mean.
 */
#ifndef AMPCLI_WORDS_H
#define AMPCLI_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#define WORDS_LINE_MAX 65536 /* bytes of a line */
#define WORDS_MAX      256

struct words {
	size_t n;
	char *word[WORDS_MAX + 1]; /* NULL behind the last; into text */
	bool unfinished;	   /* the last one ends with the line: more of it may follow */
	bool comment;		   /* the line ended with one */
	char quote;		   /* left open: ' or ", or \ at the very end; 0: none */
	char text[WORDS_LINE_MAX + 1];
};

/* 0, or -1: too long, or too many words. A quote left open is no error here. */
int words_split(struct words *w, const char *line);

/*
 * `text` in the form in which words_split() reads it as what it is, when it is
 * appended to a word that stands within `quote` (0: within none). malloc'd;
 * NULL: no memory.
 */
char *words_quote(const char *text, char quote);

#endif
