/*
 * tests/unit/zygotetest.h - a directory of signatures, slots, a zygote under all of the
 * engine's filters and a test that plays the room.
 */
#ifndef AMP_ZYGOTETEST_H
#define AMP_ZYGOTETEST_H

#include "ampscand/engine/wire.h"
#include "ampscand/engine/zygote.h"

#include "clock.h"
#include "role.h"
#include "sha256.h"

#include "proto/engine.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The program inside all of Debian's clamav-testfiles. */
#define TESTFILE_HDB "aa15bcf478d165efd2065190eb473bcb:544:ClamAV-Test-File\n"
#define TESTFILES    "/usr/share/clamav-testfiles"
#define FOUND_NAME   "ClamAV-Test-File.UNOFFICIAL"
#define WAIT_MS	     60000

struct place {
	char root[64], sig[80], slots[80];
	struct engine_dirs dirs;
};

struct zyg {
	pid_t pid;
	int fd;
};

static inline void write_file(const char *dir, const char *name, const void *data, size_t n)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), (ssize_t)n);
	close(fd);
}

static inline void place_make(struct place *p)
{
	char path[128];

	memset(p, 0, sizeof(*p));
	snprintf(p->root, sizeof(p->root), "/tmp/amp-engine-XXXXXX");
	assert_non_null(mkdtemp(p->root));
	snprintf(p->sig, sizeof(p->sig), "%s/sig", p->root);
	snprintf(p->slots, sizeof(p->slots), "%s/slot", p->root);
	assert_int_equal(mkdir(p->sig, 0700), 0);
	assert_int_equal(mkdir(p->slots, 0700), 0);
	for (unsigned i = 0; i < ENGINE_SLOTS; i++) {
		snprintf(path, sizeof(path), "%s/%u", p->slots, i);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	p->dirs.count = 1;
	p->dirs.host[0] = p->dirs.view[0] = p->sig;
	p->dirs.slots = p->slots;
	p->dirs.memory = 512U << 20;
}

static inline void place_free(struct place *p)
{
	assert_int_equal(slot_wipe(p->root), 0);
}

/* True: nothing is in it. */
static inline bool slot_is_empty(const struct place *p, unsigned slot)
{
	char path[128];
	bool empty;

	snprintf(path, sizeof(path), "%s/%u", p->slots, slot);
	empty = rmdir(path) == 0;
	if (empty)
		assert_int_equal(mkdir(path, 0700), 0);
	return empty;
}

/* Under the room's filter, as the room forks it. */
static inline void zyg_start(struct zyg *z, const struct place *p)
{
	static const int cmockas[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS};
	int pair[2];
	pid_t self = getpid();

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	z->pid = fork();
	assert_true(z->pid >= 0);
	if (z->pid == 0) {
		for (size_t i = 0; i < sizeof(cmockas) / sizeof(cmockas[0]); i++)
			signal(cmockas[i], SIG_DFL);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) != 0 ||
		    amp_seccomp_seal(AMP_SYS_LOOP | AMP_SYS_ENGINE) != 0)
			_exit(99);
		zygote_main(&p->dirs, pair[1], 1, self);
	}
	close(pair[1]);
	z->fd = pair[0];
}

/* False: it has ended. */
static inline bool zyg_hear(struct zyg *z, struct zygote_said *s, int *fd)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec v = {s, sizeof(*s)};
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct pollfd poll_fd = {.fd = z->fd, .events = POLLIN};
	ssize_t n;

	assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
	n = recvmsg(z->fd, &m, MSG_CMSG_CLOEXEC);
	if (fd)
		*fd = -1;
	if (n <= 0)
		return false;
	assert_int_equal(n, sizeof(*s));
	if (CMSG_FIRSTHDR(&m)) {
		assert_non_null(fd);
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	}
	return true;
}

/* The next that is no LOG and no SET. */
static inline enum zygote_kind zyg_next(struct zyg *z, struct zygote_said *s, int *fd)
{
	do
		if (!zyg_hear(z, s, fd))
			return 0;
	while (s->kind == ZYGOTE_LOG || s->kind == ZYGOTE_SET);
	return (enum zygote_kind)s->kind;
}

