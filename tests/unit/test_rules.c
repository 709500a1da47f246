/*
 * tests/unit/test_rules.c - the policy in force: which list wins, what an
 * exclusion covers, and that a process is excluded by its program's inode.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/skip.h"

#include "ampscand/rules.h"
#include "clock.h"
#include "proto/types.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define KIND(name) AMP__POLICY_ENTRY__KIND__##name
#define PRIVATE	   "/mnt" /* a tmpfs in a mount namespace of our own, root's only */

static bool have_private;

static int set_up(void **state)
{
	(void)state;
	have_private = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
		       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		       mount("rules", PRIVATE, "tmpfs", 0, "mode=755,size=1m") == 0;
	return 0;
}

static struct rules *empty(void)
{
	Amp__PolicyBegin begin = AMP__POLICY_BEGIN__INIT;
	struct rules *r;

	begin.name = (char *)(uintptr_t) "Test Policy";
	begin.serial = 3;
	begin.epoch = 9;
	begin.mode = AMP__POLICY_BEGIN__MODE__PROTECT;
	begin.max_file_size = 1000;
	r = rules_new(&begin);
	assert_non_null(r);
	return r;
}

static Amp__PolicyEntry entry(Amp__PolicyEntry__Kind kind, const void *text, size_t n)
{
	Amp__PolicyEntry e = AMP__POLICY_ENTRY__INIT;

	e.kind = kind;
	e.text = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)text, .len = n};
	return e;
}

static int add_hash(struct rules *r, Amp__PolicyEntry__Kind kind, unsigned char first, const char *name)
{
	uint8_t sha[AMP_SHA256_SIZE] = {first};
	Amp__PolicyEntry e = entry(kind, name, strlen(name));

	e.sha256 = (ProtobufCBinaryData){.data = sha, .len = sizeof(sha)};
	return rules_add(r, &e);
}

static void add(struct rules *r, Amp__PolicyEntry__Kind kind, const char *text)
{
	Amp__PolicyEntry e = entry(kind, text, strlen(text));

	assert_int_equal(rules_add(r, &e), 0);
}

static struct rule *lookup(struct rules *r, unsigned char first)
{
	uint8_t sha[AMP_SHA256_SIZE] = {first};

	return rules_lookup(r, sha);
}

static void test_new(void **state)
{
	Amp__PolicyBegin begin = AMP__POLICY_BEGIN__INIT;
	struct rules *r = empty();
	char name[300];

	(void)state;
	assert_string_equal(r->name, "Test Policy");
	assert_int_equal(r->serial, 3);
	assert_int_equal(r->epoch, 9);
	assert_true(r->protect);
	assert_int_equal(r->max_file_size, 1000);
	assert_int_equal(rules_seal(r), 0);
	assert_null(lookup(r, 1));
	assert_null(rules_exclude(r, "/a", NULL, true));
	rules_free(r);
	memset(name, 'x', sizeof(name));
	name[256] = '\0';
	begin.name = name;
	assert_null(rules_new(&begin));
	rules_free(NULL);
}

static void test_lists(void **state)
{
	struct rules *r = empty();
	struct rule *found;

	(void)state;
	assert_int_equal(add_hash(r, KIND(BLOCKED), 1, "One"), 0);
	assert_int_equal(add_hash(r, KIND(BLOCKED), 2, "Two"), 0);
	assert_int_equal(add_hash(r, KIND(ALLOWED), 2, ""), 0); /* after it */
	assert_int_equal(add_hash(r, KIND(ALLOWED), 3, ""), 0); /* before it */
	assert_int_equal(add_hash(r, KIND(BLOCKED), 3, "Three"), 0);
	assert_int_equal(rules_seal(r), 0);
	found = lookup(r, 1);
	assert_non_null(found);
	assert_int_equal(found->kind, KIND(BLOCKED));
	assert_string_equal(found->text, "One");
	assert_int_equal(lookup(r, 2)->kind, KIND(ALLOWED));
	assert_int_equal(lookup(r, 3)->kind, KIND(ALLOWED));
	assert_null(lookup(r, 4));
	assert_int_equal(found->hits, 0); /* looking is not deciding */
	rules_free(r);
}

