/*
 * ampscand/engine/worker.c - a worker: scans what it is sent, in walls of its own.
 *
 * Owns: the process after its fork, to its end. It has a pair, the memfd in hand and an
 * empty directory (taken over it has what it was sent before, too), and can ask nothing else of the kernel.
 * Must not own: what follows from its word, and when it ends (the other end of its pair is closed, or it is
 * killed).
 */
#include "seam.h"
#include "wire.h"
#include "zygote.h"

#include "clock.h"
#include "landlock.h"

#include "proto/engine.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORKER_FD     3
#define WORKER_NOFILE 64U /* libclamav: one or two a level of an archive, 21 were the most seen in all */
#define SEALS_NEEDED  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define IDLE_MS	      500
#define KEPT_BLOCK    (16 << 20)
#define KEPT_TOP      (64 << 20)
#define CONTENT_MAX   (UINT64_C(4) << 30)

enum { EXIT_LEFT = 0, EXIT_WALL = 3, EXIT_PROTOCOL = 4 };

static const struct amp_dispatch rows[] = {
	{.type = AMP_MSG_SCAN,
	 .descriptor = &amp__scan__descriptor,
	 .max_length = 256,
	 .min_fds = 1,
	 .max_fds = 1},
};

static struct wire wire;

static int limit(__rlimit_resource_t what, uint64_t value)
{
	const struct rlimit r = {.rlim_cur = value, .rlim_max = value};

	return setrlimit(what, &r);
}

static int build_limits(const struct worker *w)
{
	struct rlimit file;

	/* Of a file it may not make more than its user may. */
	if (getrlimit(RLIMIT_FSIZE, &file) != 0)
		return -1;
	if (file.rlim_max > w->address_space && limit(RLIMIT_FSIZE, w->address_space) != 0)
		return -1;
	return limit(RLIMIT_AS, w->address_space) == 0 && limit(RLIMIT_NOFILE, WORKER_NOFILE) == 0 &&
			       limit(RLIMIT_NPROC, 0) == 0
		       ? 0
		       : -1;
}

static int build_walls(const struct worker *w)
{
	if (prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0L, 0L, 0L) != 0 || getppid() != w->parent)
		return -1;
	(void)prctl(PR_SET_NAME, "ampengine-work", 0L, 0L, 0L);
	if (chdir(w->slot) != 0 || dup2(w->fd, WORKER_FD) < 0 || close_range(WORKER_FD + 1, ~0U, 0) != 0)
		return -1;
	if (build_limits(w) != 0 || amp_landlock_apply_tree(w->slot) != 0)
		return -1;
	return amp_seccomp_apply(w->filter);
}

/* Content that changes or ends under the scan would be a way to end the worker. */
static const char *look_at(int fd, uint64_t size)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & SEALS_NEEDED) != SEALS_NEEDED)
		return "content is not sealed";
	if (fstat(fd, &st) != 0 || st.st_size < 0 || (uint64_t)st.st_size != size || size > CONTENT_MAX)
		return "content is of another size";
	return NULL;
}

static void scan_data(struct adapter *a, const Amp__Scan *s, const void *data, struct adapter_verdict *v)
{
	const struct adapter_limits limits = {
		.max_file_size = s->max_file_size,
		.max_scan_size = s->max_scan_size,
		.max_files = s->max_files,
		.max_recursion = s->max_recursion,
		.max_ms = s->max_ms,
	};

	seam_before_scan(data, s->size);
	adapter_scan(a, data, s->size, &limits, v);
	seam_after_scan(data, s->size, v);
}

static void scan(struct adapter *a, const Amp__Scan *s, int fd, struct adapter_verdict *v)
{
	const char *wrong = look_at(fd, s->size);
	void *data = NULL;

	if (!wrong && s->size > 0) {
		data = mmap(NULL, s->size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (data == MAP_FAILED)
			wrong = "no memory for the content";
	}
	if (wrong) {
		v->result = ADAPTER_ERROR;
		snprintf(v->detail, sizeof(v->detail), "%s", wrong);
		return;
	}
	scan_data(a, s, data, v);
	if (data)
		munmap(data, s->size);
}

static int answer(uint64_t id, struct adapter_verdict *v, int64_t since)
{
	static const Amp__ScanVerdict__Result results[] = {
		[ADAPTER_CLEAN] = AMP__SCAN_VERDICT__RESULT__CLEAN,
		[ADAPTER_INFECTED] = AMP__SCAN_VERDICT__RESULT__INFECTED,
		[ADAPTER_PARTIAL] = AMP__SCAN_VERDICT__RESULT__PARTIAL,
		[ADAPTER_ERROR] = AMP__SCAN_VERDICT__RESULT__ERROR,
	};
	Amp__ScanVerdict out = AMP__SCAN_VERDICT__INIT;

	out.result = results[v->result];
	out.name = v->name;
	out.detail = v->detail;
	out.ns = (uint64_t)(amp_clock_monotonic() - since);
	return wire_send(&wire, AMP_MSG_SCAN_VERDICT, id, &out.base);
}

/*
 * libclamav takes and gives back megabytes for each scan, by the number of signatures:
 * from scan to scan they stay, since the kernel would have to clear them each time; from
 * a worker that has nothing to do they go back.
 */
static void keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK);
	mallopt(M_TRIM_THRESHOLD, KEPT_TOP);
}

static void await_work(void)
{
	struct pollfd p = {.fd = WORKER_FD, .events = POLLIN};

	if (poll(&p, 1, IDLE_MS) == 0)
		malloc_trim(0);
}

static int next(struct amp_message *m)
{
	const char *why;

	await_work();
	return wire_receive(&wire, m, &why);
}

void worker_main(const struct worker *w)
{
	struct amp_message m;
	int rc;

	keep_memory();
	if (build_walls(w) != 0 || wire_init(&wire, WORKER_FD, rows, sizeof(rows) / sizeof(rows[0])) != 0)
		_exit(EXIT_WALL);
	while ((rc = next(&m)) > 0) {
		const Amp__Scan *s = (const Amp__Scan *)m.body;
		struct adapter_verdict v = {0};
		int64_t since = amp_clock_monotonic();

		scan(w->adapter, s, m.fds[0], &v);
		close(m.fds[0]);
		if (answer(m.id, &v, since) != 0)
			_exit(EXIT_LEFT);
	}
	_exit(rc == 0 ? EXIT_LEFT : EXIT_PROTOCOL);
}
