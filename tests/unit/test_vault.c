/*
 * tests/unit/test_vault.c - what is put into the vault comes out whole or not
 * at all: sizes, holes, every changed byte, records moved about, keys, a second
 * keeper, a full disk.
 */
#include "cloudtest.h"

#include "ampquard/vaultformat.h"
#include "tests/unit/skip.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#define ID_A "11111111-2222-3333-4444-555555555555"
#define ID_B "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
#define GIB  (UINT64_C(1) << 30)

/* A stretch of content: data, or a hole. n 0 ends a list. */
struct piece {
	char kind; /* 'd', 'h' */
	uint64_t n;
};

struct fixture {
	struct test_dir dir;
	struct vault *vault;
};

static const uint8_t sha[AMP_SHA256_SIZE] = {1, 2, 3, 31};

static uint8_t content(uint64_t at)
{
	return (uint8_t)(at * 131 + (at >> 8) + 7);
}

static void meta_of(Amp__VaultMeta *m, const char *id)
{
	amp__vault_meta__init(m);
	m->entry_id = (char *)(uintptr_t)id;
	m->name.data = (uint8_t *)(uintptr_t) "bad name";
	m->name.len = 8;
	m->mode = S_IFREG | 0755;
}

static struct vault *reopen(const struct test_dir *d)
{
	char err[512] = "";
	struct vault *v = vault_open(d->path, err, sizeof(err));

	if (!v)
		print_message("%s\n", err);
	assert_non_null(v);
	return v;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(vault_setup(), 0);
	dir_make(&f->dir);
	f->vault = reopen(&f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vault_close(f->vault);
	dir_remove(&f->dir);
	free(f);
	return 0;
}

static int write_data(struct vault_writer *w, uint64_t *at, uint64_t n)
{
	static uint8_t buf[VAULT_CHUNK];
	size_t part;

	for (; n > 0; n -= part) {
		part = n < sizeof(buf) ? (size_t)n : sizeof(buf);
		for (size_t i = 0; i < part; i++)
			buf[i] = content((*at)++);
		if (vault_write(w, buf, part) < 0)
			return -1;
	}
	return 0;
}

/* 0, or -1 and errno with the writer gone. */
static int put(struct vault *v, const char *id, const struct piece *p, uint64_t *stored)
{
	Amp__VaultMeta m;
	struct vault_writer *w;
	uint64_t at = 0;

	meta_of(&m, id);
	w = vault_create(v, &m);
	if (!w)
		return -1;
	for (; p->n > 0; p++) {
		int rc = p->kind == 'd' ? write_data(w, &at, p->n) : vault_hole(w, p->n);

		if (rc < 0) {
			rc = errno;
			vault_abort(w);
			errno = rc;
			return -1;
		}
		at += p->kind == 'h' ? p->n : 0;
	}
	return vault_finish(w, sha, stored);
}

/* Reads to the end, whatever it is; each byte must be where it belongs. */
static enum vault_answer drain(struct vault_reader *r, uint64_t *size, uint64_t *data, unsigned *holes)
{
	static uint8_t buf[VAULT_CHUNK];
	uint8_t end[AMP_SHA256_SIZE];
	enum vault_answer a;
	uint64_t n;

	*size = *data = *holes = 0;
	while ((a = vault_next(r, buf, &n, end)) == VAULT_DATA || a == VAULT_HOLE) {
		assert_true(n > 0);
		*holes += a == VAULT_HOLE;
		*data += a == VAULT_DATA ? n : 0;
		for (uint64_t i = 0; a == VAULT_DATA && i < n; i++)
			assert_int_equal(buf[i], content(*size + i));
		*size += n;
	}
	if (a == VAULT_END)
		assert_memory_equal(end, sha, sizeof(sha));
	assert_int_equal(vault_next(r, buf, &n, end), a); /* it stays what it is */
	return a;
}

static enum vault_answer complete_read(struct vault *v, const char *id)
{
	enum vault_answer a = VAULT_DATA;
	struct vault_reader *r = vault_read(v, id, &a);
	uint64_t size, data;
	unsigned holes;

