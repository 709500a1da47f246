/*
 * ampquard/layers.c - see layers.h.
 *
 * An overlay is known by its device number, however many namespaces have it.
 * The kernel shows the layers as they were given to mount(2): absolute, or
 * relative to where the mounter stood (Docker, Podman: two above the mount
 * point; containerd: above the absolute upper layer), in the view of the mounter.
 */
#include "layers.h"

#include "clock.h"
#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <search.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

#define LAYERS_MAX     16384U
#define NAMESPACES_MAX 4096U
#define OVERLAYS_MAX   16384U
#define BASES_MAX      8U	  /* guesses where relative layers begin */
#define LINE_MAX_SIZE  (4U << 20) /* a mount's line: 500 layers of 4 KiB and more */
#define LEVELS_MAX     4096U
#define LOOK_EVERY     AMP_NS_PER_SEC
#define LOOK_MAX       AMP_NS_PER_SEC /* users make mounts and namespaces, and may stack them */
#define LOOK_REST      4	      /* times as long as a look took there is no other */

struct layer {
	dev_t dev;
	ino_t ino;
};

/* One that could not be resolved: its directory's path, or what it lies below. NULL: anything. */
struct possible {
	char *prefix;
};

struct layers {
	/* Tree of struct layer, each once: an image's layers belong to all its containers. No array
	 * for qsort(3), which asks the kernel how much memory there is, a call that the room has not. */
	void *known;
	size_t known_count;
	struct possible *possible;
	size_t possible_count;
	bool unknown; /* too many, no memory, no mountinfo: everything may be a layer */
	bool looked;
	bool warned;
	int64_t looked_ns, took_ns;
	int64_t until_ns; /* of the look in hand */
	int64_t limit_ns; /* LOOK_MAX */
	int changes;	  /* mountinfo of our namespace, polled; -1: not open */
};

struct overlay {
	unsigned major, minor;
	char *options;
	char *bases[BASES_MAX];
	size_t base_count;
	bool ours; /* mounted in our namespace: its paths are root's */
};

/* One look at all mounts. */
struct look {
	struct layers *l;
	struct overlay **overlays;
	size_t count;
	void *by_device; /* tree of struct overlay */
	void *spaces;	 /* tree of mount ids, one of each namespace */
	size_t space_count;
};

/* ---- text of mountinfo ---- */

static bool octal(char c)
{
	return c >= '0' && c <= '7';
}

/* \ooo in place. */
static void unescape_octal(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && octal(s[2]) && octal(s[3])) {
			*to++ = (char)(unsigned char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 4;
			continue;
		}
		*to++ = *s++;
	}
	*to = '\0';
}

/* The next of "a:b\:c::d" in place, escapes taken away; NULL: no more. */
static char *next_layer(char **rest)
{
	char *from = *rest, *to = *rest, *layer = *rest;

	if (!from)
		return NULL;
	for (; *from && *from != ':'; from++) {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from;
	}
	*rest = *from ? from + 1 : NULL;
	*to = '\0';
	return layer;
}

static const struct {
	const char *name;
	bool list;    /* separated by ':' */
	bool escaped; /* backslashes take a meaning away */
} layer_options[] = {
	{"lowerdir=", true, true},
	{"lowerdir+=", false, false},
	{"datadir+=", false, false},
	{"upperdir=", false, true},
};

/* Value without the escapes that next_layer() takes away, ':' being no end. */
static void unescape_whole(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (*s == '\\' && s[1])
			s++;
		*to++ = *s;
	}
	*to = '\0';
}

static unsigned layers_of_value(char *value, size_t kind, void (*found)(const char *path, void *arg),
				void *arg)
{
	unsigned n = 0;
	char *one;

	if (!layer_options[kind].list) {
		if (layer_options[kind].escaped)
			unescape_whole(value);
		if (*value)
			found(value, arg);
		return *value != '\0';
	}
	while ((one = next_layer(&value))) {
		if (!*one)
			continue;
		found(one, arg);
		n++;
	}
	return n;
}

static unsigned layers_of_option(char *option, void (*found)(const char *path, void *arg), void *arg)
{
	unescape_octal(option); /* a comma in a value is escaped so */
	for (size_t i = 0; i < sizeof(layer_options) / sizeof(layer_options[0]); i++) {
		const size_t n = strlen(layer_options[i].name);

		if (strncmp(option, layer_options[i].name, n) == 0)
			return layers_of_value(option + n, i, found, arg);
	}
	return 0;
}

unsigned layers_of_options(const char *options, void (*found)(const char *path, void *arg), void *arg)
{
	char *copy = strdup(options), *rest = copy, *option;
	unsigned n = 0;

	while ((option = strsep(&rest, ",")))
		n += layers_of_option(option, found, arg);
	free(copy);
	return n;
}

