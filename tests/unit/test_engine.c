/*
 * tests/unit/test_engine.c - libclamav behind its adapter: what is found, what is too much.
 */
#include "zygotetest.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/time.h>

static const struct adapter_limits usual = {
	.max_file_size = 5U << 20,
	.max_scan_size = 50U << 20,
	.max_files = 10000,
	.max_recursion = 17,
	.max_ms = 60000,
};

static struct adapter *load(const char *path)
{
	char why[ADAPTER_TEXT];
	uint64_t n = 0;
	struct adapter *a = adapter_new();

	assert_non_null(a);
	assert_int_equal(adapter_load(a, path, &n, why), 0);
	assert_true(n > 0);
	assert_int_equal(adapter_compile(a, why), 0);
	return a;
}

static struct adapter *load_testfile(struct place *p)
{
	place_make(p);
	assert_int_equal(chdir(p->root), 0);
	write_file(p->sig, "test.hdb", TESTFILE_HDB, strlen(TESTFILE_HDB));
	return load(p->sig);
}

static void end(struct place *p, struct adapter *a)
{
	adapter_free(a);
	assert_int_equal(chdir("/"), 0);
	place_free(p);
}

static void test_testfiles(void **state)
{
	struct place p;
	struct adapter *a;
	DIR *d = opendir(TESTFILES);
	const struct dirent *e;
	unsigned files = 0, found = 0;

	(void)state;
	assert_non_null(d); /* Debian's clamav-testfiles are a package of the checks */
	a = load_testfile(&p);
	while ((e = readdir(d))) {
		char path[512];
		struct adapter_verdict v;
		uint8_t *data;
		size_t n;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", TESTFILES, e->d_name);
		data = read_all(path, &n);
		adapter_scan(a, data, n, &usual, &v);
		files++;
		if (v.result == ADAPTER_INFECTED && strcmp(v.name, FOUND_NAME) == 0)
			found++;
		else
			print_message("%s: %d %s %s\n", e->d_name, (int)v.result, v.name, v.detail);
		free(data);
	}
	closedir(d);
	assert_int_equal(files, 44);
	assert_int_equal(found, 44);
	end(&p, a);
}

static void test_clean(void **state)
{
	static const char text[] = "nothing of interest\n";
	struct place p;
	struct adapter *a = load_testfile(&p);
	struct adapter_verdict v;
	uint8_t *data;
	size_t n;

	(void)state;
	adapter_scan(a, text, sizeof(text) - 1, &usual, &v);
	assert_int_equal(v.result, ADAPTER_CLEAN);
	adapter_scan(a, text, 0, &usual, &v);
	assert_int_equal(v.result, ADAPTER_CLEAN);
	data = read_all("/bin/sh", &n);
	adapter_scan(a, data, n, &usual, &v);
	assert_int_equal(v.result, ADAPTER_CLEAN);
	free(data);
	end(&p, a);
}

/* So many MiB of nothing, which a scan has to unpack. */
static uint8_t *bomb_of(const struct place *p, unsigned mib, size_t *n)
{
	char command[512], path[128];

	snprintf(path, sizeof(path), "%s/bomb.gz", p->root);
	snprintf(command, sizeof(command), "head -c %uM /dev/zero | gzip -9 >%s", mib, path);
	assert_int_equal(system(command), 0);
	return read_all(path, n);
}

static void test_limits(void **state)
{
	struct adapter_limits small = usual;
	struct place p;
	struct adapter *a = load_testfile(&p);
	struct adapter_verdict v;
	uint8_t *data;
	size_t n;

	(void)state;
	data = bomb_of(&p, 20, &n);
	small.max_scan_size = 1U << 20;
	adapter_scan(a, data, n, &small, &v);
	assert_int_equal(v.result, ADAPTER_PARTIAL);
	assert_string_not_equal(v.detail, "");
	assert_string_equal(v.name, "");
	small = usual;
	small.max_file_size = 1U << 20;
	adapter_scan(a, data, n, &small, &v);
	assert_int_equal(v.result, ADAPTER_PARTIAL);
	free(data);
	end(&p, a);
}

