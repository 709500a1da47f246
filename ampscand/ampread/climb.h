/*
 * ampscand/ampread/climb.h - the host path of a directory that is longer than
 * the kernel tells (readlink(2) of /proc/self/fd: PATH_MAX), found by climbing.
 *
 * Owns: the way up by ".." until a directory has a path that the kernel tells,
 * the search of each level for the name that led there, the bounds of both.
 * Must not own: the directory's descriptor, or whose turn it is.
 */
#ifndef AMP_CLIMB_H
#define AMP_CLIMB_H

#include <stdbool.h>
#include <stddef.h>

struct amp_climb;

/* From an open directory (not taken over). mount_point: as in amp_open_path(). NULL: ENOMEM. */
struct amp_climb *amp_climb_new(int directory, const char *mount_point);
void amp_climb_free(struct amp_climb *c);

/* A small part of the work. True: it is over. */
bool amp_climb_step(struct amp_climb *c);

/* When over: the path, valid as long as c, or NULL: none was found within the bounds. */
const char *amp_climb_path(const struct amp_climb *c, size_t *length);

/* For tests; not given: the bounds of read.proto's OPEN_DIRECTORY. */
void amp_climb_set_limits(struct amp_climb *c, unsigned levels, unsigned entries);

#endif