	if (!r)
		return a;
	a = drain(r, &size, &data, &holes);
	vault_reader_free(r);
	return a;
}

static void round_trip(struct vault *v, const struct piece *p, unsigned want_holes)
{
	uint64_t stored = 0, size, data, want_size = 0, want_data = 0;
	enum vault_answer why;
	struct vault_reader *r;
	unsigned holes;

	for (const struct piece *q = p; q->n > 0; q++) {
		want_size += q->n;
		want_data += q->kind == 'd' ? q->n : 0;
	}
	assert_int_equal(put(v, ID_A, p, &stored), 0);
	assert_true(stored > want_data && stored < want_data + want_data / 8 + 4096);
	r = vault_read(v, ID_A, &why);
	assert_non_null(r);
	assert_string_equal(vault_reader_meta(r)->entry_id, ID_A);
	assert_int_equal(vault_reader_meta(r)->mode, S_IFREG | 0755);
	for (int pass = 0; pass < 2; pass++) {
		assert_int_equal(drain(r, &size, &data, &holes), VAULT_END);
		assert_int_equal(size, want_size);
		assert_int_equal(data, want_data);
		assert_int_equal(holes, want_holes);
		assert_int_equal(vault_rewind(r), 0);
	}
	vault_reader_free(r);
}

static void test_round_trip(void **state)
{
	static const struct {
		struct piece p[6];
		unsigned holes;
	} rows[] = {
		{{{0, 0}}, 0},
		{{{'d', 1}}, 0},
		{{{'d', VAULT_CHUNK - 1}}, 0},
		{{{'d', VAULT_CHUNK}}, 0},
		{{{'d', VAULT_CHUNK + 1}}, 0},
		{{{'d', 9 * VAULT_CHUNK + 17}}, 0},
		{{{'h', 1}}, 1},
		{{{'h', 4096}, {'d', 4096}}, 1},
		{{{'d', 4096}, {'h', 4096}, {'d', 70000}}, 1},
		{{{'d', 5}, {'h', 4096}}, 1},
		{{{'h', 4096}, {'h', 4096}, {'d', 3}, {'h', 1}, {'h', 2}}, 2},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		round_trip(f->vault, rows[i].p, rows[i].holes);
}

static void test_large_hole(void **state)
{
	static const struct piece p[] = {{'d', 10}, {'h', 5 * GIB}, {'d', 10}, {'h', 5 * GIB}, {0, 0}};
	struct fixture *f = *state;
	struct timespec a, b;

	/* Its own time: what others had of the processors is not what it did. */
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	round_trip(f->vault, p, 2);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	assert_true(b.tv_sec - a.tv_sec < 5);
}

static void test_bounds_of_content(void **state)
{
	static uint8_t buf[VAULT_CHUNK + 1];
	struct fixture *f = *state;
	struct vault_writer *w;
	Amp__VaultMeta m;
	uint64_t stored;

	meta_of(&m, ID_A);
	w = vault_create(f->vault, &m);
	assert_non_null(w);
	assert_int_equal(vault_write(w, buf, 0), -1);
	assert_int_equal(vault_write(w, buf, sizeof(buf)), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(vault_hole(w, INT64_MAX), 0);
	assert_int_equal(vault_hole(w, 1), -1);
	assert_int_equal(errno, EFBIG);
	assert_int_equal(vault_write(w, buf, 1), -1);
	assert_int_equal(errno, EFBIG);
	assert_int_equal(vault_finish(w, sha, &stored), 0);
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_END);
}

/* Once its end is sealed nothing more goes in. */
static void test_sealed(void **state)
{
	struct fixture *f = *state;
	static const uint8_t byte;
	struct vault_writer *w;
	Amp__VaultMeta m;
	uint64_t stored;

	meta_of(&m, ID_A);
	w = vault_create(f->vault, &m);
	assert_non_null(w);
	assert_int_equal(vault_hole(w, 5), 0);
	assert_int_equal(vault_seal(w, sha), 0);
	assert_int_equal(vault_seal(w, sha), 0);
	assert_false(vault_exists(f->vault, ID_A)); /* it is not synced yet */
	assert_int_equal(vault_write(w, &byte, 1), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(vault_hole(w, 1), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(vault_finish(w, sha, &stored), 0);
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_END);
}

static void test_ids(void **state)
{
	static const char *const bad[] = {
		"",
		"11111111-2222-3333-4444-55555555555",
		"11111111-2222-3333-4444-5555555555555",
		"11111111-2222-3333-4444-55555555555g",
		"11111111-2222-3333-4444-55555555555A",
		"11111111x2222-3333-4444-555555555555",
		"../../../../../../../../../etc/passwd",
		"11111111-2222-3333-4444-5555555555/5",
		"111111111222223333344444555555555555",
	};
	struct fixture *f = *state;
	enum vault_answer why;
	Amp__VaultMeta m;

	assert_true(vf_id_valid(ID_A));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(vf_id_valid(bad[i]));
		meta_of(&m, bad[i]);
		assert_null(vault_create(f->vault, &m));
		assert_int_equal(errno, EINVAL);
		assert_null(vault_read(f->vault, bad[i], &why));
		assert_int_equal(why, VAULT_FAILED);
		assert_int_equal(vault_remove(f->vault, bad[i]), -1);
		assert_false(vault_exists(f->vault, bad[i]));
	}
}

/* ---- changed files ---- */

struct bytes {
	uint8_t *p;
	size_t n;
};

static struct bytes load(const struct test_dir *d, const char *name)
{
	struct bytes b = {.p = malloc(1 << 20)};
	int fd = open(dir_file(d, name), O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, b.p, 1 << 20);

	assert_true(fd >= 0 && n > 0);
	close(fd);
	b.n = (size_t)n;
	return b;
}

static void store(const struct test_dir *d, const char *name, const void *p, size_t n)
{
	int fd = open(dir_file(d, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), n);
	close(fd);
}

/* meta, data 100, hole, data 50, data 50, end */
static const struct piece small[] = {{'d', 100}, {'h', 8192}, {'d', 50}, {0, 0}};

static void test_every_byte(void **state)
{
	struct fixture *f = *state;
	struct bytes b;
	uint64_t stored;

	assert_int_equal(put(f->vault, ID_A, small, &stored), 0);
	b = load(&f->dir, ID_A ".q");
	assert_int_equal(b.n, stored);
	for (size_t i = 0; i < b.n; i++) {
		static const uint8_t flips[] = {0x01, 0x10, 0x80, 0xff};

		for (size_t k = 0; k < sizeof(flips); k++) {
			b.p[i] ^= flips[k];
			store(&f->dir, ID_A ".q", b.p, b.n);
			assert_int_equal(complete_read(f->vault, ID_A), VAULT_TAMPERED);
			b.p[i] ^= flips[k];
		}
	}
	store(&f->dir, ID_A ".q", b.p, b.n);
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_END);
	free(b.p);
}

static void test_cut_and_longer(void **state)
{
	struct fixture *f = *state;
	struct bytes b;
	uint64_t stored;

	assert_int_equal(put(f->vault, ID_A, small, &stored), 0);
	b = load(&f->dir, ID_A ".q");
	for (size_t n = 0; n < b.n; n++) {
		store(&f->dir, ID_A ".q", b.p, n);
		assert_int_equal(complete_read(f->vault, ID_A), VAULT_TAMPERED);
	}
	b.p[b.n] = 0;
	store(&f->dir, ID_A ".q", b.p, b.n + 1);
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_TAMPERED);
	free(b.p);
}