/* ---- results ---- */

static void too_many(struct layers *l, const char *what)
{
	if (!l->warned)
		amp_warn("layers of overlays: %s; every file counts as part of one", what);
	l->warned = l->unknown = true;
}

static bool in_time(struct layers *l)
{
	if (!l->unknown && amp_clock_monotonic() >= l->until_ns)
		too_many(l, "looking at all mounts takes too long");
	return !l->unknown;
}

static bool room_for(struct layers *l)
{
	if (l->known_count + l->possible_count < LAYERS_MAX)
		return true;
	too_many(l, "more than can be kept");
	return false;
}

static int compare_layers(const void *a, const void *b)
{
	const struct layer *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static bool is_known(const struct layers *l, const struct stat *st)
{
	const struct layer key = {.dev = st->st_dev, .ino = st->st_ino};

	return tfind(&key, &l->known, compare_layers) != NULL;
}

static void add_known(struct layers *l, int fd)
{
	struct layer *one;
	struct stat st;

	if (fstat(fd, &st) < 0 || is_known(l, &st) || !room_for(l))
		return;
	one = malloc(sizeof(*one));
	if (one)
		*one = (struct layer){.dev = st.st_dev, .ino = st.st_ino};
	if (!one || !tsearch(one, &l->known, compare_layers)) {
		too_many(l, "no memory");
		free(one);
		return;
	}
	l->known_count++;
}

/* Takes prefix over. NULL with memory left: anything. */
static void add_possible(struct layers *l, char *prefix, bool anything)
{
	struct possible *larger = NULL;
	const char *before = l->possible_count > 0 ? l->possible[l->possible_count - 1].prefix : NULL;

	if ((prefix && before && strcmp(before, prefix) == 0) || /* layers of an overlay share it */
	    (anything && l->possible_count > 0 && !before)) {
		free(prefix);
		return;
	}
	if (room_for(l) && (prefix || anything))
		larger = realloc(l->possible, (l->possible_count + 1) * sizeof(*larger));
	if (!larger) {
		too_many(l, "no memory");
		free(prefix);
		return;
	}
	l->possible = larger;
	larger[l->possible_count++].prefix = prefix;
}

/* ---- resolving ---- */

static void add_base(struct overlay *o, const char *path)
{
	for (size_t i = 0; i < o->base_count; i++)
		if (strcmp(o->bases[i], path) == 0)
			return;
	if (o->base_count < BASES_MAX && (o->bases[o->base_count] = strdup(path)))
		o->base_count++;
}

/* One and two above the mount point, or above a layer that is absolute (containerd). */
static void overlay_bases(struct overlay *o, const char *path)
{
	char *copy = strdup(path), *slash;

	for (unsigned i = 0; copy && i < 2; i++) {
		slash = strrchr(copy, '/');
		if (!slash || slash == copy)
			break;
		*slash = '\0';
		add_base(o, copy);
	}
	free(copy);
}

static void layer_base(const char *path, void *arg)
{
	if (path[0] == '/')
		overlay_bases(arg, path);
}

static int open_layer(const char *path, bool ours)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_CACHED | RESOLVE_NO_MAGICLINKS,
	};

	if (ours)
		return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

/* 1: known now, 0: it is not there, -1: it cannot be told. */
static int resolve(struct layers *l, const char *path, bool ours)
{
	int fd = open_layer(path, ours);

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	add_known(l, fd);
	close(fd);
	return 1;
}

/* ".../overlay/l/ABC" is a link to "../ID/diff": what it means lies below ".../overlay". */
static char *prefix_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash && slash - path >= 3 && strncmp(slash - 2, "/l", 2) == 0)
		return strndup(path, (size_t)(slash - 2 - path));
	return strdup(path);
}

static char *join(const char *base, const char *name)
{
	char *path = NULL;

	return asprintf(&path, "%s/%s", base, name) < 0 ? NULL : path;
}

struct one_overlay {
	struct layers *l;
	const struct overlay *o;
};

static void absolute_layer(const struct one_overlay *in, const char *path)
{
	if (resolve(in->l, path, in->o->ours) < 0)
		add_possible(in->l, prefix_of(path), false);
}

/* Each guess where it begins; a wrong one does no harm. */
static void relative_layer(const struct one_overlay *in, const char *name)
{
	const bool link = strncmp(name, "l/", 2) == 0; /* to "../ID/diff" */
	bool found = false;

	for (size_t i = 0; i < in->o->base_count && !found; i++) {
		char *path = join(in->o->bases[i], name);

		found = path && resolve(in->l, path, in->o->ours) > 0;
		free(path);
	}
	if (found)
		return;
	for (size_t i = 0; link && i < in->o->base_count; i++)
		add_possible(in->l, strdup(in->o->bases[i]), false);
	if (!link || in->o->base_count == 0)
		add_possible(in->l, NULL, true);
}

