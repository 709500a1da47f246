/*
 * tests/unit/test_parse.c - fanotify events: as the kernel writes them, cut
 * anywhere, and with lengths that lie.
 */
#include "scantest.h"

static struct file_event parse(const uint8_t *raw, size_t n, size_t expect)
{
	struct file_event ev;

	assert_int_equal(fanotify_parse(raw, n, &ev), expect);
	return ev;
}

static void assert_id(const struct amp_fileid *id, uint64_t fsid, uint64_t n)
{
	struct amp_fileid want = st_id(fsid, n);

	assert_true(amp_fileid_equal(id, &want));
}

static void test_write(void **state)
{
	uint8_t raw[256];
	struct amp_fileid dir = st_id(0x1234567890abcdef, 11), file = st_id(0x1234567890abcdef, 22);
	struct st_event e = st_begin(raw, FAN_CLOSE_WRITE, 4711);
	struct file_event ev;

	(void)state;
	st_fid(&e, FAN_EVENT_INFO_TYPE_DFID_NAME, &dir, "a name");
	st_fid(&e, FAN_EVENT_INFO_TYPE_FID, &file, NULL);
	st_pidfd(&e, 17);
	ev = parse(raw, sizeof(raw), e.size);
	assert_int_equal(ev.bits, EVENT_WRITE);
	assert_int_equal(ev.pid, 4711);
	assert_int_equal(ev.pidfd, 17);
	assert_int_equal(ev.fd, -1);
	assert_id(&ev.directory, dir.fsid, 11);
	assert_id(&ev.file, dir.fsid, 22);
	assert_int_equal(ev.name_size, 6);
	assert_memory_equal(ev.name, "a name", 6);
}

static void test_bits(void **state)
{
	static const struct {
		uint64_t mask;
		unsigned bits;
	} rows[] = {
		{FAN_CLOSE_WRITE, EVENT_WRITE},
		{FAN_OPEN_EXEC, EVENT_EXEC},
		{FAN_CREATE, EVENT_CREATE},
		{FAN_RENAME, EVENT_RENAME},
		{FAN_RENAME | FAN_ONDIR, EVENT_RENAME | EVENT_DIRECTORY},
		{FAN_CREATE | FAN_CLOSE_WRITE | FAN_OPEN_EXEC, EVENT_CREATE | EVENT_WRITE | EVENT_EXEC},
		{FAN_Q_OVERFLOW, EVENT_OVERFLOW},
		{FAN_OPEN | FAN_ACCESS | FAN_MODIFY, 0},
		{UINT64_MAX,
		 EVENT_WRITE | EVENT_EXEC | EVENT_CREATE | EVENT_RENAME | EVENT_DIRECTORY | EVENT_OVERFLOW},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t raw[64];
		struct st_event e = st_begin(raw, rows[i].mask, 1);

		assert_int_equal(parse(raw, e.size, e.size).bits, rows[i].bits);
	}
}

static void test_rename_gives_the_new_name(void **state)
{
	struct amp_fileid from = st_id(1, 1), to = st_id(1, 2), file = st_id(1, 3);
	uint8_t raw[256];
	struct st_event e = st_begin(raw, FAN_RENAME, 1);
	struct file_event ev;

	(void)state;
	st_fid(&e, FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, &from, "old");
	st_fid(&e, FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, &to, "new name");
	st_fid(&e, FAN_EVENT_INFO_TYPE_FID, &file, NULL);
	ev = parse(raw, e.size, e.size);
	assert_id(&ev.directory, 1, 2);
	assert_id(&ev.file, 1, 3);
	assert_int_equal(ev.name_size, 8);
	assert_memory_equal(ev.name, "new name", 8);
}

static void test_unknown_process(void **state)
{
	static const int32_t gone[] = {FAN_NOPIDFD, FAN_EPIDFD, -100};
	uint8_t raw[128];

	(void)state;
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		struct st_event e = st_begin(raw, FAN_CLOSE_WRITE, gone[i]);
		struct file_event ev;

		st_pidfd(&e, gone[i]);
		ev = parse(raw, e.size, e.size);
		assert_int_equal(ev.pid, 0);
		assert_int_equal(ev.pidfd, -1);
	}
}