/* Hashes that share the index's key (their first eight bytes) stay apart. */
static void test_same_beginning(void **state)
{
	uint8_t sha[AMP_SHA256_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct rules *r = empty();

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		Amp__PolicyEntry e = entry(KIND(BLOCKED), "", 0);

		sha[31] = (uint8_t)i;
		e.sha256 = (ProtobufCBinaryData){.data = sha, .len = sizeof(sha)};
		e.line = i;
		assert_int_equal(rules_add(r, &e), 0);
	}
	assert_int_equal(rules_seal(r), 0);
	for (unsigned i = 0; i < 256; i++) {
		struct rule *found;

		sha[31] = (uint8_t)i;
		found = rules_lookup(r, sha);
		assert_true(i < 200 ? found && found->line == i : !found);
	}
	rules_free(r);
}

static void test_bad_entries(void **state)
{
	static uint8_t sha[AMP_SHA256_SIZE + 1], big[AMP_PATH_MAX];
	struct rules *r = empty();
	Amp__PolicyEntry e;

	(void)state;
	memset(big, 'x', sizeof(big));
	big[0] = '/';
	for (int kind = -1; kind < 300; kind++) {
		bool hash = kind == (int)KIND(BLOCKED) || kind == (int)KIND(ALLOWED);
		bool known = kind >= (int)KIND(BLOCKED) && kind <= (int)KIND(EXCLUDE_PROCESS);

		e = entry((Amp__PolicyEntry__Kind)kind, "/a", 2);
		e.sha256 = (ProtobufCBinaryData){.data = sha, .len = hash ? AMP_SHA256_SIZE : 0};
		assert_int_equal(rules_add(r, &e), known ? 0 : -1);
	}
	assert_int_equal(r->count, 6);
	for (size_t n = 0; n <= sizeof(sha); n++) {
		e = entry(KIND(BLOCKED), "", 0);
		e.sha256 = (ProtobufCBinaryData){.data = sha, .len = n};
		assert_int_equal(rules_add(r, &e), n == AMP_SHA256_SIZE ? 0 : -1);
	}
	e = entry(KIND(BLOCKED), big, 4097); /* a detection name of pages */
	e.sha256 = (ProtobufCBinaryData){.data = sha, .len = AMP_SHA256_SIZE};
	assert_int_equal(rules_add(r, &e), -1);
	e = entry(KIND(EXCLUDE_PATH), "", 0); /* would exclude everything */
	assert_int_equal(rules_add(r, &e), -1);
	e = entry(KIND(EXCLUDE_PATH), "/\0x", 3);
	assert_int_equal(rules_add(r, &e), -1);
	e = entry(KIND(EXCLUDE_PATH), big, sizeof(big));
	assert_int_equal(rules_add(r, &e), -1);
	e = entry(KIND(EXCLUDE_PATH), big, sizeof(big) - 1);
	assert_int_equal(rules_add(r, &e), 0);
	e = entry(KIND(EXCLUDE_PATH), "/a", 2); /* a hash where none belongs */
	e.sha256 = (ProtobufCBinaryData){.data = sha, .len = AMP_SHA256_SIZE};
	assert_int_equal(rules_add(r, &e), -1);
	assert_int_equal(rules_seal(r), 0);
	rules_free(r);
}

