/*
 * tests/system/probe_engine.c - tries one thing as a zygote or as a worker.
 *
 * The walls are those of ampscand/engine/zygote.c and worker.c, unchanged: the
 * zygote is given no signatures, and what a worker would scan is a wish to try
 * the attempt. Owns: getting there. Must not own: what is tried (attempts.c) or
 * expected (test_walls.py, which runs this as root in namespaces of its own).
 *
 *   probe-engine zygote|worker ampengine ATTEMPT SCRATCH UID GID PORT
 *   probe-engine serve               all that by lines of stdin (probe_serve.h)
 *
 * Neither may write anywhere we could read, so the answer is how it ends. It is
 * written to stdout as probe does.
 */
#include "attempts.h"
#include "probe_serve.h"

#include "ampscand/engine/seam.h"
#include "ampscand/engine/zygote.h"
#include "channel.h"
#include "drop.h"

#include "proto/engine.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The answer: ANSWER, or ANSWER + errno. */
#define ANSWER	100
#define CONTENT "content"

static struct {
	struct scene scene;
	const struct attempt *attempt;
	bool as_worker;
	int content; /* sealed memfd */
} p;

void __real_worker_main(const struct worker *w) __attribute__((noreturn));
void __wrap_worker_main(const struct worker *w) __attribute__((noreturn));

static _Noreturn void try_it(void)
{
	errno = 0;
	if (p.attempt->run(&p.scene) >= 0)
		_exit(ANSWER);
	_exit(errno > 0 && errno < 0x100 - ANSWER ? ANSWER + errno : 1);
}

/* --- where the engine's own files meet this one ---------------------------------- */

/* Instead of load.c. */
struct adapter *zygote_load(const struct engine_dirs *dirs, uint64_t number, zygote_say *say,
			    struct zygote_said *loaded)
{
	static int nothing;

	(void)dirs;
	(void)number;
	(void)say;
	*loaded = (struct zygote_said){.kind = ZYGOTE_LOADED};
	return (struct adapter *)&nothing;
}

/* A process that a sealed zygote forked: still in the zygote's walls. */
void __wrap_worker_main(const struct worker *w)
{
	if (!p.as_worker)
		try_it();
	__real_worker_main(w);
}

void seam_before_scan(const uint8_t *data, size_t size)
{
	if (size != sizeof(CONTENT) || memcmp(data, CONTENT, size) != 0)
		_exit(2);
	try_it();
}

void seam_after_scan(const uint8_t *data, size_t size, struct adapter_verdict *v)
{
	(void)data;
	(void)size;
	(void)v;
}

/* --- the room --------------------------------------------------------------------------- */

static int make_content(void)
{
	int fd = memfd_create("content", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || write(fd, CONTENT, sizeof(CONTENT)) != (ssize_t)sizeof(CONTENT))
		return -1;
	return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0 ? -1 : fd;
}

/* *fd: what came with it, or -1. */
static int hear(int pair, struct zygote_said *s, int *fd)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec v = {s, sizeof(*s)};
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n;

	do
		n = recvmsg(pair, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*fd = -1;
	if (n == (ssize_t)sizeof(*s) && CMSG_FIRSTHDR(&m))
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(*fd));
	return n == (ssize_t)sizeof(*s) ? 0 : -1;
}