static void one_layer(const char *path, void *arg)
{
	const struct one_overlay *in = arg;

	if (!in_time(in->l))
		return;
	if (path[0] == '/')
		absolute_layer(in, path);
	else
		relative_layer(in, path);
}

static void resolve_all(const struct look *k)
{
	for (size_t i = 0; i < k->count; i++) {
		struct one_overlay in = {.l = k->l, .o = k->overlays[i]};

		layers_of_options(in.o->options, layer_base, k->overlays[i]);
		layers_of_options(in.o->options, one_layer, &in);
	}
}

/* ---- overlays of a namespace ---- */

static int compare_overlays(const void *a, const void *b)
{
	const struct overlay *x = a, *y = b;

	if (x->major != y->major)
		return x->major < y->major ? -1 : 1;
	return x->minor < y->minor ? -1 : x->minor > y->minor;
}

static void overlay_free(struct overlay *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->base_count; i++)
		free(o->bases[i]);
	free(o->options);
	free(o);
}

/* Enters o's key into the tree and the list. NULL: no memory, or too many. */
static struct overlay *overlay_keep(struct look *k, const struct overlay *key, const char *options)
{
	struct overlay **larger = NULL, *o = calloc(1, sizeof(*o));

	if (o && (o->options = strdup(options)) && k->count < OVERLAYS_MAX)
		larger = realloc(k->overlays, (k->count + 1) * sizeof(struct overlay *));
	if (!larger) {
		too_many(k->l, "more overlays than can be kept");
		overlay_free(o);
		return NULL;
	}
	k->overlays = larger;
	o->major = key->major;
	o->minor = key->minor;
	if (!tsearch(o, &k->by_device, compare_overlays)) {
		too_many(k->l, "no memory");
		overlay_free(o);
		return NULL;
	}
	return larger[k->count++] = o;
}

/* id parent major:minor root point options [...] - type source options */
static void parse_line(struct look *k, char *line, bool ours)
{
	char *device = NULL, *point = NULL, *field, *type;
	struct overlay key = {0}, **at, *o;

	for (unsigned i = 0; (field = strsep(&line, " ")) && strcmp(field, "-") != 0; i++) {
		if (i == 2)
			device = field;
		if (i == 4)
			point = field;
	}
	type = strsep(&line, " ");
	if (!type || strcmp(type, "overlay") != 0 || !point || !strsep(&line, " ") || !line ||
	    sscanf(device, "%u:%u", &key.major, &key.minor) != 2)
		return;
	at = tfind(&key, &k->by_device, compare_overlays);
	o = at ? *at : overlay_keep(k, &key, line);
	if (!o)
		return;
	o->ours |= ours;
	unescape_octal(point);
	overlay_bases(o, point);
}

/* ---- mountinfo of a process ---- */

struct lines {
	int fd;
	char *buf;
	size_t used, size;
	bool too_long;
};

/* The next line without its end; NULL: no more. It stays until the next call with *taken. */
static char *next_line(struct lines *in, size_t *taken)
{
	memmove(in->buf, in->buf + *taken, in->used - *taken);
	in->used -= *taken;
	for (;;) {
		char *nl = memchr(in->buf, '\n', in->used), *larger;
		ssize_t n;

		if (nl) {
			*nl = '\0';
			*taken = (size_t)(nl - in->buf) + 1;
			return in->buf;
		}
		if (in->used == in->size) {
			if (in->size >= LINE_MAX_SIZE || !(larger = realloc(in->buf, in->size * 2))) {
				in->too_long = true;
				return NULL;
			}
			in->buf = larger;
			in->size *= 2;
		}
		n = read(in->fd, in->buf + in->used, in->size - in->used);
		if (n <= 0)
			return NULL;
		in->used += (size_t)n;
	}
}

static int compare_ids(const void *a, const void *b)
{
	return a < b ? -1 : a > b;
}

/* False: this namespace was looked at already, or it is one too many. */
static bool space_is_new(struct look *k, const char *line)
{
	const uintptr_t id = (uintptr_t)strtoul(line, NULL, 10) + 1;

	if (tfind((void *)id, &k->spaces, compare_ids))
		return false;
	if (k->space_count >= NAMESPACES_MAX || !tsearch((void *)id, &k->spaces, compare_ids)) {
		too_many(k->l, "more mount namespaces than can be looked at");
		return false;
	}
	k->space_count++;
	return true;
}

