/* Tests of ampmon/mountinfo.c: the table of mounts, hostile ones too. */
#include "ampmon/mountinfo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void parse_n(struct mount_table *t, const char *text, size_t n)
{
	char *copy = malloc(n ? n : 1);

	memcpy(copy, text, n);
	assert_int_equal(mount_table_parse(t, copy, n), 0);
}

static void parse(struct mount_table *t, const char *text)
{
	parse_n(t, text, strlen(text));
}

static void fields(void **state)
{
	struct mount_table t;

	(void)state;
	parse(&t, "36 35 98:7 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n"
		  "37 36 0:45 / /a\\040b\\134\\011c rw - tmpfs  rw,size=1\n"
		  "38 36 0:46 / /last rw - tmpfs none rw");
	assert_int_equal(t.count, 3);
	assert_int_equal(t.bad, 0);
	assert_int_equal(t.entries[0].id, 36);
	assert_int_equal(t.entries[0].parent, 35);
	assert_true(t.entries[0].orphan);
	assert_int_equal(t.entries[0].major, 98);
	assert_int_equal(t.entries[0].minor, 7);
	assert_string_equal(t.entries[0].root, "/mnt1");
	assert_false(mount_whole(&t.entries[0]));
	assert_string_equal(t.entries[0].point, "/mnt2");
	assert_string_equal(t.entries[0].type, "ext3");
	assert_string_equal(t.entries[0].super, "rw,errors=continue");
	assert_string_equal(t.entries[1].point, "/a b\\\tc");
	assert_string_equal(t.entries[1].super, "rw,size=1");
	assert_false(t.entries[1].orphan);
	assert_true(mount_whole(&t.entries[1]));
	assert_string_equal(t.entries[2].point, "/last");
	mount_table_free(&t);
}

static void hostile_lines(void **state)
{
	static const char *const bad[] = {
		"",
		"36",
		"36 35 98:0 / /m rw",
		"36 35 98:0 / /m rw - ext4",
		"x 35 98:0 / /m rw - ext4 d rw",
		"36 -1 98:0 / /m rw - ext4 d rw",
		"36 35 98 / /m rw - ext4 d rw",
		"36 35 98:x / /m rw - ext4 d rw",
		"36 35 98:0:1 / /m rw - ext4 d rw",
		"99999999999999999999 35 98:0 / /m rw - ext4 d rw",
		"2147483648 35 98:0 / /m rw - ext4 d rw",
		"36 35 98:0 / relative rw - ext4 d rw",
		"36 35 98:0 / /nul\\000x rw - ext4 d rw",
		"36 35 98:0 / /m rw -  d rw",
		"36 35 98:0 / /m rw shared:1 ext4 d rw",
	};
	struct mount_table t;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[256];

		snprintf(text, sizeof(text), "%s\n5 1 1:2 / /good rw - ext4 d rw\n", bad[i]);
		parse(&t, text);
		assert_int_equal(t.count, 1);
		assert_int_equal(t.bad, 1);
		assert_string_equal(t.entries[0].point, "/good");
		mount_table_free(&t);
	}
	parse_n(&t, "5 1 1:2 / /a\0b rw - ext4 d rw\n", 31);
	assert_int_equal(t.count, 0);
	mount_table_free(&t);
	parse(&t, "");
	assert_int_equal(t.count, 0);
	assert_null(mount_table_resolve(&t, "/"));
	mount_table_free(&t);
}

static void escapes_that_are_none(void **state)
{
	struct mount_table t;

	(void)state;
	parse(&t, "5 1 1:2 / /a\\04 rw - ext4 d rw\n6 1 1:2 / /a\\ rw - ext4 d rw\n7 1 1:2 / /a\\777 rw - "
		  "ext4 d rw\n");
	assert_int_equal(t.count, 3);
	assert_string_equal(t.entries[0].point, "/a\\04");
	assert_string_equal(t.entries[1].point, "/a\\");
	assert_string_equal(t.entries[2].point, "/a\\777");
	mount_table_free(&t);
}