#define RECORDS 8
struct cut {
	struct bytes record[RECORDS]; /* into the file's bytes; [0] is the header */
	size_t count;
};

/* The file in its records, by the lengths in their heads. */
static struct cut cut_up(struct bytes b)
{
	struct cut c = {.record[0] = {b.p, VF_HEADER_SIZE}, .count = 1};

	for (size_t at = VF_HEADER_SIZE; at < b.n;) {
		uint8_t *p = b.p + at;
		size_t n = VF_AROUND + ((size_t)p[4] | (size_t)p[5] << 8 | (size_t)p[6] << 16);

		assert_true(c.count < RECORDS && n <= b.n - at);
		c.record[c.count++] = (struct bytes){p, n};
		at += n;
	}
	return c;
}

static enum vault_answer read_sequence(struct fixture *f, const struct bytes *list, size_t count)
{
	static uint8_t buf[1 << 20];
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		memcpy(buf + n, list[i].p, list[i].n);
		n += list[i].n;
	}
	store(&f->dir, ID_A ".q", buf, n);
	return complete_read(f->vault, ID_A);
}

static struct cut two_alike(struct fixture *f, const char *id)
{
	static const struct piece p[] = {{'d', 30}, {'h', 4096}, {'d', 30}, {0, 0}};
	char name[64];
	uint64_t stored;

