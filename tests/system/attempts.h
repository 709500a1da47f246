/*
 * tests/system/attempts.h - things a room must not be able to do, and the few
 * it must, each as one function.
 *
 * Owns: what is tried and what has to be at hand for it. Must not own: what is
 * expected (test_walls.py has that table) or in which process it is tried
 * (probe.c).
 */
#ifndef AMP_TEST_ATTEMPTS_H
#define AMP_TEST_ATTEMPTS_H

#include "role.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct scene {
	const struct amp_role *role;
	uid_t uid;
	gid_t gid;
	int port;		/* 127.0.0.1: somebody of the host listens there */
	bool dropped;		/* false: the control, root with nothing taken away */
	char scratch[PATH_MAX]; /* world-writable tmpfs of the harness */
	char view_dir[PATH_MAX], data_dir[PATH_MAX];
	char victim_file[PATH_MAX]; /* anyone may write it */
	char new_file[PATH_MAX];    /* there is none such */
	char own_dir[PATH_MAX];	    /* data_dir as it is called after the drop */
	pid_t victim, parent;	    /* root's processes */
	int shm_key, shm_id;	    /* anyone's segment in the host's IPC namespace */
	int victim_fd;		    /* O_RDONLY of victim_file */
	int held_fd;		    /* O_RDWR of another file */
	int mount_fd, root_fd;	    /* O_DIRECTORY: scratch and "/" */
	int netns_fd, pidfd, fanotify_fd, dgram_fd, stream_fd, tty_fd, exec_fd;
	int pair[2], pipe[2];
	struct work *work; /* what every room has: loop, log, I/O thread */
};

struct attempt {
	const char *name;
	/* A system call's result: below 0 with errno: refused. */
	long (*run)(struct scene *s);
};

/* As root, before the drop. 0, or -1 and errno. */
int scene_prepare(struct scene *s);

/* In before_seal: the threads of a room. 0, or -1 and errno. */
int scene_start_threads(void *scene);

/* tests/system/work.c: a room's own machinery, made before and run after. */
struct work *work_new(const struct scene *s);
int work_start_threads(struct work *w);
long work_run(struct work *w);

/* Ends with a row without name. */
extern const struct attempt attempts[];

#endif
