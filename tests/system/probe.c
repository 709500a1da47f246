/*
 * tests/system/probe.c - drops as a room does, then tries one thing.
 *
 * Owns: the modes below. Must not own: what is tried (attempts.c) or expected
 * (test_walls.py, which runs this as root in namespaces of its own).
 *
 *   probe list                       names of all attempts
 *   probe sealed   ROLE ATTEMPT ...  after amp_drop()
 *   probe unsealed ROLE ATTEMPT ...  in before_seal: every wall but the filter
 *   probe control  ROLE ATTEMPT ...  without any drop
 *   probe wall     ROLE CASE ...     amp_drop() with a wall that cannot stand
 *   probe posture  ROLE CASE ...     what ampmon's posture says of a dropped
 *                                    ("room") or undropped ("bare") process
 *   probe hold     ROLE CASE ...     a room that waits, its parent too
 * and then SCRATCH UID GID PORT. What happened is written to stdout.
 *   probe serve                      all that by lines of stdin (probe_serve.h)
 */
#include "attempts.h"
#include "probe_serve.h"

#include "ampmon/posture.h"
#include "drop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct run {
	struct scene scene;
	const struct attempt *attempt;
	const char *which;
};

/* By the descriptor a room may write to. */
static void say(const char *text)
{
	if (write(AMP_FD_LOG, text, strlen(text)) < 0)
		_exit(3);
}

static void try_it(struct run *r)
{
	char line[64];
	const char *name = NULL;

	say("trying\n");
	errno = 0;
	if (r->attempt->run(&r->scene) < 0)
		name = errno ? strerrorname_np(errno) : "unnamed";
	snprintf(line, sizeof(line), "%s\n", name ? name : "ok");
	say(line);
	_exit(0);
}

static int try_unsealed(void *arg)
{
	/* Alone: with threads some calls are refused to everybody. */
	try_it(arg);
	return 0;
}

static struct amp_drop drop_of(const struct scene *s)
{
	return (struct amp_drop){
		.role = s->role,
		.uid = s->uid,
		.gid = s->gid,
		.view_dir = s->view_dir,
		.data_dir = s->data_dir,
	};
}

static int fall(const struct amp_drop *d)
{
	const char *wall = "none";
	char line[128];

	if (amp_drop(d, &wall) == 0)
		return 0;
	snprintf(line, sizeof(line), "wall %s: %s\n", wall, strerrorname_np(errno));
	say(line);
	return -1;
}

static int find_attempt(struct run *r)
{
	for (r->attempt = attempts; r->attempt->name; r->attempt++)
		if (strcmp(r->attempt->name, r->which) == 0)
			return 0;
	fprintf(stderr, "probe: no attempt %s\n", r->which);
	return 2;
}

static int prepared(struct run *r, bool dropped)
{
	r->scene.dropped = dropped;
	if (find_attempt(r) != 0)
		return -1;
	if (scene_prepare(&r->scene) == 0)
		return 0;
	perror("probe: preparing");
	return -1;
}

static int mode_control(struct run *r)
{
	if (prepared(r, false) < 0)
		return 2;
	try_it(r);
	return 0;
}

static int mode_sealed(struct run *r)
{
	struct amp_drop d;

	if (prepared(r, true) < 0)
		return 2;
	d = drop_of(&r->scene);
	d.before_seal = scene_start_threads;
	d.arg = &r->scene;
	if (fall(&d) < 0)
		return 2;
	try_it(r);
	return 0;
}

static int mode_unsealed(struct run *r)
{
	struct amp_drop d;

	if (prepared(r, true) < 0)
		return 2;
	d = drop_of(&r->scene);
	d.before_seal = try_unsealed;
	d.arg = r;
	fall(&d);
	return 2;
}

/* --- walls that cannot stand ------------------------------------------- */

static void *wait_for_ever(void *arg)
{
	for (;;)
		poll(NULL, 0, -1);
	return arg;
}

static int start_thread(void *arg)
{
	pthread_t t;

	(void)arg;
	errno = pthread_create(&t, NULL, wait_for_ever, NULL);
	return errno ? -1 : 0;
}

static int refuse(void *arg)
{
	(void)arg;
	errno = ENOSPC;
	return -1;
}

static void case_none(struct amp_drop *d)
{
	(void)d;
}

static void case_uid_0(struct amp_drop *d)
{
	d->uid = 0;
}