static void long_line(void **state)
{
	const size_t n = 200000;
	char *text = malloc(n + 128);
	struct mount_table t;
	int head;

	(void)state;
	head = sprintf(text, "5 1 1:2 / /");
	memset(text + head, 'x', n);
	strcpy(text + (size_t)head + n, " rw - ext4 d rw\n");
	parse(&t, text);
	assert_int_equal(t.count, 1);
	assert_int_equal(strlen(t.entries[0].point), n + 1);
	mount_table_free(&t);
	free(text);
}

static int resolved(const struct mount_table *t, const char *path)
{
	const struct mount_entry *e = mount_table_resolve(t, path);

	return e ? e->id : -1;
}

static void resolving(void **state)
{
	struct mount_table t;

	(void)state;
	parse(&t, "1 0 8:1 / / rw - ext4 d rw\n"
		  "2 1 8:2 / /a rw - ext4 d rw\n"
		  "3 2 8:3 / /a/b rw - ext4 d rw\n"
		  "4 1 8:4 / /over rw - ext4 d rw\n"
		  "5 4 8:5 / /over rw - ext4 d rw\n"
		  "6 1 8:6 / /h/in rw - ext4 d rw\n"
		  "7 1 8:7 / /h rw - ext4 d rw\n");
	assert_int_equal(resolved(&t, "/"), 1);
	assert_int_equal(resolved(&t, "/ab"), 1);
	assert_int_equal(resolved(&t, "/a"), 2);
	assert_int_equal(resolved(&t, "/a/bc"), 2);
	assert_int_equal(resolved(&t, "/a/b/c"), 3);
	assert_int_equal(resolved(&t, "/over/x"), 5);
	assert_int_equal(resolved(&t, "/h/in/x"), 7);
	assert_true(mount_visible(&t, &t.entries[4]));
	assert_false(mount_visible(&t, &t.entries[3]));
	assert_false(mount_visible(&t, &t.entries[5]));
	assert_ptr_equal(mount_table_by_id(&t, 6), &t.entries[5]);
	assert_null(mount_table_by_id(&t, 99));
	mount_table_free(&t);
}

static void circles_end(void **state)
{
	struct mount_table t;

	(void)state;
	parse(&t, "1 2 8:1 / / rw - ext4 d rw\n2 1 8:2 / / rw - ext4 d rw\n3 3 8:3 / / rw - ext4 d rw\n");
	mount_table_resolve(&t, "/x"); /* returns */
	mount_table_free(&t);
}

static void layers(void **state)
{
	struct mount_table t;
	bool upper;
	char **l;

	(void)state;
	parse(&t, "1 0 0:50 / /m rw - overlay overlay "
		  "rw,lowerdir=/l1:/with\\134:colon:/com\\054ma::/data,upperdir=/u p,workdir=/w\n");
	assert_int_equal(t.count, 1);
	mount_table_free(&t);
	parse(&t, "1 0 0:50 / /m rw - overlay overlay "
		  "rw,lowerdir=/l1:/with\\134:colon:/com\\054ma::/data,upperdir=/u\\040p,workdir=/w\n");
	l = mount_layers(&t.entries[0], &upper);
	assert_true(upper);
	assert_string_equal(l[0], "/l1");
	assert_string_equal(l[1], "/with:colon");
	assert_string_equal(l[2], "/com,ma");
	assert_string_equal(l[3], "/data");
	assert_string_equal(l[4], "/u p");
	assert_null(l[5]);
	mount_strings_free(l);
	mount_table_free(&t);
	parse(&t, "1 0 0:50 / /m rw - overlay overlay rw\n2 0 0:51 / /n rw - overlay o "
		  "rw,lowerdir+=/a,lowerdir+=/b\n");
	l = mount_layers(&t.entries[0], &upper);
	assert_false(upper);
	assert_null(l[0]);
	mount_strings_free(l);
	l = mount_layers(&t.entries[1], &upper);
	assert_false(upper);
	assert_string_equal(l[0], "/a");
	assert_string_equal(l[1], "/b");
	mount_strings_free(l);
	mount_table_free(&t);
}

