/*
 * tests/unit/test_engine_zygote.c - zygotes and workers as processes, under their filters:
 * what they find, what they refuse, how they end, what they leave.
 */
#include "zygotetest.h"

#include <dirent.h>
#include <sys/resource.h>
#include <time.h>

static void start(struct place *p, struct zyg *z)
{
	struct zygote_said s;

	place_make(p);
	write_file(p->sig, "test.hdb", TESTFILE_HDB, strlen(TESTFILE_HDB));
	zyg_start(z, p);
	assert_int_equal(zyg_next(z, &s, NULL), ZYGOTE_LOADED);
	assert_int_equal(s.signatures, 1);
	assert_string_not_equal(s.text, "");
	assert_true(slot_is_empty(p, ZYGOTE_SLOT));
}

static void assert_left(struct zyg *z, struct place *p)
{
	int status = zyg_end(z);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	place_free(p);
}

static void await_gone(struct zyg *z, uint64_t serial, int signal_number)
{
	struct zygote_said s;

	assert_int_equal(zyg_next(z, &s, NULL), ZYGOTE_GONE);
	assert_int_equal(s.serial, serial);
	assert_int_equal(s.signal, signal_number);
}

/* The room's part: the zygote leaves what is there. */
static void wipe(const struct place *p, unsigned slot, uint64_t serial)
{
	char path[SLOT_PATH];

	slot_path(path, p->slots, slot, serial);
	assert_false(slot_is_empty(p, slot));
	assert_int_equal(slot_wipe(path), 0);
	assert_true(slot_is_empty(p, slot));
}

static void scan_path(int worker, const char *path, struct verdict *v)
{
	size_t n;
	uint8_t *data = read_all(path, &n);

	scan_data(worker, data, n, v);
	free(data);
}

/* How many of a directory; others are told. */
static unsigned count_in(int worker, const char *dir, Amp__ScanVerdict__Result wanted, unsigned most,
			 unsigned *others)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	unsigned n = 0;

	*others = 0;
	while (d && (e = readdir(d)) && n + *others < most) {
		char path[512];
		struct stat st;
		struct verdict v;

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > 5 << 20)
			continue;
		scan_path(worker, path, &v);
		n += v.result == wanted;
		*others += v.result != wanted;
		if (v.result != wanted)
			print_message("%s: %d %s %s\n", path, (int)v.result, v.name, v.detail);
	}
	if (d)
		closedir(d);
	return n;
}

static void test_finds(void **state)
{
	struct place p;
	struct zyg z;
	unsigned others;
	pid_t pid;
	int worker;

	(void)state;
	start(&p, &z);
	worker = zyg_spawn(&z, 3, 41, &pid);
	if (access(TESTFILES, F_OK) == 0)
		assert_int_equal(
			count_in(worker, TESTFILES, AMP__SCAN_VERDICT__RESULT__INFECTED, 100, &others), 44);
	assert_true(count_in(worker, "/usr/bin", AMP__SCAN_VERDICT__RESULT__CLEAN, 60, &others) > 0);
	assert_int_equal(others, 0);
	close(worker);
	await_gone(&z, 41, 0);
	wipe(&p, 3, 41);
	assert_left(&z, &p);
}

/* Each has a slot and a pair; the same process never serves two. */
static void test_workers(void **state)
{
	struct place p;
	struct zyg z;
	struct verdict v;
	struct zygote_said s;
	pid_t a_pid, b_pid;
	int a, b;

	(void)state;
	start(&p, &z);
	a = zyg_spawn(&z, 0, 1, &a_pid);
	b = zyg_spawn(&z, 1, 2, &b_pid);
	assert_int_not_equal(a_pid, b_pid);
	zyg_ask(&z, ZYGOTE_KILL, 0, 1);
	await_gone(&z, 1, SIGKILL);
	receive_verdict(a, 0, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__NONE);
	scan_data(b, "fine", 4, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__CLEAN);
	zyg_ask(&z, ZYGOTE_KILL, 0, 1); /* nobody any more */
	close(a);
	a = zyg_spawn(&z, 0, 3, &a_pid);
	zyg_ask(&z, ZYGOTE_RETIRE, 0, 0);
	scan_data(a, "fine", 4, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__CLEAN);
	close(a);
	await_gone(&z, 3, 0);
	close(b);
	await_gone(&z, 2, 0);
	assert_int_equal(zyg_next(&z, &s, NULL), 0); /* its last one is gone */
	assert_left(&z, &p);
}

static void test_content(void **state)
{
	struct place p;
	struct zyg z;
	struct verdict v;
	pid_t pid;
	int worker, fd;

	(void)state;
	start(&p, &z);
	worker = zyg_spawn(&z, 0, 1, &pid);
	scan_data(worker, "", 0, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__CLEAN);
	fd = memfd_of("may change", 10, false);
	send_scan(worker, 7, fd, 10, 1000);
	receive_verdict(worker, 7, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__ERROR);
	assert_string_equal(v.detail, "content is not sealed");
	close(fd);
	fd = memfd_of("short", 5, true);
	send_scan(worker, 7, fd, 4096, 1000);
	receive_verdict(worker, 7, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__ERROR);
	close(fd);
	/* Nonsense is the end of it. */
	assert_int_equal(send(worker, "nonsense", 8, MSG_NOSIGNAL), 8);
	receive_verdict(worker, 7, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__NONE);
	await_gone(&z, 1, 0);
	close(worker);
	assert_left(&z, &p);
}