	assert_int_equal(put(f->vault, id, p, &stored), 0);
	snprintf(name, sizeof(name), "%s.q", id);
	return cut_up(load(&f->dir, name));
}

static void test_records_moved(void **state)
{
	struct fixture *f = *state;
	struct cut c = two_alike(f, ID_A);
	struct bytes list[RECORDS + 1];

	assert_int_equal(c.count, 6); /* header, meta, data, hole, data, end */
	for (size_t i = 0; i < c.count; i++) {
		/* without it */
		memcpy(list, c.record, i * sizeof(*list));
		memcpy(list + i, c.record + i + 1, (c.count - i - 1) * sizeof(*list));
		assert_int_equal(read_sequence(f, list, c.count - 1), VAULT_TAMPERED);
		/* twice */
		memcpy(list, c.record, (i + 1) * sizeof(*list));
		memcpy(list + i + 1, c.record + i, (c.count - i) * sizeof(*list));
		assert_int_equal(read_sequence(f, list, c.count + 1), VAULT_TAMPERED);
		/* with another in its place */
		for (size_t k = i + 1; k < c.count; k++) {
			memcpy(list, c.record, sizeof(c.record));
			list[i] = c.record[k];
			list[k] = c.record[i];
			assert_int_equal(read_sequence(f, list, c.count), VAULT_TAMPERED);
		}
	}
	assert_int_equal(read_sequence(f, c.record, c.count), VAULT_END);
	free(c.record[0].p);
}

static void test_records_of_others(void **state)
{
	struct fixture *f = *state;
	struct cut b = two_alike(f, ID_B), older = two_alike(f, ID_A), a = two_alike(f, ID_A);
	struct bytes list[RECORDS];

	for (size_t i = 0; i < a.count; i++) {
		memcpy(list, a.record, sizeof(a.record));
		list[i] = b.record[i];
		assert_int_equal(read_sequence(f, list, a.count), VAULT_TAMPERED);
		list[i] = older.record[i]; /* the same content of the same entry, sealed before */
		assert_int_equal(read_sequence(f, list, a.count), VAULT_TAMPERED);
	}
	/* a whole file of another entry under this name */
	assert_int_equal(read_sequence(f, b.record, b.count), VAULT_TAMPERED);
	assert_int_equal(complete_read(f->vault, ID_B), VAULT_END);
	free(a.record[0].p);
	free(b.record[0].p);
	free(older.record[0].p);
}

static void test_other_vault(void **state)
{
	struct fixture *f = *state;
	struct test_dir other;
	struct vault *v;
	struct bytes b;
	uint64_t stored;

	assert_int_equal(put(f->vault, ID_A, small, &stored), 0);
	b = load(&f->dir, ID_A ".q");
	dir_make(&other);
	v = reopen(&other);
	store(&other, ID_A ".q", b.p, b.n);
	assert_int_equal(complete_read(v, ID_A), VAULT_TAMPERED);
	vault_close(v);
	dir_remove(&other);
	free(b.p);
}