static void test_descriptor(void **state)
{
	uint8_t raw[64];
	struct st_event e = st_begin(raw, FAN_CLOSE_WRITE, 1);
	int32_t fd = 33;

	(void)state;
	memcpy(raw + offsetof(struct fanotify_event_metadata, fd), &fd, sizeof(fd));
	assert_int_equal(parse(raw, e.size, e.size).fd, 33);
	fd = -24; /* FAN_REPORT_FD_ERROR: -EMFILE */
	memcpy(raw + offsetof(struct fanotify_event_metadata, fd), &fd, sizeof(fd));
	assert_int_equal(parse(raw, e.size, e.size).fd, -1);
}

/* Whole or nothing: the event is on a page's end, so one byte too far faults. */
static void test_cut(void **state)
{
	uint8_t raw[256], *page;
	size_t size = st_write_event(raw, 5, "some name"), page_size = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *two = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(two, MAP_FAILED);
	assert_int_equal(mprotect(two + page_size, page_size, PROT_NONE), 0);
	for (size_t n = 0; n < size; n++) {
		page = two + page_size - n;
		memcpy(page, raw, n);
		parse(page, n, 0);
	}
	/* Its length cut as well: what is left of it, and no name or id by halves. */
	for (size_t n = sizeof(struct fanotify_event_metadata); n <= size; n++) {
		uint32_t len = (uint32_t)n;
		struct file_event ev;

		page = two + page_size - n;
		memcpy(page, raw, n);
		memcpy(page, &len, sizeof(len));
		ev = parse(page, n, n);
		assert_true(ev.file.handle.size == 0 || ev.file.handle.size == 8);
		assert_true(ev.name_size == 0 || ev.name_size == 9);
		assert_int_equal(ev.file.handle.size != 0, n == size);
	}
	munmap(two, 2 * page_size);
}

static void put32(uint8_t *at, uint32_t v)
{
	memcpy(at, &v, sizeof(v));
}

static void put16(uint8_t *at, uint16_t v)
{
	memcpy(at, &v, sizeof(v));
}

static void test_bad_metadata(void **state)
{
	uint8_t raw[256], bad[256];
	size_t size = st_write_event(raw, 5, "n");

	(void)state;
	memcpy(bad, raw, sizeof(bad));
	bad[offsetof(struct fanotify_event_metadata, vers)] = FANOTIFY_METADATA_VERSION + 1;
	parse(bad, size, 0);
	memcpy(bad, raw, sizeof(bad));
	put32(bad, (uint32_t)size + 1); /* longer than what was read */
	parse(bad, size, 0);
	put32(bad, 0); /* would never end */
	parse(bad, size, 0);
	put32(bad, sizeof(struct fanotify_event_metadata) - 1);
	parse(bad, size, 0);
	put32(bad, UINT32_MAX);
	parse(bad, size, 0);
	memcpy(bad, raw, sizeof(bad));
	put16(bad + offsetof(struct fanotify_event_metadata, metadata_len), 8);
	parse(bad, size, 0);
	put16(bad + offsetof(struct fanotify_event_metadata, metadata_len), UINT16_MAX);
	parse(bad, size, 0);
}

/* A longer metadata of a later kernel is skipped. */
static void test_longer_metadata(void **state)
{
	uint8_t raw[256] = {0}, longer[256] = {0};
	size_t size = st_write_event(raw, 5, "n"), head = sizeof(struct fanotify_event_metadata);

	(void)state;
	memcpy(longer, raw, head);
	memcpy(longer + head + 8, raw + head, size - head);
	put32(longer, (uint32_t)size + 8);
	put16(longer + offsetof(struct fanotify_event_metadata, metadata_len), (uint16_t)(head + 8));
	assert_id(&(struct amp_fileid[]){parse(longer, size + 8, size + 8).file}[0], 7, 5);
}

static void test_records_that_lie(void **state)
{
	static const uint16_t lengths[] = {0, 1, 3, 4, 5, 19, 20, 21, 35, 200, 65535};
	size_t head = sizeof(struct fanotify_event_metadata);
	uint8_t raw[256];

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t size = st_write_event(raw, 5, "n");
		struct file_event ev;

		put16(raw + head + offsetof(struct fanotify_event_info_header, len), lengths[i]);
		ev = parse(raw, size, size);
		assert_true(ev.name_size <= 255);
		assert_true(!ev.name || (ev.name >= (char *)raw && ev.name <= (char *)raw + size));
	}
}

