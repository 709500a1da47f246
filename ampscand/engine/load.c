/*
 * ampscand/engine/load.c - how a zygote comes to its signatures, and proves that they work.
 *
 * Owns: the order of loading, the sample that is known to nobody and found by a signature
 * that was made for it, what is told of each file. Must not own: processes.
 */
#include "zygote.h"

#include "clock.h"
#include "sha256.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAMPLE_NAME "Amp.SelfTest"
#define SAMPLE_FILE "sample.hsb"
#define PATH_SIZE   (SLOT_PATH + NAME_MAX + 2)

/* Made of chance: nobody can make a file that this zygote takes for it. */
struct sample {
	uint8_t bad[256], clean[256];
};

static void set_text(struct zygote_said *s, const char *text)
{
	snprintf(s->text, sizeof(s->text), "%s", text);
}

static int refuse(zygote_say *say, const char *why)
{
	struct zygote_said s = {.kind = ZYGOTE_REFUSED};

	set_text(&s, why);
	say(&s);
	return -1;
}

/* /sig/0 is of no use to a reader: what libclamav says of it is told with the host's name. */
static void with_host_names(const struct engine_dirs *d, const char *text, char *out, size_t size)
{
	size_t n = 0;

	while (*text && n + 1 < size) {
		unsigned i = 0;

		while (i < d->count && strncmp(text, d->view[i], strlen(d->view[i])) != 0)
			i++;
		if (i == d->count) {
			out[n++] = *text++;
			continue;
		}
		text += strlen(d->view[i]);
		n += (size_t)snprintf(out + n, size - n, "%s", d->host[i]);
		if (n >= size)
			n = size - 1;
	}
	out[n] = '\0';
}

static int refuse_named(const struct engine_dirs *d, zygote_say *say, const char *why)
{
	char text[ADAPTER_TEXT + 256];

	with_host_names(d, why, text, sizeof(text));
	return refuse(say, text);
}

/* --- the sample --------------------------------------------------------------------- */

static int write_whole(const char *text)
{
	int fd = open(SAMPLE_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	size_t size = strlen(text);
	bool sound = fd >= 0 && write(fd, text, size) == (ssize_t)size;

	if (fd >= 0)
		close(fd);
	return sound ? 0 : -1;
}

static int digest(const void *data, size_t size, char hex[AMP_SHA256_HEX])
{
	uint8_t out[AMP_SHA256_SIZE];
	struct amp_sha256 *s = amp_sha256_new();
	int rc = s ? amp_sha256_begin(s) : -1;

	if (rc == 0)
		rc = amp_sha256_add(s, data, size);
	if (rc == 0)
		rc = amp_sha256_end(s, out);
	amp_sha256_free(s);
	if (rc == 0)
		amp_sha256_hex(out, hex);
	return rc;
}

static int sample_write(struct sample *s)
{
	char hex[AMP_SHA256_HEX], line[AMP_SHA256_HEX + 64];

	if (getrandom(s->bad, sizeof(s->bad), 0) != (ssize_t)sizeof(s->bad) ||
	    getrandom(s->clean, sizeof(s->clean), 0) != (ssize_t)sizeof(s->clean))
		return -1;
	if (digest(s->bad, sizeof(s->bad), hex) != 0)
		return -1;
	snprintf(line, sizeof(line), "%s:%zu:%s\n", hex, sizeof(s->bad), SAMPLE_NAME);
	return write_whole(line);
}

static int sample_load(struct adapter *a, struct sample *s, char *why)
{
	uint64_t n = 0;

	if (sample_write(s) == 0)
		return adapter_load(a, SAMPLE_FILE, &n, why);
	snprintf(why, ADAPTER_TEXT, "the sample of the self-test could not be made: %s", strerror(errno));
	return -1;
}

static enum adapter_result try_one(struct adapter *a, const void *data, size_t size,
				   struct adapter_verdict *v)
{
	static const struct adapter_limits limits = {
		.max_file_size = 1U << 20,
		.max_scan_size = 1U << 20,
		.max_files = 100,
		.max_recursion = 10,
		.max_ms = 60000,
	};

	adapter_scan(a, data, size, &limits, v);
	return v->result;
}

/* Also the first scan, which is slow: what it makes is there for all workers. */
static int self_test(struct adapter *a, struct sample *s, char *why)
{
	struct adapter_verdict bad, clean;
	bool found = try_one(a, s->bad, sizeof(s->bad), &bad) == ADAPTER_INFECTED &&
		     strncmp(bad.name, SAMPLE_NAME, strlen(SAMPLE_NAME)) == 0;
	bool passed = try_one(a, s->clean, sizeof(s->clean), &clean) == ADAPTER_CLEAN;

	explicit_bzero(s, sizeof(*s));
	if (found && passed)
		return 0;
	snprintf(why, ADAPTER_TEXT, "self-test: %s: %s%s",
		 found ? "a clean sample" : "a bad sample is not found", found ? clean.name : bad.name,
		 found ? clean.detail : bad.detail);
	return -1;
}

/* --- the files --------------------------------------------------------------------------- */

static void tell_set(const struct engine_dirs *d, unsigned dir, const char *name, const struct stat *st,
		     zygote_say *say)
{
	struct zygote_said s = {.kind = ZYGOTE_SET, .number = (int32_t)dir};
	struct adapter_set set = {.time_ns = st->st_mtim.tv_sec * AMP_NS_PER_SEC + st->st_mtim.tv_nsec};
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/%s", d->view[dir], name);
	adapter_describe(path, &set);
	s.time_ns = set.time_ns;
	s.version = set.version;
	s.signatures = set.signatures;
	set_text(&s, name);
	say(&s);
}

/* Each file of a directory that counts: f may fail it. */
static int each_set(const struct engine_dirs *d, unsigned dir,
		    int (*f)(const struct engine_dirs *d, unsigned dir, const char *name,
			     const struct stat *st, void *arg),
		    void *arg)
{
	DIR *handle = opendir(d->view[dir]);
	const struct dirent *e;
	struct stat st;
	int rc = 0;

	while (handle && rc == 0 && (e = readdir(handle)))
		if (adapter_is_set(e->d_name) && fstatat(dirfd(handle), e->d_name, &st, 0) == 0 &&
		    S_ISREG(st.st_mode))
			rc = f(d, dir, e->d_name, &st, arg);
	if (handle)
		closedir(handle);
	return rc;
}

struct loading {
	struct adapter *adapter;
	zygote_say *say;
	char why[ADAPTER_TEXT];
};

static int load_ignore_list(const struct engine_dirs *d, unsigned dir, const char *name,
			    const struct stat *st, void *arg)
{
	struct loading *l = arg;
	char path[PATH_SIZE];
	uint64_t n = 0;

	(void)st;
	if (!adapter_is_ignore_list(name))
		return 0;
	snprintf(path, sizeof(path), "%s/%s", d->view[dir], name);
	return adapter_load(l->adapter, path, &n, l->why);
}

static int tell_one(const struct engine_dirs *d, unsigned dir, const char *name, const struct stat *st,
		    void *arg)
{
	struct loading *l = arg;

	tell_set(d, dir, name, st, l->say);
	return 0;
}

/* True: there is something to load in it. libclamav takes an empty directory for an error. */
static int has_one(const struct engine_dirs *d, unsigned dir, const char *name, const struct stat *st,
		   void *arg)
{
	(void)d;
	(void)dir;
	(void)name;
	(void)st;
	(void)arg;
	return 1;
}

/* What is ignored is known first: a list holds for the signatures of all directories. */
static int load_all(const struct engine_dirs *d, struct loading *l, uint64_t *signatures)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < d->count; i++)
		rc = each_set(d, i, load_ignore_list, l);
	for (unsigned i = 0; rc == 0 && i < d->count; i++)
		if (each_set(d, i, has_one, NULL))
			rc = adapter_load(l->adapter, d->view[i], signatures, l->why);
	if (rc == 0 && *signatures == 0) {
		snprintf(l->why, sizeof(l->why), "there is no signature in them");
		rc = -1;
	}
	return rc;
}

