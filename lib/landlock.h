/*
 * lib/landlock.h - the Landlock wall: no change to any file, no execution and
 * no network beyond what the caller names.
 *
 * Owns: ruleset, the kernel's versions of it, applying it to the calling
 * thread (threads made later have it too). Must not own: which room gets it.
 */
#ifndef AMP_LANDLOCK_H
#define AMP_LANDLOCK_H

/* ABI version of the running kernel; 0: it has no Landlock. */
int amp_landlock_abi(void);

/*
 * From now on the calling thread cannot create, write, truncate, remove or
 * execute any file, use TCP, or signal or reach abstract sockets outside
 * itself, as far as the kernel's ABI knows the right. writable_dir: below it
 * regular files may be made, written and removed, and nothing outside it may
 * be read; NULL: everything may be read, nothing written.
 * Needs no_new_privs. 0 (also without Landlock in the kernel), or -1 and errno.
 */
int amp_landlock_apply(const char *writable_dir);

/* The same, and below writable_dir directories may be made and removed too. */
int amp_landlock_apply_tree(const char *writable_dir);

#endif