/* Only a regular file of ours, of mode 0600, is one of the vault. */
static void test_not_our_file(void **state)
{
	struct fixture *f = *state;
	const char *path = dir_file(&f->dir, ID_A ".q"), *beside = dir_file(&f->dir, "beside");
	enum vault_answer why;
	uint64_t stored;

	assert_null(vault_read(f->vault, ID_A, &why));
	assert_int_equal(why, VAULT_FAILED);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(put(f->vault, ID_A, small, &stored), 0);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_TAMPERED);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_END);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 65534, (gid_t)-1), 0);
		assert_int_equal(complete_read(f->vault, ID_A), VAULT_TAMPERED);
		assert_int_equal(chown(path, 0, (gid_t)-1), 0);
	}
	assert_int_equal(rename(path, beside), 0);
	assert_int_equal(symlink(beside, path), 0);
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_TAMPERED);
	assert_false(vault_exists(f->vault, ID_A));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_TAMPERED);
	assert_int_equal(unlink(path), 0);
}

/* ---- metadata ---- */

static void test_meta_bounds(void **state)
{
	static uint8_t value[65537];
	Amp__VaultXattr x = AMP__VAULT_XATTR__INIT, *many[70];
	struct fixture *f = *state;
	Amp__VaultMeta m;

	meta_of(&m, ID_A);
	for (size_t i = 0; i < 70; i++)
		many[i] = &x;
	x.name = m.name;
	x.value = (ProtobufCBinaryData){sizeof(value), value};
	m.xattrs = many;
	m.n_xattrs = 1;
	assert_null(vault_create(f->vault, &m));
	assert_int_equal(errno, EINVAL);
	x.value.len = 65536;
	m.n_xattrs = 70;
	assert_null(vault_create(f->vault, &m));
	assert_int_equal(errno, EMSGSIZE);
	m.n_xattrs = 1;
	m.name.len = 0;
	m.path.data = value; /* zeroes: no path has them */
	m.path.len = 5;
	assert_null(vault_create(f->vault, &m));
	m.path.len = 0;
	m.atime_ns = 1000000000;
	assert_null(vault_create(f->vault, &m));
	m.atime_ns = 0;
	vault_abort(vault_create(f->vault, &m));
	assert_int_equal(access(dir_file(&f->dir, ID_A ".part"), F_OK), -1);
}

static void test_large_meta(void **state)
{
	static uint8_t value[65536];
	Amp__VaultXattr x[60], *list[60];
	struct fixture *f = *state;
	struct vault_writer *w;
	struct vault_reader *r;
	enum vault_answer why;
	Amp__VaultMeta m;
	uint64_t stored;

	meta_of(&m, ID_A);
	for (size_t i = 0; i < 60; i++) {
		amp__vault_xattr__init(&x[i]);
		x[i].name = m.name;
		x[i].value = (ProtobufCBinaryData){sizeof(value), value};
		list[i] = &x[i];
	}
	m.xattrs = list;
	m.n_xattrs = 60;
	w = vault_create(f->vault, &m);
	assert_non_null(w);
	assert_int_equal(vault_finish(w, sha, &stored), 0);
	assert_true(stored > 60 * sizeof(value));
	r = vault_read(f->vault, ID_A, &why);
	assert_non_null(r);
	assert_int_equal(vault_reader_meta(r)->n_xattrs, 60);
	vault_reader_free(r);
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_END);
}

/* As many small attributes as a kernel can list. */
static void test_many_attributes(void **state)
{
	enum { MANY = 9362 };
	static Amp__VaultXattr x[MANY], *list[MANY];
	struct fixture *f = *state;
	struct vault_writer *w;
	Amp__VaultMeta m;
	uint64_t stored;

	meta_of(&m, ID_A);
	for (size_t i = 0; i < MANY; i++) {
		amp__vault_xattr__init(&x[i]);
		x[i].name = (ProtobufCBinaryData){6, (uint8_t *)(uintptr_t) "user.a"};
		x[i].value = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "x"};
		list[i] = &x[i];
	}
	m.xattrs = list;
	m.n_xattrs = MANY;
	w = vault_create(f->vault, &m);
	assert_non_null(w);
	assert_int_equal(vault_finish(w, sha, &stored), 0);
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_END);
}