static void test_handles_that_lie(void **state)
{
	static const uint32_t sizes[] = {
		9, 13, 100, AMP_FILE_HANDLE_MAX, AMP_FILE_HANDLE_MAX + 1, INT32_MAX, UINT32_MAX};
	struct amp_fileid file = st_id(1, 1);
	uint8_t raw[256];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct st_event e = st_begin(raw, FAN_CLOSE_WRITE, 1);

		st_fid(&e, FAN_EVENT_INFO_TYPE_FID, &file, NULL);
		put32(raw + sizeof(struct fanotify_event_metadata) + 12, sizes[i]);
		assert_int_equal(parse(raw, e.size, e.size).file.handle.size, 0);
	}
}

/* A record long enough for a handle that no file_handle may have. */
static void test_handle_too_long(void **state)
{
	struct {
		struct fanotify_event_metadata meta;
		struct fanotify_event_info_header h;
		uint64_t fsid;
		uint32_t handle_bytes;
		int32_t handle_type;
		uint8_t bytes[512];
	} __attribute__((packed))
	raw = {.meta = {.event_len = sizeof(raw),
			.vers = FANOTIFY_METADATA_VERSION,
			.metadata_len = sizeof(raw.meta),
			.mask = FAN_CLOSE_WRITE},
	       .h = {.info_type = FAN_EVENT_INFO_TYPE_FID, .len = sizeof(raw) - sizeof(raw.meta)}};

	(void)state;
	memset(raw.bytes, 0xcc, sizeof(raw.bytes));
	for (uint32_t n = AMP_FILE_HANDLE_MAX - 1; n <= sizeof(raw.bytes); n++) {
		struct file_event ev;

		raw.handle_bytes = n;
		ev = parse((const uint8_t *)&raw, sizeof(raw), sizeof(raw));
		assert_int_equal(ev.file.handle.size, n <= AMP_FILE_HANDLE_MAX ? n : 0);
		assert_int_equal(ev.directory.handle.size, 0);
		assert_null(ev.name);
	}
}

static void test_largest(void **state)
{
	struct amp_fileid dir = {.fsid = 1, .handle = {.type = 1, .size = AMP_FILE_HANDLE_MAX}};
	char name[257];
	uint8_t raw[1024];
	struct file_event ev;

	(void)state;
	memset(dir.handle.bytes, 0xee, sizeof(dir.handle.bytes));
	memset(name, 'x', sizeof(name));
	for (size_t n = 255; n <= 256; n++) { /* 256 is no name: it would not be one of Linux */
		struct st_event e = st_begin(raw, FAN_CREATE, 1);

		name[n] = '\0';
		st_fid(&e, FAN_EVENT_INFO_TYPE_DFID_NAME, &dir, name);
		ev = parse(raw, e.size, e.size);
		assert_true(amp_fileid_equal(&ev.directory, &dir));
		assert_int_equal(ev.name_size, n == 255 ? 255 : 0);
		name[n] = 'x';
	}
}

static void test_unknown_records(void **state)
{
	struct amp_fileid file = st_id(1, 1), other = st_id(9, 9);
	uint8_t raw[256];
	struct st_event e = st_begin(raw, FAN_CLOSE_WRITE, 1);

	(void)state;
	st_fid(&e, 99, &other, "unknown");
	st_fid(&e, 5, &other, NULL); /* an error record */
	st_fid(&e, FAN_EVENT_INFO_TYPE_FID, &file, NULL);
	assert_id(&(struct amp_fileid[]){parse(raw, e.size, e.size).file}[0], 1, 1);
}

static void test_several_in_a_row(void **state)
{
	uint8_t raw[1024];
	size_t size = 0, off = 0;
	struct file_event ev;

	(void)state;
	for (uint64_t i = 1; i <= 5; i++)
		size += st_write_event(raw + size, i, "f");
	for (uint64_t i = 1; i <= 5; i++) {
		size_t n = fanotify_parse(raw + off, size - off, &ev);

		assert_true(n > 0);
		assert_id(&ev.file, 7, i);
		off += n;
	}
	assert_int_equal(off, size);
	parse(raw + off, 0, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_bits),
		cmocka_unit_test(test_rename_gives_the_new_name),
		cmocka_unit_test(test_unknown_process),
		cmocka_unit_test(test_descriptor),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_bad_metadata),
		cmocka_unit_test(test_longer_metadata),
		cmocka_unit_test(test_records_that_lie),
		cmocka_unit_test(test_handles_that_lie),
		cmocka_unit_test(test_handle_too_long),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_unknown_records),
		cmocka_unit_test(test_several_in_a_row),
	};

	return cmocka_run_group_tests_name("parse", tests, NULL, NULL);
}
