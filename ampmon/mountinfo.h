/*
 * ampmon/mountinfo.h - the table of mounts as the kernel tells it.
 * Owns: parsing /proc/self/mountinfo, which mount a path leads to, the layers
 * of an overlay, and what configured directories mean on a file system.
 * Must not own: any open of a mount point, marks, or the list of what is watched.
 */
#ifndef AMPMON_MOUNTINFO_H
#define AMPMON_MOUNTINFO_H

#include <stdbool.h>
#include <stddef.h>

struct mount_entry {
	int id, parent;
	bool orphan; /* its parent is not in the table: the root, or the root of a chroot */
	unsigned major, minor;
	const char *root;  /* what of the file system is mounted; "/": all */
	const char *point; /* where */
	const char *type;
	const char *super; /* super block options, still escaped */
};

struct mount_table {
	char *text; /* the entries' strings lie in it */
	struct mount_entry *entries;
	size_t count;
	size_t bad; /* lines that could not be understood */
};

/* Takes text over (malloc'd, size bytes, need not end in NUL). 0, or -1 ENOMEM. */
int mount_table_parse(struct mount_table *t, char *text, size_t size);
/* Reads fd from its beginning. 0, or -1 and errno. */
int mount_table_read(struct mount_table *t, int fd);
void mount_table_free(struct mount_table *t);

const struct mount_entry *mount_table_by_id(const struct mount_table *t, int id);
/* The mount in which an absolute path (no symbolic links) ends; NULL: none. */
const struct mount_entry *mount_table_resolve(const struct mount_table *t, const char *path);
/* True if nothing is mounted over e. */
bool mount_visible(const struct mount_table *t, const struct mount_entry *e);
/* Same file system; subvolumes of btrfs count as several. */
bool mount_same_fs(const struct mount_entry *a, const struct mount_entry *b);
bool mount_whole(const struct mount_entry *e);

/* path is dir or lies below it. */
bool mount_path_below(const char *path, const char *dir);

/* The layers of an overlay, upper one first; NULL-terminated, free with mount_strings_free().
 * *upper: there is one. NULL: ENOMEM. */
char **mount_layers(const struct mount_entry *e, bool *upper);

/*
 * What of dirs lies on home's file system, as paths below home. Empty: nothing.
 * NULL: ENOMEM. A directory is on it if it resolves to it, or if it is
 * mounted somewhere below the directory.
 */
char **mount_scope(const struct mount_table *t, const struct mount_entry *home, char *const *dirs);

void mount_strings_free(char **list);
bool mount_strings_equal(char *const *a, char *const *b);
/* Every string of a is in b. */
bool mount_strings_within(char *const *a, char *const *b);

#endif