/* Legal in every field and small in the file, but huge once unpacked: the memory for it is bounded. */
static void test_meta_bomb(void **state)
{
	static const uint8_t xattr[] = {0xa2, 0x01, 0x03, 0x0a, 0x01, 'a'}; /* field 20, its name "a" */
	uint8_t *packed = malloc(VAULT_META_MAX);
	struct vf_meta *meta;
	Amp__VaultMeta m;
	size_t n;

	(void)state;
	assert_non_null(packed);
	meta_of(&m, ID_A);
	n = amp__vault_meta__pack(&m, packed);
	for (int i = 0; i < 10; i++, n += sizeof(xattr))
		memcpy(packed + n, xattr, sizeof(xattr));
	meta = vf_meta_open(packed, n, ID_A);
	assert_non_null(meta);
	assert_int_equal(vf_meta_get(meta)->n_xattrs, 10);
	vf_meta_free(meta);
	for (; n + sizeof(xattr) <= VAULT_META_MAX; n += sizeof(xattr))
		memcpy(packed + n, xattr, sizeof(xattr));
	assert_null(vf_meta_open(packed, n, ID_A));
	assert_int_equal(errno, EBADMSG);
	free(packed);
}

/* No two records share a nonce, nor two files a key: the same content never looks the same. */
static void test_nonces(void **state)
{
	static const uint8_t key[VF_KEY_SIZE], zero[16];
	uint8_t header[VF_HEADER_SIZE], out[6][VF_AROUND + sizeof(zero)];
	struct vf_file *f = NULL;

	(void)state;
	for (int i = 0; i < 6; i++) {
		if (i % 3 == 0) {
			vf_free(f);
			f = vf_new(key, ID_A, header);
			assert_non_null(f);
			assert_int_equal(vf_seal_meta(f, zero, sizeof(zero), out[i]), 0);
		} else {
			assert_int_equal(vf_seal_data(f, zero, sizeof(zero), out[i]), 0);
		}
		for (int k = 0; k < i; k++)
			assert_memory_not_equal(out[k] + VF_HEAD_SIZE, out[i] + VF_HEAD_SIZE, sizeof(zero));
	}
	vf_free(f);
}

/* What a head says is proven by its own record, not only by END. */
static void test_head_is_sealed(void **state)
{
	static const uint8_t key[VF_KEY_SIZE];
	uint8_t header[VF_HEADER_SIZE], meta[VF_AROUND + 1], hole[VF_AROUND], plain[1] = {0};
	struct vf_file *f = vf_new(key, ID_A, header);
	struct vf_record r;

	(void)state;
	assert_non_null(f);
	assert_int_equal(vf_seal_meta(f, "m", 1, meta), 0);
	assert_int_equal(vf_seal_hole(f, 4096, hole), 0);
	hole[16] ^= 1;
	assert_int_equal(vf_rewind(f), 0);
	assert_int_equal(vf_head(f, hole, &r), 0);
	assert_int_equal(r.length, 4097);
	assert_int_equal(vf_open(f, hole + VF_HEAD_SIZE, plain), -1);
	assert_int_equal(errno, EBADMSG);
	hole[16] ^= 1;
	assert_int_equal(vf_head(f, hole, &r), -1); /* nothing after that */
	assert_int_equal(vf_rewind(f), 0);
	assert_int_equal(vf_head(f, hole, &r), 0);
	assert_int_equal(vf_open(f, hole + VF_HEAD_SIZE, plain), 0);
	vf_free(f);
}

static void test_format_order(void **state)
{
	static const uint8_t key[VF_KEY_SIZE];
	uint8_t header[VF_HEADER_SIZE], out[VF_AROUND + VF_END_SIZE];
	struct vf_file *f = vf_new(key, ID_A, header);
	struct vf_record r;

	(void)state;
	assert_non_null(f);
	assert_int_equal(vf_seal_data(f, "x", 1, out), -1); /* META is first */
	assert_int_equal(vf_rewind(f), -1);
	assert_int_equal(vf_seal_meta(f, "x", 0, out), -1);
	assert_int_equal(vf_seal_meta(f, "x", 1, out), 0);
	assert_int_equal(vf_seal_meta(f, "x", 1, out), -1);
	assert_int_equal(vf_seal_hole(f, 0, out), -1);
	assert_int_equal(vf_seal_end(f, sha, out), 0);
	assert_int_equal(vf_seal_data(f, "x", 1, out), -1);
	vf_free(f);
	f = vf_of_header(key, ID_A, header);
	assert_non_null(f);
	assert_int_equal(vf_open(f, out, out), -1); /* no head was seen */
	assert_int_equal(errno, EBADMSG);
	assert_int_equal(vf_head(f, out, &r), -1);
	vf_free(f);
	assert_null(vf_of_header(key, ID_B, header));
}