static void test_paths(void **state)
{
	static const struct {
		Amp__PolicyEntry__Kind kind;
		const char *text, *path;
		bool excluded;
	} rows[] = {
		{KIND(EXCLUDE_PATH), "/a/b", "/a/b", true},
		{KIND(EXCLUDE_PATH), "/a/b", "/a/b/c/d", true},
		{KIND(EXCLUDE_PATH), "/a/b", "/a/bc", false},
		{KIND(EXCLUDE_PATH), "/a/b", "/x/a/b", false},
		{KIND(EXCLUDE_PATH), "/a/*", "/a/x", false}, /* no wildcard in a path */
		{KIND(EXCLUDE_WILDCARD), "/home/*/x/*", "/home/u/x/f", true},
		{KIND(EXCLUDE_WILDCARD), "/home/*/x/*", "/home/u/v/x/f", false}, /* within a component */
		{KIND(EXCLUDE_WILDCARD), "/home/*/x/*", "/home/u/x/y/f", false},
		{KIND(EXCLUDE_WILDCARD), "/a/?", "/a/b", true},
		{KIND(EXCLUDE_WILDCARD), "/a/?", "/a/bc", false},
		{KIND(EXCLUDE_WILDCARD), "/a/[xy]", "/a/y", true},
		{KIND(EXCLUDE_WILDCARD), "/a/\\*", "/a/\\b", true}, /* no escapes: names may hold them */
		{KIND(EXCLUDE_WILDCARD), "*", "/a", false},
		{KIND(EXCLUDE_EXTENSION), "log", "/a/b.log", true},
		{KIND(EXCLUDE_EXTENSION), "log", "/a/b.LOG", false},
		{KIND(EXCLUDE_EXTENSION), "log", "/a/b.log.exe", false},
		{KIND(EXCLUDE_EXTENSION), "log", "/a.log/b", false},
		{KIND(EXCLUDE_EXTENSION), "log", "/a/log", false},
		{KIND(EXCLUDE_EXTENSION), "log", "/a/.log", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rules *r = empty();

		add(r, rows[i].kind, rows[i].text);
		assert_int_equal(rules_seal(r), 0);
		if ((rules_exclude(r, rows[i].path, NULL, true) != NULL) != rows[i].excluded)
			fail_msg("%s %s: %s", rule_kind_name(r->rule), rows[i].text, rows[i].path);
		assert_null(rules_exclude(r, NULL, NULL, true)); /* unknown is never excluded */
		rules_free(r);
	}
}

static void test_hash_entries_exclude_nothing(void **state)
{
	struct rules *r = empty();

	(void)state;
	assert_int_equal(add_hash(r, KIND(ALLOWED), 1, "/a"), 0);
	add(r, KIND(EXCLUDE_PATH), "/b");
	add(r, KIND(EXCLUDE_PATH), "/b/c");
	assert_int_equal(rules_seal(r), 0);
	assert_null(rules_exclude(r, "/a", NULL, true));
	assert_ptr_equal(rules_exclude(r, "/b/c/d", NULL, true), &r->rule[1]); /* the first */
	assert_int_equal(r->rule[1].hits, 0);
	rules_free(r);
}

/* -- by process -- */

static struct who *runs(const char *exe, uid_t uid, int same)
{
	struct who *w = who_make(true, 1, uid, exe, strlen(exe));
	struct stat st;

	assert_non_null(w);
	assert_int_equal(stat(exe, &st), 0);
	w->exe_dev = makedev(major(st.st_dev), minor(st.st_dev));
	w->exe_ino = st.st_ino + (same ? 0 : 1);
	return w;
}

static void make_program(const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static struct rules *process_rules(const char *exe, bool has_uid, uid_t uid)
{
	struct rules *r = empty();
	Amp__PolicyEntry e = entry(KIND(EXCLUDE_PROCESS), exe, strlen(exe));

	e.has_uid = has_uid;
	e.uid = uid;
	assert_int_equal(rules_add(r, &e), 0);
	assert_int_equal(rules_seal(r), 0);
	return r;
}

static bool excluded(struct rules *r, struct who *w)
{
	return rules_exclude(r, "/any", w, true) != NULL;
}

#define NEED_PRIVATE()                                                                                       \
	do {                                                                                                 \
		if (!have_private) {                                                                         \
			SKIP_WITHOUT("a mount namespace (root)");                                            \
			return;                                                                              \
		}                                                                                            \
	} while (0)

static void test_process_by_inode(void **state)
{
	const char *exe = PRIVATE "/backup";
	struct rules *r;
	struct who *w, *other;

	(void)state;
	NEED_PRIVATE();
	make_program(exe, 0755);
	r = process_rules(exe, false, 0);
	w = runs(exe, 1000, true);
	other = runs(exe, 1000, false); /* another file that was bind-mounted over the name */
	assert_true(excluded(r, w));
	assert_false(excluded(r, other));
	assert_null(rules_exclude(r, "/any", w, false)); /* what it executes is judged */
	assert_null(rules_exclude(r, "/any", NULL, true));
	other->exe_ino = w->exe_ino;
	other->exe_dev = w->exe_dev + 1;
	assert_false(excluded(r, other));
	other->exe_dev = w->exe_dev;
	assert_true(excluded(r, other));
	other->known = false;
	assert_false(excluded(r, other));
	w->exe_ino = w->exe_dev = 0; /* it could not be told */
	assert_false(excluded(r, w));
	who_unref(w);
	who_unref(other);
	rules_free(r);
	unlink(exe);
}

static void test_process_of_user(void **state)
{
	const char *exe = PRIVATE "/backup";
	struct rules *r;
	struct who *w;

	(void)state;
	NEED_PRIVATE();
	make_program(exe, 0755);
	r = process_rules(exe, true, 34);
	w = runs(exe, 34, true);
	assert_true(excluded(r, w));
	w->uid = 35;
	assert_false(excluded(r, w));
	w->uid = 0;
	assert_false(excluded(r, w));
	who_unref(w);
	rules_free(r);
	unlink(exe);
}

static void refuse_program(const char *exe)
{
	struct rules *r = process_rules(exe, false, 0);
	struct who *w = runs(exe, 1000, true);

	assert_false(excluded(r, w));
	assert_non_null(r->rule[0].warning);
	who_unref(w);
	rules_free(r);
}

/* What others can replace excludes nothing, even while the inode is the same. */
static void test_process_others_can_change(void **state)
{
	(void)state;
	NEED_PRIVATE();
	make_program(PRIVATE "/writable", 0757);
	refuse_program(PRIVATE "/writable");
	make_program(PRIVATE "/group", 0775);
	refuse_program(PRIVATE "/group");
	make_program(PRIVATE "/owned", 0755);
	assert_int_equal(chown(PRIVATE "/owned", 1000, 0), 0);
	refuse_program(PRIVATE "/owned");
	assert_int_equal(mkdir(PRIVATE "/open", 0755), 0);
	assert_int_equal(chmod(PRIVATE "/open", 0777), 0);
	make_program(PRIVATE "/open/p", 0755);
	refuse_program(PRIVATE "/open/p");
	assert_int_equal(symlink(PRIVATE "/owned", PRIVATE "/link"), 0);
	refuse_program(PRIVATE "/link");
}

/* In a sticky directory only an owner replaces what is there. */
static void test_process_below_sticky(void **state)
{
	const char *exe = PRIVATE "/sticky/p";
	struct rules *r;
	struct who *w;

	(void)state;
	NEED_PRIVATE();
	assert_int_equal(mkdir(PRIVATE "/sticky", 0755), 0);
	assert_int_equal(chmod(PRIVATE "/sticky", 01777), 0);
	make_program(exe, 0755);
	r = process_rules(exe, false, 0);
	w = runs(exe, 1000, true);
	assert_true(excluded(r, w));
	who_unref(w);
	rules_free(r);
	assert_int_equal(chown(exe, 1000, 0), 0);
	refuse_program(exe);
}

/* An update puts a new file there: it counts, after a second at the latest. */
static void test_process_is_looked_up_again(void **state)
{
	const char *exe = PRIVATE "/backup", *fresh = PRIVATE "/backup.new";
	struct rules *r;
	struct who *old, *updated;

	(void)state;
	NEED_PRIVATE();
	amp_clock_freeze(AMP_NS_PER_SEC * 100, AMP_NS_PER_SEC * 100);
	make_program(exe, 0755);
	r = process_rules(exe, false, 0);
	old = runs(exe, 0, true);
	assert_true(excluded(r, old));
	make_program(fresh, 0755);
	assert_int_equal(rename(fresh, exe), 0);
	updated = runs(exe, 0, true);
	assert_false(excluded(r, updated));
	amp_clock_advance(AMP_NS_PER_SEC + 1);
	assert_true(excluded(r, updated));
	assert_false(excluded(r, old));
	unlink(exe);
	amp_clock_advance(AMP_NS_PER_SEC + 1);
	assert_false(excluded(r, updated));
	assert_non_null(r->rule[0].warning);
	amp_clock_release();
	who_unref(old);
	who_unref(updated);
	rules_free(r);
}

static const char *warning_of(Amp__PolicyEntry__Kind kind, const char *text)
{
	struct rules *r = empty();
	const char *w;

	add(r, kind, text);
	assert_int_equal(rules_seal(r), 0);
	w = r->rule[0].warning;
	rules_free(r);
	return w;
}

static void test_warnings(void **state)
{
	(void)state;
	NEED_PRIVATE();
	assert_int_equal(mkdir(PRIVATE "/safe", 0755), 0);
	assert_int_equal(mkdir(PRIVATE "/shared", 0755), 0);
	assert_int_equal(chmod(PRIVATE "/shared", 0777), 0);
	assert_int_equal(mkdir(PRIVATE "/shared/in", 0755), 0);
	assert_null(warning_of(KIND(EXCLUDE_PATH), PRIVATE "/safe"));
	assert_null(warning_of(KIND(EXCLUDE_PATH), PRIVATE "/safe/not/there"));
	assert_non_null(warning_of(KIND(EXCLUDE_PATH), PRIVATE "/shared"));
	assert_non_null(warning_of(KIND(EXCLUDE_PATH), PRIVATE "/shared/in"));
	assert_non_null(warning_of(KIND(EXCLUDE_PATH), PRIVATE "/shared/not-there"));
	assert_int_equal(chmod(PRIVATE "/shared", 01777), 0); /* sticky: what is not there may be made */
	assert_null(warning_of(KIND(EXCLUDE_PATH), PRIVATE "/shared/in"));
	assert_non_null(warning_of(KIND(EXCLUDE_PATH), PRIVATE "/shared/not-there"));
	assert_non_null(warning_of(KIND(EXCLUDE_PATH), PRIVATE "/shared"));
	assert_non_null(warning_of(KIND(EXCLUDE_WILDCARD), PRIVATE "/shared/*"));
	assert_int_equal(chmod(PRIVATE "/shared", 0777), 0);
	assert_null(warning_of(KIND(EXCLUDE_WILDCARD), PRIVATE "/safe/*"));
	assert_non_null(warning_of(KIND(EXCLUDE_WILDCARD), PRIVATE "/shared/*.x"));
	assert_non_null(warning_of(KIND(EXCLUDE_WILDCARD), PRIVATE "/shared/in/a?"));
	assert_non_null(warning_of(KIND(EXCLUDE_EXTENSION), "log"));
}

static void test_kind_names(void **state)
{
	struct rule r = {.kind = KIND(EXCLUDE_PROCESS)};

	(void)state;
	assert_string_equal(rule_kind_name(&r), "process");
	r.kind = KIND(BLOCKED);
	assert_string_equal(rule_kind_name(&r), "blocked");
	r.kind = KIND(NONE);
	assert_string_equal(rule_kind_name(&r), "unknown");
	r.kind = (Amp__PolicyEntry__Kind)1000;
	assert_string_equal(rule_kind_name(&r), "unknown");
	r.kind = (Amp__PolicyEntry__Kind)-1;
	assert_string_equal(rule_kind_name(&r), "unknown");
}

/* What was restored is allowed, whatever the lists say, until it is revoked. */
static void test_restored(void **state)
{
	struct rules *r = empty();
	struct restored *restored = restored_new();
	uint8_t one[AMP_SHA256_SIZE] = {1};
	struct rule *rule;

	(void)state;
	assert_non_null(restored);
	assert_int_equal(add_hash(r, KIND(BLOCKED), 1, "evil"), 0);
	assert_int_equal(rules_seal(r), 0);
	r->restored = restored;
	assert_int_equal(lookup(r, 1)->kind, KIND(BLOCKED));
	assert_int_equal(restored_add(restored, one), 0);
	assert_int_equal(restored_add(restored, one), 0);
	assert_int_equal(restored_count(restored), 1);
	rule = lookup(r, 1);
	assert_int_equal(rule->kind, KIND(ALLOWED));
	assert_true(rule_is_restored(r, rule));
	assert_null(lookup(r, 2));
	/* A list under way adds; only whole does it replace. */
	assert_int_equal(restored_begin(restored), 0);
	assert_true(restored_has(restored, one));
	restored_end(restored);
	assert_false(restored_has(restored, one));
	assert_int_equal(restored_add(restored, one), 0);
	assert_true(restored_remove(restored, one));
	assert_false(restored_remove(restored, one));
	assert_int_equal(lookup(r, 1)->kind, KIND(BLOCKED));
	rules_free(r);
	restored_free(restored);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_same_beginning),
		cmocka_unit_test(test_bad_entries),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_hash_entries_exclude_nothing),
		cmocka_unit_test(test_process_by_inode),
		cmocka_unit_test(test_process_of_user),
		cmocka_unit_test(test_process_others_can_change),
		cmocka_unit_test(test_process_below_sticky),
		cmocka_unit_test(test_process_is_looked_up_again),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_kind_names),
		cmocka_unit_test(test_restored),
	};

	return cmocka_run_group_tests_name("rules", tests, set_up, NULL);
}
