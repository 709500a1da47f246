/*
 * ampmon/start.c - from the command line to the running supervisor.
 *
 * Owns: options, `-n`, the order of what can be refused while somebody still
 * watches the terminal. Must not own: anything after the start (mon.c).
 */
#include "ampmon/mon.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct options {
	const char *conf;
	bool foreground, check;
};

void mon_complain(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	amp_error("%s", text);
	/* In the background this is /dev/null. */
	fprintf(stderr, "ampmon: %s\n", text);
}

static void usage(FILE *out)
{
	fprintf(out, "usage: ampmon [-f] [-n] [-c FILE] [-V]\n"
		     "  -f       stay in the foreground, without a guard (systemd)\n"
		     "  -n       check the configuration, print what holds, and exit\n"
		     "  -c FILE  configuration [" AMP_SYSCONFDIR "/ampmon.conf]\n"
		     "  -V       print the version\n");
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct options *o)
{
	int opt;

	while ((opt = getopt(argc, argv, "fnc:Vh")) != -1) {
		if (opt == 'f')
			o->foreground = true;
		else if (opt == 'n')
			o->check = true;
		else if (opt == 'c')
			o->conf = optarg;
		else if (opt == 'V' || opt == 'h') {
			if (opt == 'V')
				printf("ampmon %s\n", PACKAGE_VERSION);
			else
				usage(stdout);
			return MON_EXIT_OK;
		} else {
			usage(stderr);
			return MON_EXIT_REFUSED;
		}
	}
	if (optind == argc)
		return -1;
	usage(stderr);
	return MON_EXIT_REFUSED;
}

static int check_policy(const struct mon_conf *c, const char *name)
{
	char err[512];
	struct mon_policy *p = mon_policy_load(c, name, err, sizeof(err));

	if (!p) {
		fprintf(stderr, "ampmon: policy %s: %s\n", name, err);
		return MON_EXIT_REFUSED;
	}
	for (char **problem = mon_policy_problems(p); *problem; problem++)
		fprintf(stderr, "ampmon: %s\n", *problem);
	mon_policy_free(p);
	return MON_EXIT_OK;
}

/* Policies are part of what `-n` is asked about: the configuration's, and the one that `ampcli policy
 * use` has put in its place. */
static int check_policies(const struct mon_conf *c)
{
	struct mon_state state;
	char err[512];
	bool fresh;
	int code = check_policy(c, c->policy);

	if (mon_state_load(c, &state, &fresh, err, sizeof(err)) != 0 || !state.policy[0] ||
	    strcmp(state.policy, c->policy) == 0)
		return code;
	if (check_policy(c, state.policy) != MON_EXIT_OK)
		code = MON_EXIT_REFUSED;
	return code;
}

/* No reason to refuse: the users may be made later. */
static void check_users(const struct mon_conf *c)
{
	char err[512];
	uid_t uid;
	gid_t gid;

	for (int id = AMP_ROLE_MON + 1; id < AMP_ROLE_COUNT; id++)
		if (mon_conf_role_wanted(c, (enum amp_role_id)id) &&
		    mon_conf_user(c, (enum amp_role_id)id, &uid, &gid, err, sizeof(err)) != 0)
			fprintf(stderr, "ampmon: %s\n", err);
}

static int check(struct mon_conf *c)
{
	int code;

	mon_conf_print(c, stdout);
	check_users(c);
	code = check_policies(c);
	mon_conf_free(c);
	return code;
}

/* 0-2 are there from here on: nothing else may ever get these numbers. */
static int standard_descriptors(void)
{
	struct stat st;

	for (int fd = 0; fd <= 2; fd++)
		if (fstat(fd, &st) != 0 && open("/dev/null", O_RDWR) != fd)
			return -1;
	return 0;
}

/* In the background it is read from another directory. 0 or -1. */
static int make_absolute(struct mon_conf *c)
{
	char *here = c->path[0] == '/' ? NULL : getcwd(NULL, 0), *path;
	int rc;

	if (c->path[0] == '/')
		return 0;
	rc = here ? asprintf(&path, "%s/%s", here, c->path) : -1;
	free(here);
	if (rc < 0)
		return -1;
	free(c->path);
	c->path = path;
	return 0;
}

/*
 * ampmon died, and the guard has what it read itself at its start: what was
 * reloaded since is in the file alone. The run directory stays, since the lock
 * and the pid file in it are the guard's.
 */
static void read_again(struct mon_start *s)
{
	struct mon_conf *now = mon_conf_load(s->conf->path, s->refused, sizeof(s->refused));
	char *run_dir;

	if (!now)
		return;
	run_dir = now->run_dir;
	now->run_dir = s->conf->run_dir;
	s->conf->run_dir = run_dir;
	mon_conf_free(s->conf);
	s->conf = now;
	s->refused[0] = '\0';
}

static int start(struct mon_start *s, const struct options *o)
{
	char err[512];
	int code, lock;

	umask(0077);
	mon_mask_sighup(SIG_BLOCK); /* none may be lost, so it is not ignored */
	if (make_absolute(s->conf) != 0) {
		mon_complain("%s: where this is cannot be told: %s", s->conf->path, strerror(errno));
		mon_conf_free(s->conf);
		return MON_EXIT_FAILED;
	}
	lock = mon_lock_run_dir(s->conf, err, sizeof(err));
	if (lock < 0) {
		mon_complain("%s", err);
		mon_conf_free(s->conf);
		return MON_EXIT_REFUSED;
	}
	if (!o->foreground)
		check_users(s->conf);
	if (!o->foreground && !mon_guard(s, lock, &code)) {
		mon_conf_free(s->conf);
		return code;
	}
	if (s->restarts > 0)
		read_again(s);
	if (o->foreground && mon_pid_file_write(s->conf, getpid()) != 0)
		mon_complain("the pid file in %s cannot be written: %s", s->conf->run_dir, strerror(errno));
	return mon_run(s);
}

int mon_main(int argc, char **argv)
{
	struct options o = {.conf = AMP_SYSCONFDIR "/ampmon.conf"};
	struct mon_start s = {.ready_fd = -1};
	char err[1024];
	int code = parse(argc, argv, &o);

	if (code >= 0)
		return code;
	if (standard_descriptors() != 0)
		return MON_EXIT_FAILED;
	amp_log_open("ampmon", STDERR_FILENO, AMP_LOG_WARN);
	s.conf_path = o.conf;
	s.conf = mon_conf_load(o.conf, err, sizeof(err));
	if (!s.conf) {
		fprintf(stderr, "ampmon: %s\n", err);
		return MON_EXIT_REFUSED;
	}
	if (o.check)
		return check(s.conf);
	if (geteuid() == 0)
		return start(&s, &o);
	mon_conf_free(s.conf);
	fprintf(stderr, "ampmon: only root can start it\n");
	return MON_EXIT_REFUSED;
}
