/*
 * tests/system/probe_serve.c - see probe_serve.h.
 */
#include "probe_serve.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS 16
#define SAID	  65536 /* what a pipe holds, and more than any probe says */

static int (*serve_run)(int argc, char **argv);

static _Noreturn void be_child(int argc, char **argv, const int *out, const int *err)
{
	int null = open("/dev/null", O_RDONLY);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out[1], STDOUT_FILENO) < 0 ||
	    dup2(err[1], STDERR_FILENO) < 0)
		_exit(2);
	/* As after an execution: it has these three. */
	for (int fd = STDERR_FILENO + 1; fd <= null || fd <= err[1]; fd++)
		close(fd);
	exit(serve_run(argc, argv));
}

/* What is left of it may have the pipe open: its end is not waited for. */
static size_t said(int fd, char *data)
{
	size_t n = 0;
	ssize_t got;

	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return 0;
	while (n < SAID && (got = read(fd, data + n, SAID - n)) > 0)
		n += (size_t)got;
	return n;
}

static int answer(int status, int out, int err)
{
	static char a[SAID], b[SAID];
	size_t n = said(out, a), m = said(err, b);

	printf("%d %zu %zu\n", WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status), n, m);
	fwrite(a, 1, n, stdout);
	fwrite(b, 1, m, stdout);
	return fflush(stdout);
}

static int serve(int argc, char **argv)
{
	int out[2], err[2], status, rc;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		be_child(argc, argv, out, err);
	close(out[1]);
	close(err[1]);
	rc = pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : answer(status, out[0], err[0]);
	close(out[0]);
	close(err[0]);
	return rc;
}

int probe_serve(const char *program, int (*run)(int argc, char **argv))
{
	char line[4096], name[1024], *argv[ARGUMENTS + 1] = {name};

	snprintf(name, sizeof(name), "%s", program);
	serve_run = run;
	while (fgets(line, sizeof(line), stdin)) {
		char *rest = line;
		int argc = 1;

		while (argc < ARGUMENTS && (argv[argc] = strtok_r(rest, " \n", &rest)))
			argc++;
		argv[argc] = NULL;
		if (serve(argc, argv) != 0)
			return 2;
	}
	return 0;
}