static int ask_worker(int worker)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.room = {0}};
	Amp__Scan scan = AMP__SCAN__INIT;
	uint8_t data[256];
	struct iovec v = {data, 0};
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	scan.size = sizeof(CONTENT);
	v.iov_len = amp_message_pack(data, sizeof(data), AMP_MSG_SCAN, 1, &scan.base);
	CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
	CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
	CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &p.content, sizeof(int));
	return sendmsg(worker, &m, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static void tell(const char *text)
{
	if (write(AMP_FD_LOG, text, strlen(text)) < 0)
		_exit(3);
}

static int tell_end(const struct zygote_said *s)
{
	const char *name = s->number > ANSWER ? strerrorname_np(s->number - ANSWER) : "ok";
	char line[64];

	tell("trying\n");
	if (s->signal != 0)
		snprintf(line, sizeof(line), "SIG%s\n", sigabbrev_np(s->signal));
	else if (s->number >= ANSWER)
		snprintf(line, sizeof(line), "%s\n", name ? name : "unnamed");
	else
		snprintf(line, sizeof(line), "left with %d\n", s->number);
	tell(line);
	return 0;
}

static int listen_to(int pair)
{
	const struct zygote_ask ask = {.op = ZYGOTE_SPAWN, .serial = 1};
	struct zygote_said s;
	int fd;

	while (hear(pair, &s, &fd) == 0) {
		if (s.kind == ZYGOTE_LOADED &&
		    send(pair, &ask, sizeof(ask), MSG_NOSIGNAL) != (ssize_t)sizeof(ask))
			return 2;
		if (s.kind == ZYGOTE_WORKER && p.as_worker && ask_worker(fd) < 0)
			return 2;
		if (s.kind == ZYGOTE_GONE)
			return tell_end(&s);
		if (s.kind == ZYGOTE_FAILED || s.kind == ZYGOTE_REFUSED)
			break;
	}
	tell("no zygote\n");
	return 2;
}

static int run_zygote(void)
{
	static struct engine_dirs dirs = {.slots = "/slot", .memory = 256 << 20};
	const pid_t self = getpid();
	int pair[2], rc;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return 2;
	pid = fork();
	if (pid == 0)
		zygote_main(&dirs, pair[1], 1, self);
	close(pair[1]);
	rc = pid < 0 ? 2 : listen_to(pair[0]);
	/* It leaves with its pair. Who is not buried counts as one of its user's processes. */
	close(pair[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return rc;
}

static int be_room(void)
{
	char options[128];
	const struct amp_drop_mount slot = {.at = "/slot/0", .options = options};
	const struct amp_drop d = {
		.role = p.scene.role,
		.uid = p.scene.uid,
		.gid = p.scene.gid,
		.view_dir = p.scene.view_dir,
		.data_dir = p.scene.data_dir,
		.mounts = &slot,
		.mount_count = 1,
	};
	const char *wall = "none";

	snprintf(options, sizeof(options), "size=1m,nr_inodes=32,mode=0700,uid=%u,gid=%u", (unsigned)d.uid,
		 (unsigned)d.gid);
	if (amp_drop(&d, &wall) < 0) {
		fprintf(stderr, "probe-engine: wall %s: %s\n", wall, strerror(errno));
		return 2;
	}
	return run_zygote();
}

static int read_arguments(char **argv)
{
	p.as_worker = strcmp(argv[1], "worker") == 0;
	p.scene.role = amp_role_by_name(argv[2]);
	for (p.attempt = attempts; p.attempt->name && strcmp(p.attempt->name, argv[3]) != 0;)
		p.attempt++;
	snprintf(p.scene.scratch, sizeof(p.scene.scratch), "%s", argv[4]);
	p.scene.uid = (uid_t)atol(argv[5]);
	p.scene.gid = (gid_t)atol(argv[6]);
	p.scene.port = atoi(argv[7]);
	p.scene.dropped = true;
	return p.scene.role && p.attempt->name && (p.as_worker || strcmp(argv[1], "zygote") == 0) ? 0 : -1;
}

static int probe(int argc, char **argv)
{
	for (int fd = AMP_FD_CONTROL; fd <= AMP_FD_CLI; fd++)
		if (dup2(STDOUT_FILENO, fd) < 0)
			return 2;
	if (argc != 8 || read_arguments(argv) < 0) {
		fprintf(stderr, "probe-engine: see the head of tests/system/probe_engine.c\n");
		return 2;
	}
	p.content = make_content();
	if (p.content < 0 || scene_prepare(&p.scene) < 0) {
		perror("probe-engine: preparing");
		return 2;
	}
	return be_room();
}

int main(int argc, char **argv)
{
	return argc == 2 && strcmp(argv[1], "serve") == 0 ? probe_serve(argv[0], probe) : probe(argc, argv);
}