static void case_gid_0(struct amp_drop *d)
{
	d->gid = 0;
}

static void case_no_role(struct amp_drop *d)
{
	d->role = NULL;
}

static void case_mon(struct amp_drop *d)
{
	d->role = amp_role(AMP_ROLE_MON);
}

static void case_view_missing(struct amp_drop *d)
{
	d->view_dir = "/nonexistent";
}

static void case_view_none(struct amp_drop *d)
{
	d->view_dir = NULL;
}

static void case_data_missing(struct amp_drop *d)
{
	d->data_dir = "/nonexistent";
}

static void case_thread(struct amp_drop *d)
{
	(void)d;
	if (start_thread(NULL) < 0)
		_exit(3);
}

static void case_not_root(struct amp_drop *d)
{
	if (setresuid(d->uid, d->uid, d->uid) < 0)
		_exit(3);
}

static void case_before_seal(struct amp_drop *d)
{
	d->before_seal = refuse;
}

/* A row that leaves a way back must not stand. */
static void case_setuid_capability(struct amp_drop *d)
{
	static struct amp_role row;

	row = *d->role;
	row.capabilities |= UINT64_C(1) << CAP_SETUID;
	d->role = &row;
}

static void case_too_few_fds(struct amp_drop *d)
{
	static struct amp_role row;

	row = *d->role;
	row.nofile = UINT32_MAX; /* over fs.nr_open */
	d->role = &row;
}

static const struct {
	const char *name;
	void (*make)(struct amp_drop *d);
} cases[] = {
	{"none", case_none},
	{"uid-0", case_uid_0},
	{"gid-0", case_gid_0},
	{"no-role", case_no_role},
	{"mon", case_mon},
	{"view-missing", case_view_missing},
	{"view-none", case_view_none},
	{"data-missing", case_data_missing},
	{"thread", case_thread},
	{"not-root", case_not_root},
	{"before-seal", case_before_seal},
	{"setuid-capability", case_setuid_capability},
	{"limit", case_too_few_fds},
};

static void name_directories(struct scene *s)
{
	snprintf(s->view_dir, sizeof(s->view_dir), "%.1000s/view", s->scratch);
	snprintf(s->data_dir, sizeof(s->data_dir), "%.1000s/data", s->scratch);
}

static int mode_wall(struct run *r)
{
	struct amp_drop d;

	name_directories(&r->scene);
	d = drop_of(&r->scene);
	for (size_t i = 0; i < COUNT(cases); i++)
		if (strcmp(cases[i].name, r->which) == 0) {
			cases[i].make(&d);
			if (fall(&d) == 0)
				say("stands\n");
			_exit(0);
		}
	return 2;
}

/* --- posture ----------------------------------------------------------- */

static _Noreturn void be_room(struct scene *s, bool drop)
{
	struct amp_drop d = drop_of(s);

	d.before_seal = start_thread; /* what holds for one thread has to hold for all */
	if (drop && fall(&d) < 0)
		_exit(3);
	say("up\n");
	wait_for_ever(NULL);
	_exit(0);
}

/* A room as our child, its fd 4 a pipe of ours; returns when it is up. */
static pid_t start_room(struct run *r, bool drop)
{
	char word[128];
	int ends[2];
	pid_t pid;
	ssize_t n;

	name_directories(&r->scene);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	pid = r->scene.role->processes ? (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0L, 0L, 0L, 0L)
				       : fork(); /* as ampmon/spawn.c */
	if (pid == 0) {
		dup2(ends[1], AMP_FD_LOG);
		prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0L, 0L, 0L);
		be_room(&r->scene, drop);
	}
	close(ends[1]);
	n = pid < 0 ? -1 : read(ends[0], word, sizeof(word) - 1);
	word[n > 0 ? n : 0] = '\0';
	if (strcmp(word, "up\n") == 0)
		return pid;
	fprintf(stderr, "probe: the room did not come up: %s\n", word);
	return -1;
}

static void print_items(const Amp__CliPostureProcess *p)
{
	for (size_t i = 0; i < p->n_items; i++)
		printf("item|%s|%s|%s|%d\n", p->items[i]->what, p->items[i]->expected, p->items[i]->actual,
		       p->items[i]->equal);
	printf("name|%s\nholds|%d\npss|%llu\nrss|%llu\nlists|%zu|%zu\n", p->name, mon_posture_holds(p),
	       (unsigned long long)p->pss_kib, (unsigned long long)p->rss_kib, p->n_in_use, p->n_missing);
}