static inline void zyg_ask(struct zyg *z, enum zygote_op op, unsigned slot, uint64_t serial)
{
	const struct zygote_ask a = {.op = op, .slot = slot, .serial = serial};

	assert_int_equal(send(z->fd, &a, sizeof(a), MSG_NOSIGNAL), (ssize_t)sizeof(a));
}

/* Its status. */
static inline int zyg_end(struct zyg *z)
{
	int status;

	close(z->fd);
	assert_int_equal(waitpid(z->pid, &status, 0), z->pid);
	return status;
}

/* A worker: its pair's other end. */
static inline int zyg_spawn(struct zyg *z, unsigned slot, uint64_t serial, pid_t *pid)
{
	struct zygote_said s;
	int fd;

	zyg_ask(z, ZYGOTE_SPAWN, slot, serial);
	assert_int_equal(zyg_next(z, &s, &fd), ZYGOTE_WORKER);
	assert_int_equal(s.serial, serial);
	assert_true(fd >= 0);
	*pid = s.pid;
	return fd;
}

static inline int memfd_of(const void *data, size_t n, bool sealed)
{
	int fd = memfd_create("content", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), (ssize_t)n);
	if (sealed)
		assert_int_equal(
			fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL), 0);
	return fd;
}

static inline void send_scan(int worker, uint64_t id, int fd, uint64_t size, uint32_t max_ms)
{
	Amp__Scan scan = AMP__SCAN__INIT;
	uint8_t data[256];
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.room = {0}};
	struct iovec v = {data, 0};
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	scan.size = size;
	scan.max_file_size = 5U << 20;
	scan.max_scan_size = 50U << 20;
	scan.max_files = 10000;
	scan.max_recursion = 17;
	scan.max_ms = max_ms;
	v.iov_len = amp_message_pack(data, sizeof(data), AMP_MSG_SCAN, id, &scan.base);
	assert_true(v.iov_len > 0);
	CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
	CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
	CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(int));
	assert_int_equal(sendmsg(worker, &m, MSG_NOSIGNAL), (ssize_t)v.iov_len);
}

struct verdict {
	Amp__ScanVerdict__Result result; /* NONE: the worker has ended */
	char name[256], detail[256];
};

static const struct amp_dispatch verdict_rows[] = {
	{.type = AMP_MSG_SCAN_VERDICT, .descriptor = &amp__scan_verdict__descriptor, .max_length = 1024},
};

static inline void receive_verdict(int worker, uint64_t id, struct verdict *out)
{
	static struct wire w;
	struct amp_message m;
	const Amp__ScanVerdict *v;
	const char *why;
	int rc;

	memset(out, 0, sizeof(*out));
	assert_int_equal(wire_init(&w, worker, verdict_rows, 1), 0);
	rc = wire_receive(&w, &m, &why);
	if (rc == 1) {
		v = (const Amp__ScanVerdict *)m.body;
		assert_int_equal(m.id, id);
		out->result = v->result;
		snprintf(out->name, sizeof(out->name), "%s", v->name);
		snprintf(out->detail, sizeof(out->detail), "%s", v->detail);
	} else {
		assert_int_equal(rc, 0);
	}
	amp_arena_free(&w.arena);
}

static inline void scan_data(int worker, const void *data, size_t n, struct verdict *v)
{
	int fd = memfd_of(data, n, true);

	send_scan(worker, 7, fd, n, 100000);
	close(fd);
	receive_verdict(worker, 7, v);
}

/* A whole file in memory; the caller's. */
static inline uint8_t *read_all(const char *path, size_t *n)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *data;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	data = malloc((size_t)st.st_size + 1);
	assert_non_null(data);
	assert_int_equal(read(fd, data, (size_t)st.st_size), (ssize_t)st.st_size);
	close(fd);
	*n = (size_t)st.st_size;
	return data;
}

#endif