/* ---- the directory ---- */

static void refused(const char *path, const char *says)
{
	char err[512] = "";

	assert_null(vault_open(path, err, sizeof(err)));
	if (!strstr(err, says))
		print_message("%s\n", err);
	assert_non_null(strstr(err, says));
}

static void test_directory(void **state)
{
	struct fixture *f = *state;
	char link[80];

	vault_close(f->vault);
	f->vault = NULL;
	snprintf(link, sizeof(link), "%s-link", f->dir.path);
	assert_int_equal(symlink(f->dir.path, link), 0);
	refused(link, "link");
	assert_int_equal(unlink(link), 0);
	refused(link, "cannot be opened");
	assert_int_equal(chmod(f->dir.path, 0750), 0);
	refused(f->dir.path, "0750");
	assert_int_equal(chmod(f->dir.path, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(f->dir.path, 65534, (gid_t)-1), 0);
		refused(f->dir.path, "65534");
		assert_int_equal(chown(f->dir.path, 0, (gid_t)-1), 0);
	}
	f->vault = reopen(&f->dir);
}

static void test_second_keeper(void **state)
{
	struct fixture *f = *state;
	char err[512];

	errno = 0;
	assert_null(vault_open(f->dir.path, err, sizeof(err)));
	assert_int_equal(errno, EWOULDBLOCK);
	assert_non_null(strstr(err, "another keeper"));
	vault_close(f->vault);
	f->vault = reopen(&f->dir);
}

static void test_parts_removed(void **state)
{
	struct fixture *f = *state;
	const char *part = dir_file(&f->dir, ID_B ".part"), *other = dir_file(&f->dir, "other.part");
	uint64_t stored;

	assert_int_equal(put(f->vault, ID_A, small, &stored), 0);
	vault_close(f->vault);
	store(&f->dir, ID_B ".part", "x", 1);
	store(&f->dir, "vault.key.part", "x", 1);
	store(&f->dir, "other.part", "x", 1);
	f->vault = reopen(&f->dir);
	assert_int_equal(access(part, F_OK), -1);
	assert_int_equal(access(dir_file(&f->dir, "vault.key.part"), F_OK), -1);
	assert_int_equal(access(other, F_OK), 0); /* not ours to judge */
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_END);
}