/* The lines of every thread that have to be those of the first. */
static void print_threads(pid_t pid)
{
	static const char *const keys[] = {"Uid:",    "Gid:",	 "Groups:", "CapInh:",	   "CapPrm:",
					   "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:"};
	char path[300], line[1024];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, e->d_name);
		f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
		while (f && fgets(line, sizeof(line), f))
			for (size_t i = 0; i < COUNT(keys); i++)
				if (strncmp(line, keys[i], strlen(keys[i])) == 0)
					printf("thread|%s|%s", e->d_name, line);
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
}

static void print_kernel(void)
{
	char **in_use, **missing;
	size_t n_in_use, n_missing;

	if (mon_posture_kernel(&in_use, &n_in_use, &missing, &n_missing) < 0)
		return;
	for (size_t i = 0; i < n_in_use; i++)
		printf("kernel|%s|1\n", in_use[i]);
	for (size_t i = 0; i < n_missing; i++)
		printf("kernel|%s|0\n", missing[i]);
	mon_posture_free_names(in_use, n_in_use);
	mon_posture_free_names(missing, n_missing);
}

static int mode_posture(struct run *r)
{
	bool room = r->scene.role->id != AMP_ROLE_MON;
	pid_t pid = room ? start_room(r, strcmp(r->which, "room") == 0) : getpid();
	const struct mon_posture_subject subject = {
		.role = r->scene.role,
		.pid = pid,
		.instance = 1,
		.uid = room ? r->scene.uid : 0,
		.gid = room ? r->scene.gid : 0,
		.landlock_abi = amp_drop_landlock_abi(),
	};
	Amp__CliPostureProcess p;
	int rc;

	if (pid < 0)
		return 2;
	rc = mon_posture_process(&subject, &p);
	print_items(&p);
	print_threads(pid);
	print_kernel();
	mon_posture_clear(&p);
	if (room) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		printf("after|%s\n", mon_posture_process(&subject, &p) < 0 ? strerrorname_np(errno) : "ok");
	}
	return rc < 0 ? 2 : 0;
}

static int mode_hold(struct run *r)
{
	pid_t pid = start_room(r, strcmp(r->which, "room") == 0);

	if (pid < 0)
		return 2;
	printf("%d\n", (int)pid);
	fflush(stdout);
	wait_for_ever(NULL);
	return 0;
}

static int mode_list(struct run *r)
{
	(void)r;
	for (const struct attempt *a = attempts; a->name; a++)
		puts(a->name);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct run *r);
	int args;
} modes[] = {
	{"list", mode_list, 2},	      {"sealed", mode_sealed, 8}, {"unsealed", mode_unsealed, 8},
	{"control", mode_control, 8}, {"wall", mode_wall, 8},	  {"posture", mode_posture, 8},
	{"hold", mode_hold, 8},
};

static int read_arguments(struct run *r, char **argv)
{
	r->scene.role = amp_role_by_name(argv[2]);
	r->which = argv[3];
	snprintf(r->scene.scratch, sizeof(r->scene.scratch), "%s", argv[4]);
	r->scene.uid = (uid_t)atol(argv[5]);
	r->scene.gid = (gid_t)atol(argv[6]);
	r->scene.port = atoi(argv[7]);
	return r->scene.role ? 0 : -1;
}

static int probe(int argc, char **argv)
{
	static struct run r;

	/* As a room finds them: 3 to 5 are taken. */
	for (int fd = AMP_FD_CONTROL; fd <= AMP_FD_CLI; fd++)
		if (dup2(STDOUT_FILENO, fd) < 0)
			return 2;
	for (size_t i = 0; argc > 1 && i < COUNT(modes); i++) {
		if (strcmp(modes[i].name, argv[1]) != 0 || argc != modes[i].args)
			continue;
		if (argc > 2 && read_arguments(&r, argv) < 0)
			break;
		return modes[i].run(&r);
	}
	fprintf(stderr, "probe: see the head of tests/system/probe.c\n");
	return 2;
}

int main(int argc, char **argv)
{
	return argc == 2 && strcmp(argv[1], "serve") == 0 ? probe_serve(argv[0], probe) : probe(argc, argv);
}
