/*
 * ampquard/layers.h - is a directory inside a layer of some overlay?
 *
 * A file removed from a layer is still read through the mounted overlay, so
 * there it is emptied. Owns: finding the layers of every overlay mounted in any
 * mount namespace (mountinfo of one process of each), by device and inode. Must
 * not own: what follows. Never waits for a path that users made: such layers are
 * resolved from the kernel's cache only (RESOLVE_CACHED), and one that cannot be
 * is taken for possible.
 */
#ifndef AMPQUARD_LAYERS_H
#define AMPQUARD_LAYERS_H

#include <stdbool.h>
#include <stdint.h>

struct layers;

struct layers *layers_new(void); /* NULL: ENOMEM */
void layers_free(struct layers *l);

/* Looks at the mounts again if the last look is older than a second (monotonic), or those of our
 * own namespace have changed since. It takes a second at most, and no more than a fifth of the
 * time: what could not be looked at counts as a layer. */
void layers_refresh(struct layers *l);
/* dir or one of its parents is a layer; also true when that cannot be told. path: of dir, for
 * comparison with layers that could not be resolved; may be NULL. */
bool layers_contain(const struct layers *l, int dir, const char *path);

/* For tests: what a look at all mounts may take; 1 s if nothing is said. */
void layers_limit(struct layers *l, int64_t ns);

/* For tests: mount options of an overlay as in mountinfo's last field; calls found(path) for each
 * layer, with \ escapes and ':' handled. Returns how many. */
unsigned layers_of_options(const char *options, void (*found)(const char *path, void *arg), void *arg);

#endif