/* What is scanned may be larger than a member of it may be. */
/* So many members of some bytes each; malloc'd. */
static uint8_t *make_tar(unsigned members, size_t *size)
{
	uint8_t *data = calloc(members + 1, 1024), *at = data;

	assert_non_null(data);
	for (unsigned i = 0; i < members; i++, at += 1024) {
		unsigned sum = 8 * ' ';

		snprintf((char *)at, 100, "member-%u", i);
		memcpy(at + 100, "0000644", 8);
		memcpy(at + 108, "0000000", 8);
		memcpy(at + 116, "0000000", 8);
		memcpy(at + 124, "00000000144", 12); /* 100 bytes */
		memcpy(at + 136, "00000000000", 12);
		at[156] = '0';
		memcpy(at + 257, "ustar\00000", 8);
		for (unsigned n = 0; n < 512; n++)
			sum += at[n];
		snprintf((char *)at + 148, 8, "%06o", sum);
		at[155] = ' ';
		snprintf((char *)at + 512, 100, "content of member %u", i);
	}
	*size = (size_t)(members + 1) * 1024;
	return data;
}

/* Others have the processors for three seconds. */
static void on_time_used(int signal_number)
{
	struct timespec left = {.tv_sec = 3};

	(void)signal_number;
	while (nanosleep(&left, &left) != 0)
		;
}

/* Others have the processors while it is scanned: its time is over, and that is not its fault. */
static void test_starved(void **state)
{
	/* When so much of ours is used up the scan has begun, and by far not ended. */
	const struct itimerval soon = {.it_value = {.tv_usec = 20000}}, none = {.it_value = {.tv_sec = 0}};
	const struct sigaction act = {.sa_handler = on_time_used, .sa_flags = SA_RESTART};
	struct sigaction old;
	struct adapter_limits some = usual;
	struct adapter_verdict v;
	struct adapter *a;
	struct place p;
	uint8_t *data;
	size_t size;

	(void)state;
	a = load_testfile(&p);
	data = make_tar(9000, &size);
	some.max_ms = 500;
	some.max_file_size = 50U << 20;
	assert_int_equal(sigaction(SIGPROF, &act, &old), 0);
	assert_int_equal(setitimer(ITIMER_PROF, &soon, NULL), 0);
	adapter_scan(a, data, size, &some, &v);
	assert_int_equal(setitimer(ITIMER_PROF, &none, NULL), 0);
	assert_int_equal(sigaction(SIGPROF, &old, NULL), 0);
	assert_int_equal(v.result, ADAPTER_ERROR);
	assert_non_null(strstr(v.detail, "processors"));
	/* In its own time it is over the limit itself, unless the machine is as busy as that. */
	some.max_ms = 1;
	adapter_scan(a, data, size, &some, &v);
	assert_true(v.result == ADAPTER_PARTIAL || v.result == ADAPTER_ERROR);
	some.max_ms = 60000;
	adapter_scan(a, data, size, &some, &v);
	assert_int_equal(v.result, ADAPTER_CLEAN);
	free(data);
	end(&p, a);
}

static void test_larger_than_a_member(void **state)
{
	struct adapter_limits small = usual;
	struct place p;
	struct adapter *a = load_testfile(&p);
	struct adapter_verdict v;
	size_t n = 3U << 20;
	uint8_t *data = calloc(1, n);

	(void)state;
	assert_non_null(data);
	small.max_file_size = 1U << 20;
	adapter_scan(a, data, n, &small, &v);
	assert_int_equal(v.result, ADAPTER_CLEAN);
	free(data);
	end(&p, a);
}

/* How many of the test files are called clean, and how many found. */
static void scan_testfiles(struct adapter *a, unsigned *clean, unsigned *found)
{
	DIR *d = opendir(TESTFILES);
	const struct dirent *e;

	*clean = *found = 0;
	assert_non_null(d);
	while ((e = readdir(d))) {
		char path[512];
		struct adapter_verdict v;
		uint8_t *data;
		size_t n;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", TESTFILES, e->d_name);
		data = read_all(path, &n);
		adapter_scan(a, data, n, &usual, &v);
		*clean += v.result == ADAPTER_CLEAN;
		*found += v.result == ADAPTER_INFECTED;
		free(data);
	}
	closedir(d);
}

static void with_limit(struct adapter *a, __rlimit_resource_t what, rlim_t value, unsigned *clean,
		       unsigned *found)
{
	struct rlimit old, less;

	assert_int_equal(getrlimit(what, &old), 0);
	less = old;
	less.rlim_cur = value;
	assert_int_equal(setrlimit(what, &less), 0);
	scan_testfiles(a, clean, found);
	assert_int_equal(setrlimit(what, &old), 0);
}