/* As Linux 6.18 shows what was given one by one: only a list has escapes of its own. */
static void layers_given_one_by_one(void **state)
{
	struct mount_table t;
	bool upper;
	char **l;

	(void)state;
	parse(&t, "1 0 0:50 / /m rw - overlay o "
		  "rw,lowerdir+=/a:b,lowerdir+=/c\\134\\134d,datadir+=/e:f,upperdir=/u\\134:p\n");
	l = mount_layers(&t.entries[0], &upper);
	assert_true(upper);
	assert_string_equal(l[0], "/a:b");
	assert_string_equal(l[1], "/c\\\\d");
	assert_string_equal(l[2], "/e:f");
	assert_string_equal(l[3], "/u:p");
	assert_null(l[4]);
	mount_strings_free(l);
	mount_table_free(&t);
}

#define TABLE                                                                                                \
	"1 0 8:1 / / rw - ext4 d rw\n"                                                                       \
	"2 1 8:2 / /data rw - ext4 d rw\n"                                                                   \
	"3 1 8:2 /sub /bind rw - ext4 d rw\n"                                                                \
	"4 1 8:3 / /srv/x rw - ext4 d rw\n"                                                                  \
	"5 1 8:4 /part /only rw - ext4 d rw\n"

static void expect_scope(const struct mount_entry *home, const struct mount_table *t, const char *dir,
			 const char *expected)
{
	char *dirs[] = {(char *)(uintptr_t)dir, NULL};
	char **scope = mount_scope(t, home, dirs);

	assert_non_null(scope);
	if (!expected) {
		assert_null(scope[0]);
	} else {
		assert_non_null(scope[0]);
		assert_string_equal(scope[0], expected);
		assert_null(scope[1]);
	}
	mount_strings_free(scope);
}

static void scopes(void **state)
{
	struct mount_table t;

	(void)state;
	parse(&t, TABLE);
	expect_scope(&t.entries[0], &t, "/home", "/home");
	expect_scope(&t.entries[1], &t, "/home", NULL);
	expect_scope(&t.entries[1], &t, "/data/in", "/data/in");
	expect_scope(&t.entries[0], &t, "/data/in", NULL);
	/* a bind mount's directory is named where the whole file system is */
	expect_scope(&t.entries[1], &t, "/bind/in", "/data/sub/in");
	expect_scope(&t.entries[1], &t, "/bind", "/data/sub");
	/* a mount below the directory */
	expect_scope(&t.entries[3], &t, "/srv", "/srv");
	expect_scope(&t.entries[0], &t, "/srv", "/srv");
	expect_scope(&t.entries[3], &t, "/srv/x/deep", "/srv/x/deep");
	/* all there is */
	expect_scope(&t.entries[1], &t, "/", "/");
	expect_scope(&t.entries[4], &t, "/only/x", "/only/x");
	mount_table_free(&t);
}

static void prefixes(void **state)
{
	(void)state;
	assert_true(mount_path_below("/a", "/a"));
	assert_true(mount_path_below("/a/b", "/a"));
	assert_true(mount_path_below("/a/b", "/a/"));
	assert_true(mount_path_below("/a", "/"));
	assert_false(mount_path_below("/ab", "/a"));
	assert_false(mount_path_below("/", "/a"));
}

static void reads_the_kernels(void **state)
{
	struct mount_table t;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	(void)state;
	assert_non_null(f);
	for (int i = 0; i < 2; i++) { /* from its beginning each time */
		assert_int_equal(mount_table_read(&t, fileno(f)), 0);
		assert_int_equal(t.bad, 0);
		assert_non_null(mount_table_resolve(&t, "/"));
		mount_table_free(&t);
	}
	fclose(f);
	assert_int_equal(mount_table_read(&t, -1), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields),
		cmocka_unit_test(hostile_lines),
		cmocka_unit_test(escapes_that_are_none),
		cmocka_unit_test(long_line),
		cmocka_unit_test(resolving),
		cmocka_unit_test(circles_end),
		cmocka_unit_test(layers),
		cmocka_unit_test(layers_given_one_by_one),
		cmocka_unit_test(scopes),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(reads_the_kernels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
