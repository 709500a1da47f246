/*
 * ampscand/ampread/names.h - names in a directory, in order.
 *
 * Owns: the names, sorted by their bytes, in bounded memory: of more than fit it
 * keeps those that come first and says that there are more; then the directory is
 * gone through again for those behind the last.
 * Must not own: reading the directory.
 */
#ifndef AMP_NAMES_H
#define AMP_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: empty. */
struct amp_names {
	char *text; /* names, each with its NUL */
	size_t size, room;
	uint32_t *at; /* where in the text */
	uint32_t count, at_room;
	uint32_t next;
	uint32_t top; /* more: where the last one kept is */
	size_t limit; /* bytes of both */
	bool more;    /* others come after these */
	bool sorted;
	char *from;	/* those before it are not taken; NULL: all are */
	bool with_from; /* it itself is */
};

/* Takes names anew. from (copied; may be NULL): those behind it, and it itself if with_from. 0, or -1: no
 * memory. */
int amp_names_begin(struct amp_names *s, size_t limit, const char *from, bool with_from);
int amp_names_add(struct amp_names *s, const char *name);
/* Empties it: the same names are to be added from the first again. */
void amp_names_again(struct amp_names *s);
/* All were added; more may be, and this called again, as long as none was taken. */
void amp_names_end(struct amp_names *s);

/* The next name, valid until the next begin or free; NULL: none of these is left. */
const char *amp_names_next(struct amp_names *s);
/* The one taken last; NULL: none was. */
const char *amp_names_last(const struct amp_names *s);

size_t amp_names_bytes(const struct amp_names *s);
void amp_names_free(struct amp_names *s);

#endif
