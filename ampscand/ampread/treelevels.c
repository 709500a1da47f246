/*
 * ampscand/ampread/treelevels.c - the levels above the directory in hand (see treelevels.h).
 */
#include "treelevels.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAMES_BYTES ((size_t)64 * 1024 * 1024) /* of all levels */
#define NAMES_ONE   ((size_t)4 * 1024 * 1024)  /* of one at most */
#define NAMES_LEAST ((size_t)16 * 1024)	       /* ... whatever the others have */

void amp_tree_levels_init(struct amp_tree_levels *l)
{
	l->limit = NAMES_BYTES;
	l->limit_of_one = NAMES_ONE;
}

void amp_tree_levels_free(struct amp_tree_levels *l)
{
	while (l->count > 0)
		amp_tree_levels_pop(l);
	free(l->list);
	l->list = NULL;
}

struct amp_tree_level *amp_tree_levels_last(const struct amp_tree_levels *l)
{
	return &l->list[l->count - 1];
}

static int grow(struct amp_tree_levels *l)
{
	unsigned room = l->room ? l->room * 2 : 16;
	struct amp_tree_level *bigger;

	if (l->count < l->room)
		return 0;
	bigger = realloc(l->list, room * sizeof(*bigger));
	if (!bigger)
		return -1;
	l->list = bigger;
	l->room = room;
	return 0;
}

int amp_tree_levels_push(struct amp_tree_levels *l, const char *name, const struct amp_handle *handle,
			 const struct amp_spot *spot)
{
	size_t at = l->count > 0 ? amp_tree_levels_last(l)->length : strlen(l->text);
	size_t n = name ? strlen(name) : 0;
	struct amp_tree_level *level;

	if (grow(l) < 0)
		return -1;
	if (name) {
		l->text[at++] = '/';
		memcpy(l->text + at, name, n + 1);
	}
	level = &l->list[l->count++];
	memset(level, 0, sizeof(*level));
	level->handle = *handle;
	level->spot = *spot;
	level->length = at + n;
	return 0;
}

static void forget_names(struct amp_tree_levels *l, struct amp_tree_level *level)
{
	l->names_bytes -= level->names_bytes;
	level->names_bytes = 0;
}

void amp_tree_levels_pop(struct amp_tree_levels *l)
{
	struct amp_tree_level *level = amp_tree_levels_last(l);

	forget_names(l, level);
	amp_names_free(&level->names);
	l->count--;
	if (l->count > 0)
		l->text[amp_tree_levels_last(l)->length] = '\0';
}

static size_t names_limit(const struct amp_tree_levels *l)
{
	size_t left = l->names_bytes < l->limit ? (l->limit - l->names_bytes) / 4 : 0;

	if (left > l->limit_of_one)
		left = l->limit_of_one;
	return left > NAMES_LEAST || l->limit_of_one < NAMES_LEAST ? left : NAMES_LEAST;
}

int amp_tree_levels_names(struct amp_tree_levels *l, const char *from, bool with_from)
{
	struct amp_tree_level *level = amp_tree_levels_last(l);

	forget_names(l, level);
	return amp_names_begin(&level->names, names_limit(l), from, with_from);
}

void amp_tree_levels_named(struct amp_tree_levels *l)
{
	struct amp_tree_level *level = amp_tree_levels_last(l);

	forget_names(l, level);
	amp_names_end(&level->names);
	level->names_bytes = amp_names_bytes(&level->names);
	l->names_bytes += level->names_bytes;
}

/* The directory `name` in at, if it is in the same mount. O_PATH and no O_DIRECTORY: nothing is
 * mounted for that. fd, or -1 and errno. */
static int step_down(const struct amp_tree_top *top, int at, const char *name, struct amp_spot *spot)
{
	int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct statx sx;

	if (fd < 0)
		return -1;
	if (amp_tree_look(fd, "", AT_EMPTY_PATH, &sx) == 0 && S_ISDIR(sx.stx_mode) &&
	    !amp_tree_top_is_beyond(top, &sx)) {
		amp_spot_from_statx(&sx, spot);
		return fd;
	}
	close(fd);
	errno = ESTALE;
	return -1;
}

/* From the top to the last level. O_PATH fd (or the top's own), or -1 and errno. */
static int go_down(const struct amp_tree_levels *l, const struct amp_tree_top *top)
{
	struct amp_spot spot = l->list[0].spot;
	int at = top->fd, fd;

	for (unsigned i = 1; i < l->count && at >= 0; i++) {
		size_t from = l->list[i - 1].length + 1;
		char *name = strndup(l->text + from, l->list[i].length - from);

		fd = name ? step_down(top, at, name, &spot) : -1;
		free(name);
		if (at != top->fd)
			close(at);
		at = fd;
	}
	if (at < 0 || amp_spot_equal(&spot, &amp_tree_levels_last(l)->spot))
		return at;
	if (at != top->fd)
		close(at);
	errno = ESTALE;
	return -1;
}

int amp_tree_levels_open(const struct amp_tree_levels *l, const struct amp_tree_top *top)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK;
	const struct amp_handle *h = &amp_tree_levels_last(l)->handle;
	int at, fd;

	if (h->size > 0)
		return amp_open_handle(top->fd, h, flags);
	at = go_down(l, top);
	if (at < 0)
		return -1;
	fd = amp_open_at(at, ".", flags);
	if (at != top->fd)
		close(at);
	return fd;
}

const char *amp_tree_levels_path(const struct amp_tree_levels *l, size_t *length)
{
	*length = amp_tree_levels_last(l)->length;
	if (*length > 0)
		return l->text;
	*length = 1;
	return "/";
}