static void test_signal(void **state)
{
	struct place p;
	struct zyg z;
	struct verdict v;
	pid_t pid;
	int worker;

	(void)state;
	start(&p, &z);
	worker = zyg_spawn(&z, 5, 9, &pid);
	assert_int_equal(kill(pid, SIGSEGV), 0);
	await_gone(&z, 9, SIGSEGV);
	wipe(&p, 5, 9);
	close(worker);
	worker = zyg_spawn(&z, 5, 10, &pid);
	scan_data(worker, "fine", 4, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__CLEAN);
	/* Workers end with their zygote. */
	kill(z.pid, SIGKILL);
	receive_verdict(worker, 7, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__NONE);
	close(worker);
	zyg_end(&z);
	place_free(&p);
}

/* What it has had of the processors, whoever had the rest. */
static int64_t cpu_ns(const struct zyg *z)
{
	struct timespec t;
	clockid_t its;

	assert_int_equal(clock_getcpuclockid(z->pid, &its), 0);
	assert_int_equal(clock_gettime(its, &t), 0);
	return t.tv_sec * AMP_NS_PER_SEC + t.tv_nsec;
}

/* A directory that is closed, and more of them than a path may have: no word of it is late. */
static void test_left(void **state)
{
	char path[SLOT_PATH];
	struct place p;
	struct zyg z;
	int64_t used;
	pid_t pid;
	int worker, at;

	(void)state;
	start(&p, &z);
	worker = zyg_spawn(&z, 0, 1, &pid);
	at = open(slot_path(path, p.slots, 0, 1), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 4000; i++) {
		int below;

		assert_int_equal(mkdirat(at, "d", 0700), 0);
		below = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_int_equal(fchmod(at, 0), 0);
		close(at);
		at = below;
	}
	close(at);
	used = cpu_ns(&z);
	close(worker);
	await_gone(&z, 1, 0);
	assert_true(cpu_ns(&z) - used < AMP_NS_PER_SEC);
	worker = zyg_spawn(&z, 1, 2, &pid);
	close(worker);
	await_gone(&z, 2, 0);
	wipe(&p, 0, 1);
	assert_left(&z, &p);
}

static void refused(struct place *p, const char *why)
{
	struct zygote_said s;
	struct zyg z;
	int status;

	zyg_start(&z, p);
	assert_int_equal(zyg_next(&z, &s, NULL), ZYGOTE_REFUSED);
	if (!strstr(s.text, why))
		fail_msg("refused, but: %s", s.text);
	assert_int_equal(zyg_next(&z, &s, NULL), 0);
	status = zyg_end(&z);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 0);
	assert_true(slot_is_empty(p, ZYGOTE_SLOT));
	place_free(p);
}

static void test_refused(void **state)
{
	static const char bad[] = "this:is no:signature:at all\n";
	struct place p;

	(void)state;
	place_make(&p);
	p.dirs.host[0] = (char[]){"/etc/signatures"};
	write_file(p.sig, "good.hdb", TESTFILE_HDB, strlen(TESTFILE_HDB));
	write_file(p.sig, "bad.ndb", bad, sizeof(bad) - 1);
	refused(&p, "/etc/signatures/bad.ndb");
	place_make(&p);
	write_file(p.sig, "only.ign2", "Some.Name\n", 10);
	refused(&p, "no signature");
}

/* What a directory ignores holds for the signatures of those before it. */
static void test_ignored(void **state)
{
	char second[80];
	struct zygote_said s;
	struct verdict v;
	struct place p;
	struct zyg z;
	uint8_t *data;
	size_t n;
	pid_t pid;
	int worker;

	(void)state;
	assert_int_equal(access(TESTFILES "/clam.exe", F_OK), 0);
	place_make(&p);
	snprintf(second, sizeof(second), "%s/second", p.root);
	assert_int_equal(mkdir(second, 0700), 0);
	p.dirs.count = 2;
	p.dirs.host[1] = p.dirs.view[1] = second;
	write_file(p.sig, "test.hdb", TESTFILE_HDB, strlen(TESTFILE_HDB));
	write_file(second, "more.hdb", "00000000000000000000000000000000:1:Other\n", 41);
	write_file(second, "local.ign2", "ClamAV-Test-File\n", 17);
	zyg_start(&z, &p);
	assert_int_equal(zyg_next(&z, &s, NULL), ZYGOTE_LOADED);
	worker = zyg_spawn(&z, 0, 1, &pid);
	data = read_all(TESTFILES "/clam.exe", &n);
	scan_data(worker, data, n, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__CLEAN);
	free(data);
	close(worker);
	await_gone(&z, 1, 0);
	assert_left(&z, &p);
}

static void test_told(void **state)
{
	struct zygote_said s;
	struct place p;
	struct zyg z;
	unsigned sets = 0;

	(void)state;
	place_make(&p);
	write_file(p.sig, "test.hdb", TESTFILE_HDB, strlen(TESTFILE_HDB));
	write_file(p.sig, "two.hdb", TESTFILE_HDB "00000000000000000000000000000000:1:Other\n",
		   strlen(TESTFILE_HDB) + 41);
	write_file(p.sig, "readme.txt", "x", 1);
	zyg_start(&z, &p);
	while (zyg_hear(&z, &s, NULL) && s.kind != ZYGOTE_LOADED)
		if (s.kind == ZYGOTE_SET) {
			assert_int_equal(s.signatures, strcmp(s.text, "two.hdb") == 0 ? 2 : 1);
			assert_true(s.time_ns > 0);
			sets++;
		}
	assert_int_equal(sets, 2);
	assert_int_equal(s.signatures, 3);
	assert_left(&z, &p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds),  cmocka_unit_test(test_workers), cmocka_unit_test(test_content),
		cmocka_unit_test(test_signal), cmocka_unit_test(test_refused), cmocka_unit_test(test_ignored),
		cmocka_unit_test(test_told),   cmocka_unit_test(test_left),
	};

	if (amp_sha256_setup() != 0 || adapter_setup() != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
