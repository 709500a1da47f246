/*
 * tests/unit/test_arena.c - bounds of the allocator, a hostile message in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arena.h"

#include "proto/common.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *take(struct amp_arena *a, size_t n)
{
	return a->allocator.alloc(a->allocator.allocator_data, n);
}

static void test_bounds(void **state)
{
	struct amp_arena a;
	unsigned char *p, *q;

	(void)state;
	assert_int_equal(amp_arena_init(&a, 64), 0);
	p = take(&a, 1);
	q = take(&a, 17);
	assert_non_null(p);
	assert_ptr_equal(q, p + 16);
	assert_int_equal((uintptr_t)p % 16, 0);
	a.allocator.free(a.allocator.allocator_data, p);
	assert_null(take(&a, 17)); /* 16 are left */
	assert_true(a.exceeded);
	assert_non_null(take(&a, 16));
	assert_null(take(&a, 0));
	amp_arena_reset(&a);
	assert_false(a.exceeded);
	assert_ptr_equal(take(&a, 64), p);
	amp_arena_free(&a);
}

static void test_huge(void **state)
{
	struct amp_arena a;

	(void)state;
	assert_int_equal(amp_arena_init(&a, 4096), 0);
	assert_non_null(take(&a, 0));
	assert_null(take(&a, SIZE_MAX));
	assert_null(take(&a, SIZE_MAX - 15));
	assert_null(take(&a, SIZE_MAX - 4096));
	assert_true(a.exceeded);
	amp_arena_free(&a);
	assert_int_equal(amp_arena_init(&a, 0), -1);
	assert_int_equal(errno, EINVAL);
	amp_arena_free(&a);
}

static void test_unpack(void **state)
{
	struct amp_arena a;
	uint8_t packed[512], path[300];
	Amp__FileSystem fs = AMP__FILE_SYSTEM__INIT, *got;
	size_t n;

	(void)state;
	memset(path, '/', sizeof(path));
	fs.fsid = 7;
	fs.mount_point.data = path;
	fs.mount_point.len = sizeof(path);
	n = amp__file_system__pack(&fs, packed);
	assert_int_equal(amp_arena_init(&a, 1024), 0);
	got = amp__file_system__unpack(&a.allocator, n, packed);
	assert_non_null(got);
	assert_int_equal(got->fsid, 7);
	assert_int_equal(got->mount_point.len, sizeof(path));
	assert_true((unsigned char *)got >= a.base && (unsigned char *)got < a.base + a.size);
	assert_true(got->mount_point.data > a.base && got->mount_point.data < a.base + a.size);
	amp_arena_free(&a);

	/* The same in less room: refused, not overrun. */
	assert_int_equal(amp_arena_init(&a, sizeof(fs) + 64), 0);
	assert_null(amp__file_system__unpack(&a.allocator, n, packed));
	assert_true(a.exceeded);
	amp_arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_unpack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
