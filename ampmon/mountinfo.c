/*
 * ampmon/mountinfo.c - see mountinfo.h. Lines are split at single spaces and
 * unescaped in place; a line that is not as proc(5) says is skipped and counted.
 */
#include "mountinfo.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX (64U << 20) /* a table larger than this is not believed */

static bool octal(char c)
{
	return c >= '0' && c <= '7';
}

/* \ooo in place. False: it would hold a NUL. */
static bool unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && octal(s[2]) && octal(s[3])) {
			int c = (s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0');

			if (!c)
				return false;
			*to++ = (char)(unsigned char)c;
			s += 4;
			continue;
		}
		*to++ = *s++;
	}
	*to = 0;
	return true;
}

/* Decimal digits up to end; false: none, something else, or above INT_MAX. */
static bool number(const char *s, char end, unsigned *out, const char **rest)
{
	uint64_t v = 0;
	const char *p = s;

	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > INT_MAX)
			return false;
	}
	if (p == s || *p != end)
		return false;
	*out = (unsigned)v;
	if (rest)
		*rest = p + 1;
	return true;
}

static char *field(char **line)
{
	return strsep(line, " ");
}

static bool parse_numbers(struct mount_entry *e, const char *id, const char *parent, const char *device)
{
	unsigned a, b;
	const char *minor;

	if (!number(id, 0, &a, NULL) || !number(parent, 0, &b, NULL))
		return false;
	e->id = (int)a;
	e->parent = (int)b;
	return number(device, ':', &e->major, &minor) && number(minor, 0, &e->minor, NULL);
}

static bool parse_line(char *line, struct mount_entry *e)
{
	char *f[6]; /* id, parent, device, root, mount point, options */
	char *s, *type, *source;

	for (size_t i = 0; i < sizeof(f) / sizeof(f[0]); i++)
		if (!(f[i] = field(&line)))
			return false;
	do /* optional fields, up to "-" */
		s = field(&line);
	while (s && strcmp(s, "-") != 0);
	if (!s || !(type = field(&line)) || !(source = field(&line)))
		return false;
	if (!*type || f[4][0] != '/' || !unescape(f[3]) || !unescape(f[4]))
		return false;
	e->root = f[3];
	e->point = f[4];
	e->type = type;
	e->super = line ? line : "";
	return parse_numbers(e, f[0], f[1], f[2]);
}

static int compare_ids(const void *a, const void *b)
{
	const int x = *(const int *)a, y = *(const int *)b;

	return x < y ? -1 : x > y;
}

static int find_orphans(struct mount_table *t)
{
	int *ids = calloc(t->count + 1, sizeof(*ids));

	if (!ids)
		return -1;
	for (size_t i = 0; i < t->count; i++)
		ids[i] = t->entries[i].id;
	qsort(ids, t->count, sizeof(*ids), compare_ids);
	for (size_t i = 0; i < t->count; i++) {
		struct mount_entry *e = &t->entries[i];

		e->orphan =
			e->parent == e->id || !bsearch(&e->parent, ids, t->count, sizeof(*ids), compare_ids);
	}
	free(ids);
	return 0;
}

static size_t count_lines(const char *text, size_t size)
{
	size_t n = 1;

	for (const char *p = text; (p = memchr(p, '\n', size - (size_t)(p - text))); p++)
		n++;
	return n;
}

static void parse_lines(struct mount_table *t, char *text, size_t size)
{
	char *end = text + size;

	while (text < end) {
		char *nl = memchr(text, '\n', (size_t)(end - text));
		char *next = nl ? nl + 1 : end;

		*(nl ? nl : end) = 0; /* the buffer has one byte more */
		if (strlen(text) == (size_t)((nl ? nl : end) - text) &&
		    parse_line(text, &t->entries[t->count]))
			t->count++;
		else
			t->bad++;
		text = next;
	}
}

int mount_table_parse(struct mount_table *t, char *text, size_t size)
{
	char *larger = realloc(text, size + 1);

	memset(t, 0, sizeof(*t));
	if (!larger) {
		free(text);
		return -1;
	}
	t->text = larger;
	t->entries = calloc(count_lines(larger, size), sizeof(*t->entries));
	if (!t->entries) {
		mount_table_free(t);
		return -1;
	}
	parse_lines(t, larger, size);
	if (find_orphans(t) < 0) {
		mount_table_free(t);
		return -1;
	}
	return 0;
}