/* libclamav calls clean what it had no room to look into. */
static void test_no_room(void **state)
{
	struct place p;
	struct adapter *a;
	unsigned clean, found, first;
	int fd;

	(void)state;
	assert_int_equal(access(TESTFILES, F_OK), 0);
	a = load_testfile(&p);
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	with_limit(a, RLIMIT_FSIZE, 0, &clean, &found);
	assert_int_equal(clean, 0);
	assert_true(found > 0 && found < 44);
	with_limit(a, RLIMIT_FSIZE, 100, &clean, &found);
	assert_int_equal(clean, 0);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
	first = (unsigned)fd;
	/* The directory that is being read and the file take two. */
	for (unsigned more = 2; more < 6; more++) {
		with_limit(a, RLIMIT_NOFILE, first + more, &clean, &found);
		assert_int_equal(clean, 0);
	}
	assert_int_equal(mkdir("gone", 0700), 0);
	assert_int_equal(chdir("gone"), 0);
	assert_int_equal(rmdir("../gone"), 0);
	scan_testfiles(a, &clean, &found);
	assert_int_equal(clean, 0);
	assert_int_equal(chdir(p.root), 0);
	scan_testfiles(a, &clean, &found);
	assert_int_equal(found, 44);
	end(&p, a);
}

/* Nothing is wrong with what takes much memory to unpack, nor right. */
static void test_xz_of_much_memory(void **state)
{
	char command[512], path[128];
	struct adapter_verdict v;
	struct place p;
	struct adapter *a;
	uint8_t *data;
	size_t n;

	(void)state;
	assert_int_equal(system("command -v xz >/dev/null"), 0);
	a = load_testfile(&p);
	snprintf(path, sizeof(path), "%s/true.xz", p.root);
	snprintf(command, sizeof(command), "xz -c --lzma2=dict=1536MiB /bin/true >%s", path);
	assert_int_equal(system(command), 0);
	data = read_all(path, &n);
	adapter_scan(a, data, n, &usual, &v);
	assert_int_equal(v.result, ADAPTER_PARTIAL);
	assert_string_not_equal(v.detail, "");
	free(data);
	end(&p, a);
}

static void test_broken_set(void **state)
{
	static const char bad[] = "this:is no:signature:at all\n";
	char why[ADAPTER_TEXT] = "";
	struct adapter *a = adapter_new();
	struct place p;
	uint64_t n = 0;

	(void)state;
	assert_non_null(a);
	place_make(&p);
	write_file(p.sig, "bad.ndb", bad, sizeof(bad) - 1);
	assert_int_equal(adapter_load(a, p.sig, &n, why), -1);
	assert_non_null(strstr(why, "bad.ndb"));
	adapter_free(a);
	place_free(&p);
}

static void test_names(void **state)
{
	(void)state;
	assert_true(adapter_is_set("daily.cvd"));
	assert_true(adapter_is_set("my.own.hdb"));
	assert_true(adapter_is_set("no.ign2"));
	assert_true(adapter_is_ignore_list("no.ign2"));
	assert_false(adapter_is_ignore_list("main.cvd"));
	assert_false(adapter_is_set("freshclam.dat"));
	assert_true(adapter_is_set(".hdb")); /* libclamav loads it */
	assert_true(adapter_is_set("Mine.HDB"));
	assert_true(adapter_is_ignore_list("No.Ign2"));
	assert_false(adapter_is_set("hdb"));
	assert_false(adapter_is_set("x.hdb.tmp"));
}

static void test_describe(void **state)
{
	struct adapter_set set = {.time_ns = 5};
	struct place p;
	char path[128];

	(void)state;
	place_make(&p);
	write_file(p.sig, "test.hdb", TESTFILE_HDB, strlen(TESTFILE_HDB));
	snprintf(path, sizeof(path), "%s/test.hdb", p.sig);
	adapter_describe(path, &set);
	assert_int_equal(set.time_ns, 5);
	assert_int_equal(set.version, 0);
	assert_int_equal(set.signatures, 1);
	place_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_testfiles),
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_starved),
		cmocka_unit_test(test_larger_than_a_member),
		cmocka_unit_test(test_broken_set),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_describe),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_xz_of_much_memory),
	};

	if (adapter_setup() != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