/* False: it could not be read at all. */
static bool look_at(struct look *k, int fd, bool ours)
{
	struct lines in = {.fd = fd, .size = 4096};
	size_t taken = 0;
	char *line;
	bool any = false;

	in.buf = malloc(in.size);
	if (!in.buf)
		return false;
	while (in_time(k->l) && (line = next_line(&in, &taken))) {
		if (!any && !space_is_new(k, line)) {
			any = true;
			break;
		}
		any = true;
		parse_line(k, line, ours);
	}
	if (in.too_long)
		too_many(k->l, "a mount that is too long to be read");
	free(in.buf);
	return any;
}

static bool look_at_process(struct look *k, const char *pid, bool ours)
{
	char path[64];
	bool any;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.32s/mountinfo", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	any = look_at(k, fd, ours);
	close(fd);
	return any;
}

static void look_at_all(struct look *k)
{
	const struct dirent *e;
	DIR *proc;

	/* Ours first: its overlays' paths are opened, and its mount points come first. */
	if (!look_at_process(k, "self", true) || !(proc = opendir("/proc"))) {
		too_many(k->l, "/proc cannot be read");
		return;
	}
	while (in_time(k->l) && (e = readdir(proc)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			(void)look_at_process(k, e->d_name, false); /* it may have ended */
	closedir(proc);
}

/* ---- outside ---- */

struct layers *layers_new(void)
{
	struct layers *l = calloc(1, sizeof(*l));

	if (l) {
		l->changes = -1;
		l->limit_ns = LOOK_MAX;
	}
	return l;
}

void layers_limit(struct layers *l, int64_t ns)
{
	l->limit_ns = ns;
}

static void forget(struct layers *l)
{
	for (size_t i = 0; i < l->possible_count; i++)
		free(l->possible[i].prefix);
	free(l->possible);
	tdestroy(l->known, free);
	l->possible = NULL;
	l->known = NULL;
	l->possible_count = l->known_count = 0;
}

void layers_free(struct layers *l)
{
	if (!l)
		return;
	forget(l);
	if (l->changes >= 0)
		close(l->changes);
	free(l);
}

static void no_free(void *key)
{
	(void)key;
}

/* Mounts of our own namespace (most containers' are seen here) are known at once. */
static bool mounts_changed(struct layers *l)
{
	struct pollfd p = {.fd = l->changes, .events = POLLPRI};

	if (l->changes < 0) {
		l->changes = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
		return true;
	}
	return poll(&p, 1, 0) > 0 && (p.revents & (POLLPRI | POLLERR));
}

void layers_refresh(struct layers *l)
{
	const bool changed = mounts_changed(l);
	const int64_t now = amp_clock_monotonic();
	struct look k = {.l = l};

	if (l->looked && !changed && now - l->looked_ns < LOOK_EVERY)
		return;
	if (l->looked && now - l->looked_ns < LOOK_REST * l->took_ns) {
		l->unknown = true;
		return;
	}
	forget(l);
	l->unknown = false;
	l->until_ns = now + l->limit_ns;
	look_at_all(&k);
	if (!l->unknown)
		resolve_all(&k);
	tdestroy(k.spaces, no_free);
	tdestroy(k.by_device, no_free);
	for (size_t i = 0; i < k.count; i++)
		overlay_free(k.overlays[i]);
	free(k.overlays);
	l->looked = true;
	l->looked_ns = amp_clock_monotonic();
	l->took_ns = l->looked_ns - now;
}

static bool below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	while (n > 0 && dir[n - 1] == '/')
		n--;
	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool possibly(const struct layers *l, const char *path)
{
	for (size_t i = 0; i < l->possible_count; i++)
		if (!path || !l->possible[i].prefix || below(path, l->possible[i].prefix))
			return true;
	return false;
}

/* Up to the root, whose parent it is itself. */
static bool climb(const struct layers *l, int dir)
{
	struct stat last = {0}, st;
	int fd = openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC), up;

	for (unsigned i = 0; fd >= 0 && i < LEVELS_MAX; i++) {
		bool layer, top;

		if (fstat(fd, &st) < 0)
			break;
		layer = is_known(l, &st);
		top = i > 0 && st.st_dev == last.st_dev && st.st_ino == last.st_ino;
		if (layer || top) {
			close(fd);
			return layer;
		}
		last = st;
		up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = up;
	}
	if (fd >= 0)
		close(fd);
	return true; /* it cannot be told */
}

bool layers_contain(const struct layers *l, int dir, const char *path)
{
	if (!l->looked || l->unknown || possibly(l, path))
		return true;
	return l->known_count > 0 && climb(l, dir);
}