/* All of fd; NULL and errno. */
static char *read_all(int fd, size_t *size)
{
	size_t room = 64 * 1024, used = 0;
	char *text = malloc(room);
	ssize_t n = -1;

	while (text) {
		n = read(fd, text + used, room - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += (size_t)n;
		if (used < room)
			continue;
		if (room >= TEXT_MAX) {
			errno = EFBIG;
			n = -1;
			break;
		}
		room *= 2;
		char *larger = realloc(text, room);

		if (!larger)
			n = -1;
		else
			text = larger;
		if (!larger)
			break;
	}
	if (n < 0) {
		free(text);
		return NULL;
	}
	*size = used;
	return text;
}

int mount_table_read(struct mount_table *t, int fd)
{
	size_t size = 0;
	char *text;

	memset(t, 0, sizeof(*t));
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -1;
	text = read_all(fd, &size);
	return text ? mount_table_parse(t, text, size) : -1;
}

void mount_table_free(struct mount_table *t)
{
	free(t->entries);
	free(t->text);
	memset(t, 0, sizeof(*t));
}

const struct mount_entry *mount_table_by_id(const struct mount_table *t, int id)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->entries[i].id == id)
			return &t->entries[i];
	return NULL;
}

bool mount_path_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (n && dir[n - 1] == '/')
		n--;
	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static bool child_of(const struct mount_entry *e, const struct mount_entry *parent)
{
	return parent ? !e->orphan && e->parent == parent->id : e->orphan;
}

/* The nearest mount on the way to path that lies directly in `in`. */
static const struct mount_entry *next_on_path(const struct mount_table *t, const struct mount_entry *in,
					      const char *path)
{
	const struct mount_entry *best = NULL;

	for (size_t i = 0; i < t->count; i++) {
		const struct mount_entry *e = &t->entries[i];

		if (!child_of(e, in) || e == in || !mount_path_below(path, e->point))
			continue;
		if (!best || strlen(e->point) < strlen(best->point))
			best = e;
	}
	return best;
}

const struct mount_entry *mount_table_resolve(const struct mount_table *t, const char *path)
{
	const struct mount_entry *at = NULL, *next;

	/* A hostile table may have circles: no more steps than mounts. */
	for (size_t steps = 0; steps <= t->count && (next = next_on_path(t, at, path)); steps++)
		at = next;
	return at;
}

bool mount_visible(const struct mount_table *t, const struct mount_entry *e)
{
	return mount_table_resolve(t, e->point) == e;
}

bool mount_whole(const struct mount_entry *e)
{
	return strcmp(e->root, "/") == 0;
}

bool mount_same_fs(const struct mount_entry *a, const struct mount_entry *b)
{
	if (a->major != b->major || a->minor != b->minor)
		return false;
	return strcmp(a->type, "btrfs") != 0 || strcmp(a->root, b->root) == 0;
}

/* A growing NULL-terminated list. */
struct strings {
	char **list;
	size_t count;
	bool failed;
};

static bool strings_has(char *const *list, const char *s)
{
	for (; *list; list++)
		if (strcmp(*list, s) == 0)
			return true;
	return false;
}

/* Takes s over; NULL is a failed allocation. */
static void strings_add(struct strings *l, char *s)
{
	char **larger;

	if (l->failed || !s || (l->list && strings_has(l->list, s))) {
		l->failed |= !s;
		free(s);
		return;
	}
	larger = realloc(l->list, (l->count + 2) * sizeof(*larger));
	if (!larger) {
		l->failed = true;
		free(s);
		return;
	}
	l->list = larger;
	l->list[l->count++] = s;
	l->list[l->count] = NULL;
}

static char **strings_end(struct strings *l)
{
	if (!l->failed && !l->list)
		l->list = calloc(1, sizeof(*l->list));
	if (l->failed) {
		mount_strings_free(l->list);
		return NULL;
	}
	return l->list;
}