static int load_and_test(const struct engine_dirs *d, struct loading *l, struct sample *s,
			 uint64_t *signatures)
{
	if (load_all(d, l, signatures) != 0 || sample_load(l->adapter, s, l->why) != 0 ||
	    adapter_compile(l->adapter, l->why) != 0)
		return -1;
	return self_test(l->adapter, s, l->why);
}

/* In a directory of its own, which is where libclamav writes; nothing of it stays. */
static int load_in_slot(const struct engine_dirs *d, uint64_t number, struct loading *l, struct sample *s,
			uint64_t *signatures)
{
	char slot[SLOT_PATH];
	int rc;

	slot_path(slot, d->slots, ZYGOTE_SLOT, number);
	if (slot_make(slot) != 0 || chdir(slot) != 0) {
		snprintf(l->why, sizeof(l->why), "%s: %s", slot, strerror(errno));
		return -1;
	}
	rc = load_and_test(d, l, s, signatures);
	if ((chdir(d->slots) != 0 || slot_wipe(slot) != 0) && rc == 0) {
		snprintf(l->why, sizeof(l->why), "%s is not removed: %s", slot, strerror(errno));
		rc = -1;
	}
	return rc;
}

struct adapter *zygote_load(const struct engine_dirs *dirs, uint64_t number, zygote_say *say,
			    struct zygote_said *loaded)
{
	static struct loading l;
	static struct sample sample;

	l.say = say;
	l.adapter = adapter_new();
	*loaded = (struct zygote_said){.kind = ZYGOTE_LOADED};
	if (!l.adapter) {
		refuse(say, "no memory");
		return NULL;
	}
	if (load_in_slot(dirs, number, &l, &sample, &loaded->signatures) != 0) {
		refuse_named(dirs, say, l.why);
		return NULL;
	}
	for (unsigned i = 0; i < dirs->count; i++)
		(void)each_set(dirs, i, tell_one, &l);
	set_text(loaded, adapter_version());
	return l.adapter;
}