static void test_key(void **state)
{
	struct fixture *f = *state;
	const char *key = dir_file(&f->dir, "vault.key"), *aside = dir_file(&f->dir, "aside");
	struct stat st;
	uint64_t stored;

	assert_int_equal(stat(key, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(put(f->vault, ID_A, small, &stored), 0);
	vault_close(f->vault);
	f->vault = NULL;
	assert_int_equal(chmod(key, 0644), 0);
	refused(f->dir.path, "0600");
	assert_int_equal(chmod(key, 0600), 0);
	assert_int_equal(rename(key, aside), 0);
	refused(f->dir.path, "no vault.key");
	assert_int_equal(access(key, F_OK), -1); /* none was made */
	assert_int_equal(symlink(aside, key), 0);
	refused(f->dir.path, "cannot be opened");
	assert_int_equal(unlink(key), 0);
	store(&f->dir, "vault.key", sha, 31);
	refused(f->dir.path, "31 bytes");
	assert_int_equal(rename(aside, key), 0);
	f->vault = reopen(&f->dir);
	assert_int_equal(complete_read(f->vault, ID_A), VAULT_END);
}

static void count_entry(const char *id, uint64_t bytes, void *arg)
{
	uint64_t *sum = arg;

	assert_true(strcmp(id, ID_A) == 0 || strcmp(id, ID_B) == 0);
	sum[0]++;
	sum[1] += bytes;
}

static void test_names(void **state)
{
	static const struct piece other[] = {{'d', 7}, {0, 0}};
	struct fixture *f = *state;
	uint64_t a, b, sum[2] = {0};

	assert_false(vault_exists(f->vault, ID_A));
	assert_int_equal(vault_remove(f->vault, ID_A), 0);
	assert_int_equal(put(f->vault, ID_A, small, &a), 0);
	assert_int_equal(put(f->vault, ID_A, other, &a), 0); /* replaces the older */
	assert_int_equal(put(f->vault, ID_B, small, &b), 0);
	store(&f->dir, "notes.q", "x", 1);
	assert_int_equal(vault_sync(f->vault), 0);
	assert_int_equal(vault_each(f->vault, count_entry, sum), 0);
	assert_int_equal(sum[0], 2);
	assert_int_equal(sum[1], a + b);
	assert_true(vault_exists(f->vault, ID_A));
	assert_int_equal(vault_remove(f->vault, ID_A), 0);
	assert_false(vault_exists(f->vault, ID_A));
	assert_true(vault_exists(f->vault, ID_B));
}

static void test_abort(void **state)
{
	struct fixture *f = *state;
	struct vault_writer *w;
	Amp__VaultMeta m;
	uint64_t sum[2] = {0};

	meta_of(&m, ID_A);
	w = vault_create(f->vault, &m);
	assert_non_null(w);
	assert_int_equal(access(dir_file(&f->dir, ID_A ".part"), F_OK), 0);
	assert_int_equal(vault_each(f->vault, count_entry, sum), 0);
	assert_int_equal(sum[0], 0);
	vault_abort(w);
	assert_int_equal(access(dir_file(&f->dir, ID_A ".part"), F_OK), -1);
}

/* ---- no room ---- */

static void nothing_left(const struct test_dir *d)
{
	assert_int_equal(access(dir_file(d, ID_A ".part"), F_OK), -1);
	assert_int_equal(access(dir_file(d, ID_A ".q"), F_OK), -1);
}

static void test_full_disk(void **state)
{
	static const struct piece p[] = {{'d', 700000}, {0, 0}}, little[] = {{'d', 10}, {0, 0}};
	struct test_dir d;
	struct vault *v;
	uint64_t stored;

	(void)state;
	if (!dir_small(&d, 512))
		SKIP_WITHOUT("a file system of its own (root)");
	assert_int_equal(chmod(d.path, 0700), 0);
	v = reopen(&d);
	assert_true(vault_has_room(v, 400 * 1024));
	assert_false(vault_has_room(v, 500 * 1024)); /* less than 5 % would be left */
	assert_false(vault_has_room(v, UINT64_MAX));
	assert_int_equal(put(v, ID_A, p, &stored), -1);
	assert_int_equal(errno, ENOSPC);
	nothing_left(&d);
	dir_fill(&d);
	assert_false(vault_has_room(v, 0));
	assert_int_equal(put(v, ID_A, little, &stored), -1); /* buffered: seen at the end */
	assert_int_equal(errno, ENOSPC);
	nothing_left(&d);
	dir_drain(&d);
	assert_int_equal(put(v, ID_A, little, &stored), 0);
	vault_close(v);
	dir_remove(&d);
}

static int limited(struct fixture *f)
{
	static const struct piece p[] = {{'d', 700000}, {0, 0}};
	const struct rlimit limit = {300000, 300000};
	uint64_t stored;

	if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 1;
	return put(f->vault, ID_A, p, &stored) == -1 && errno == EFBIG ? 0 : 2;
}

static void test_file_limit(void **state)
{
	struct fixture *f = *state;
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(limited(f));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	nothing_left(&f->dir);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large_hole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounds_of_content, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sealed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ids, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_and_longer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_records_moved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_records_of_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_vault, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_our_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_meta_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large_meta, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_attributes, setup, teardown),
		cmocka_unit_test(test_meta_bomb),
		cmocka_unit_test(test_nonces),
		cmocka_unit_test(test_head_is_sealed),
		cmocka_unit_test(test_format_order),
		cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_second_keeper, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parts_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_key, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abort, setup, teardown),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test_setup_teardown(test_file_limit, setup, teardown),
	};

	if (vault_setup() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