void mount_strings_free(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

bool mount_strings_within(char *const *a, char *const *b)
{
	for (; *a; a++)
		if (!strings_has(b, *a))
			return false;
	return true;
}

bool mount_strings_equal(char *const *a, char *const *b)
{
	return mount_strings_within(a, b) && mount_strings_within(b, a);
}

/* "a:b\:c::d" into a, b:c, d. */
static void add_layers(struct strings *l, const char *value)
{
	while (*value) {
		char *one = calloc(1, strlen(value) + 1), *to = one;

		for (; one && *value && *value != ':'; value++) {
			if (*value == '\\' && value[1])
				value++;
			*to++ = *value;
		}
		if (one && !*one)
			free(one);
		else
			strings_add(l, one);
		if (!one)
			return;
		while (*value == ':')
			value++;
	}
}

/* Backslashes out, whatever they stood before. */
static void add_escaped(struct strings *l, const char *value)
{
	char *one = strdup(value), *to = one;

	for (; one && *value; value++) {
		if (*value == '\\' && value[1])
			value++;
		*to++ = *value;
	}
	if (one)
		*to = 0;
	strings_add(l, one);
}

static void add_raw(struct strings *l, const char *value)
{
	strings_add(l, strdup(value));
}

/* lowerdir+ and datadir+ are one path each, as it was given: a colon or a backslash is part of it. */
static const struct {
	const char *name;
	void (*add)(struct strings *l, const char *value);
	bool upper;
} layer_options[] = {
	{"lowerdir=", add_layers, false},
	{"lowerdir+=", add_raw, false},
	{"datadir+=", add_raw, false},
	{"upperdir=", add_escaped, true},
};

static void add_option(struct strings *l, const char *option, bool *upper)
{
	for (size_t i = 0; i < sizeof(layer_options) / sizeof(layer_options[0]); i++) {
		size_t n = strlen(layer_options[i].name);

		if (strncmp(option, layer_options[i].name, n) != 0)
			continue;
		*upper |= layer_options[i].upper;
		if (option[n])
			layer_options[i].add(l, option + n);
	}
}

char **mount_layers(const struct mount_entry *e, bool *upper)
{
	struct strings l = {0};
	char *copy = strdup(e->super), *rest = copy, *option;

	*upper = false;
	l.failed = !copy;
	/* Commas inside a value are escaped: first split, then unescape. */
	while (copy && (option = strsep(&rest, ",")))
		if (unescape(option))
			add_option(&l, option, upper);
	free(copy);
	return strings_end(&l);
}

static char *join(const char *dir, const char *sub)
{
	size_t n = strlen(dir);
	char *out = malloc(n + strlen(sub) + 2);

	if (!out)
		return NULL;
	while (n && dir[n - 1] == '/')
		n--;
	while (*sub == '/')
		sub++;
	memcpy(out, dir, n);
	if (*sub || !n)
		out[n++] = '/';
	strcpy(out + n, sub);
	return out;
}

/* dir, which lies in mount e or above it, as a path below home of the same file system. */
static char *translate(const struct mount_entry *e, const struct mount_entry *home, const char *dir)
{
	const char *rest;
	char *inside, *out;

	if (mount_path_below(home->point, dir) || !mount_whole(home))
		return strdup(dir); /* all of home is below it, or home has no true names */
	rest = mount_path_below(dir, e->point) ? dir + (strcmp(e->point, "/") ? strlen(e->point) : 0) : "";
	inside = join(e->root, rest);
	out = inside ? join(home->point, inside) : NULL;
	free(inside);
	return out;
}

static void add_scope(struct strings *l, const struct mount_table *t, const struct mount_entry *home,
		      const char *dir)
{
	const struct mount_entry *holds = mount_table_resolve(t, dir);

	for (size_t i = 0; i < t->count; i++) {
		const struct mount_entry *e = &t->entries[i];

		if (mount_same_fs(e, home) && (e == holds || mount_path_below(e->point, dir)))
			strings_add(l, translate(e, home, dir));
	}
}

char **mount_scope(const struct mount_table *t, const struct mount_entry *home, char *const *dirs)
{
	struct strings l = {0};

	for (; *dirs; dirs++)
		add_scope(&l, t, home, *dirs);
	return strings_end(&l);
}
