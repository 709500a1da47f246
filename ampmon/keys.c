/*
 * ampmon/keys.c - files of `key = value` lines, read by a table (see keys.h).
 *
 * libconfuse is the lexer and the grammar only: each value comes to on_value()
 * as text, so that bounds, types and messages are ours. Its one way to the
 * environment, "${NAME}", is refused before it sees the text.
 */
#include "keys.h"

#include "text.h"

#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

static const char *unsafe_because(const struct stat *st)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return "belongs to another user than root; chown root it";
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return "can be written by others than root; chmod go-w it";
	return NULL;
}

/* The directory that holds path. Returns NULL, or why it is not to be trusted. */
static const char *directory_unsafe(const char *path, char *dir, size_t size)
{
	struct stat st;
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	snprintf(dir, size, "%s", dirname(copy));
	if (stat(dir, &st) < 0)
		return "cannot be looked at; check that it exists";
	return unsafe_because(&st);
}

static int check_safe(int fd, const char *real, const char *path, char *err, size_t size)
{
	struct stat st;
	char dir[PATH_MAX];
	const char *why = directory_unsafe(real, dir, sizeof(dir));

	if (!why)
		why = directory_unsafe(path, dir, sizeof(dir));
	if (why) {
		snprintf(err, size, "%s: the directory %s %s", path, dir, why);
		return -1;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		snprintf(err, size, "%s: is no regular file; put a text file there", path);
		return -1;
	}
	why = unsafe_because(&st);
	if (why) {
		snprintf(err, size, "%s: %s", path, why);
		return -1;
	}
	return 0;
}

ssize_t mon_read_all(int fd, void *buf, size_t size)
{
	uint8_t *at = buf;
	size_t got = 0;

	while (got < size) {
		ssize_t n = read(fd, at + got, size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

static char *slurp(int fd, const char *path, size_t max, size_t *length, char *err, size_t size)
{
	struct stat st;
	ssize_t got = -1;
	char *buf = NULL;

	if (fstat(fd, &st) == 0 && st.st_size >= 0 && (uint64_t)st.st_size <= max)
		buf = malloc((size_t)st.st_size + 2);
	if (buf)
		got = mon_read_all(fd, buf, (size_t)st.st_size + 1);
	if (got < 0 || got > st.st_size) {
		snprintf(err, size,
			 "%s: cannot be read (at most %zu bytes, not while it grows); make it shorter", path,
			 max);
		free(buf);
		return NULL;
	}
	buf[got] = '\0';
	*length = (size_t)got;
	return buf;
}

char *mon_read_safe(const char *path, size_t max, size_t *length, char *err, size_t size)
{
	char real[PATH_MAX];
	char *buf = NULL;
	int fd = -1, saved;

	/* O_NONBLOCK: a FIFO put there must not hold us. */
	if (strlen(path) < PATH_MAX && realpath(path, real))
		fd = open(real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		saved = errno;
		snprintf(err, size, "%s: cannot be opened: %s; check the path", path, strerror(saved));
		errno = saved;
		return NULL;
	}
	if (check_safe(fd, real, path, err, size) == 0)
		buf = slurp(fd, path, max, length, err, size);
	close(fd);
	if (!buf)
		errno = EPERM;
	return buf;
}

/* ---- values ---- */

/* libconfuse has no user pointer, and its lexer is global in any case. */
static struct load {
	const char *path;
	const struct mon_key *keys;
	size_t n;
	char *target;
	unsigned *lines;
	char *err;
	size_t size;
	bool *emptied; /* `key = {}`: on_value() never hears of it */
	bool failed;
} * load;

/* The first complaint is the cause; those after it are its echoes. */
static void __attribute__((format(printf, 3, 4)))
complain(unsigned line, const char *key, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	if (load->failed)
		return;
	load->failed = true;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (line > 0)
		snprintf(load->err, load->size, "%s:%u: %s: %s", load->path, line, key, what);
	else
		snprintf(load->err, load->size, "%s: %s: %s", load->path, key, what);
}

static void complain_value(unsigned line, const struct mon_key *k, const char *value, const char *why)
{
	char text[128];

	amp_text_escape(value, strlen(value), text, sizeof(text));
	complain(line, k->name, "\"%s\" %s", text, why);
}

static int take_number(const struct mon_key *k, const char *value, unsigned line, uint64_t *out)
{
	char *end = NULL;

	errno = 0;
	*out = strtoull(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0) {
		complain_value(line, k, value, "is no number; write decimal digits only");
		return -1;
	}
	if (*out < k->min || *out > k->max) {
		complain(line, k->name, "%s is out of bounds; write a number from %" PRIu64 " to %" PRIu64,
			 value, k->min, k->max);
		return -1;
	}
	return 0;
}

static int take_choice(const struct mon_key *k, const char *value, unsigned line)
{
	char names[256] = "";

	for (int i = 0; k->choices[i]; i++) {
		size_t used = strlen(names);

		if (strcmp(k->choices[i], value) == 0)
			return i;
		snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", k->choices[i]);
	}
	complain_value(line, k, value, "is not known; write one of:");
	snprintf(load->err + strlen(load->err), load->size - strlen(load->err), " %s", names);
	return -1;
}

static int check_text(const struct mon_key *k, const char *value, unsigned line)
{
	size_t length = strlen(value);
	const char *why = NULL;

	if (k->type == MON_KEY_STRING && (length < k->min || length > k->max)) {
		complain(line, k->name, "is %zu bytes long; write %" PRIu64 " to %" PRIu64 " bytes", length,
			 k->min, k->max);
		return -1;
	}
	for (const char *c = value; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			why = "has a control byte; write it without";
	if (!why && k->check)
		why = k->check(value);
	if (why) {
		complain_value(line, k, value, why);
		return -1;
	}
	return 0;
}

static void *place(const struct mon_key *k)
{
	return load->target + k->offset;
}

static size_t list_length(char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

static int list_append(char ***list, const char *value)
{
	size_t n = list_length(*list);
	char **bigger = realloc(*list, (n + 2) * sizeof(*bigger));

	if (!bigger)
		return -1;
	*list = bigger;
	bigger[n] = strdup(value);
	bigger[n + 1] = NULL;
	return bigger[n] ? 0 : -1;
}

static int set_string(const struct mon_key *k, const char *value, unsigned line)
{
	char *copy;

	if (check_text(k, value, line) < 0)
		return -1;
	copy = strdup(value);
	if (!copy)
		return -1;
	*(char **)place(k) = copy;
	return 0;
}

static int set_list(const struct mon_key *k, const char *value, unsigned line)
{
	char ***list = place(k);

	if (check_text(k, value, line) < 0)
		return -1;
	if (list_length(*list) >= k->max) {
		complain(line, k->name, "has too many entries; write at most %" PRIu64, k->max);
		return -1;
	}
	return list_append(list, value);
}

static int set_uint(const struct mon_key *k, const char *value, unsigned line)
{
	uint64_t v;

	if (take_number(k, value, line, &v) < 0)
		return -1;
	*(unsigned *)place(k) = (unsigned)v;
	return 0;
}

static int set_uint64(const struct mon_key *k, const char *value, unsigned line)
{
	return take_number(k, value, line, place(k));
}

static int set_choice(const struct mon_key *k, const char *value, unsigned line)
{
	int i = take_choice(k, value, line);

	if (i >= 0)
		*(int *)place(k) = i;
	return i < 0 ? -1 : 0;
}

static int set_switch(const struct mon_key *k, const char *value, unsigned line)
{
	int i = take_choice(k, value, line);

	if (i >= 0)
		*(bool *)place(k) = i == 1;
	return i < 0 ? -1 : 0;
}

static int set_value(const struct mon_key *k, const char *value, unsigned line)
{
	static int (*const set[])(const struct mon_key *, const char *, unsigned) = {
		[MON_KEY_STRING] = set_string, [MON_KEY_LIST] = set_list,     [MON_KEY_UINT] = set_uint,
		[MON_KEY_UINT64] = set_uint64, [MON_KEY_CHOICE] = set_choice, [MON_KEY_SWITCH] = set_switch,
	};

	if (set[k->type](k, value, line) == 0)
		return 0;
	complain(line, k->name, "memory is short; try again");
	return -1;
}

static int set_default(const struct mon_key *k)
{
	char word[PATH_MAX];
	const char *p = k->def;

	if (k->type != MON_KEY_LIST)
		return set_value(k, k->def, 0);
	while (*(p += strspn(p, " "))) {
		size_t n = strcspn(p, " ");

		snprintf(word, sizeof(word), "%.*s", (int)n, p);
		if (set_value(k, word, 0) < 0)
			return -1;
		p += n;
	}
	return 0;
}

/* ---- libconfuse ---- */

static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	size_t i = (size_t)(opt - cfg->opts);
	unsigned line = cfg->line > 0 ? (unsigned)cfg->line : 0;
	const struct mon_key *k;

	if (i >= load->n)
		return -1;
	k = &load->keys[i];
	/* A list's first value again: a second assignment, which would quietly win. */
	if (load->lines[i] != 0 && (k->type != MON_KEY_LIST || opt->nvalues <= 1)) {
		complain(line, k->name, "is set a second time (first on line %u); remove one of them",
			 load->lines[i]);
		return -1;
	}
	load->lines[i] = line;
	*(const char **)result = "set";
	return set_value(k, value, line);
}

static void __attribute__((format(printf, 2, 0))) on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	unsigned line = cfg && cfg->line > 0 ? (unsigned)cfg->line : 0;
	char text[256], key[80];

	vsnprintf(text, sizeof(text), fmt, ap);
	if (sscanf(text, "no such option '%79[^']'", key) == 1)
		complain(line, key, "is no key of this file; correct or remove it");
	else
		complain(line, "syntax", "%s; write key = value, text in \"quotes\", lists in {\"a\", \"b\"}",
			 text);
}

/* Behind the quoted text that begins at p; NULL: it is not closed. */
static char *skip_quoted(char *p)
{
	char quote = *p++;

	while (*p && *p != quote)
		p += (p[0] == '\\' && p[1]) ? 2 : 1;
	return *p ? p + 1 : NULL;
}

static char *blank_to(char *p, const char *end)
{
	for (; p < end; p++)
		if (*p != '\n')
			*p = ' ';
	return p;
}

/* Behind the comment that begins at p; p: none; NULL: not closed. "//" may stand within a word (a path). */
static char *skip_comment(char *p, bool in_word)
{
	char *end;

	if (p[0] == '#' || (p[0] == '/' && p[1] == '/' && !in_word))
		return p + strcspn(p, "\n");
	if (p[0] != '/' || p[1] != '*')
		return p;
	end = strstr(p + 2, "*/");
	return end ? end + 2 : NULL;
}

/*
 * libconfuse 3.3 counts three lines for each line of comment, and takes an
 * open comment or text for a good end: it gets neither to see. NULL, or where
 * what is not closed begins.
 */
static const char *blank_comments(char *p)
{
	bool in_word = false;

	while (*p) {
		char *start = p, *end = skip_comment(p, in_word);

		if (end && end > p) {
			p = blank_to(p, end);
		} else if (end && (*p == '"' || *p == '\'')) {
			end = p = skip_quoted(p);
			in_word = false;
		} else if (end) {
			in_word = !strchr(" \t\r\n={},()+", *p);
			p++;
		}
		if (!end)
			return start;
	}
	return NULL;
}

static unsigned line_of(const char *text, const char *at)
{
	unsigned line = 1;

	for (; text < at; text++)
		line += *text == '\n';
	return line;
}

static void check_list(const cfg_opt_t *opt, size_t i)
{
	load->emptied[i] = (opt->flags & CFGF_MODIFIED) && opt->nvalues == 0;
	if (list_length(*(char ***)place(&load->keys[i])) != opt->nvalues)
		complain(load->lines[i], load->keys[i].name, "is set a second time; remove one of them");
}

static int prepare(char *text)
{
	const char *open = blank_comments(text);
	const char *dollar = strstr(text, "${");

	if (open)
		complain(line_of(text, open), "syntax",
			 "a comment or text that begins here has no end; close it");
	else if (dollar)
		complain(line_of(text, dollar), "${",
			 "the environment is not read here; write the value itself");
	return load->failed ? -1 : 0;
}

static int parse(cfg_opt_t *opts, char *text)
{
	cfg_t *cfg;

	if (prepare(text) < 0)
		return -1;
	cfg = cfg_init(opts, CFGF_NONE);
	if (!cfg) {
		complain(0, "file", "memory is short; try again");
		return -1;
	}
	cfg_set_error_function(cfg, on_error);
	if (cfg_parse_buf(cfg, text) != CFG_SUCCESS)
		complain(cfg->line > 0 ? (unsigned)cfg->line : 0, "syntax",
			 "cannot be understood; write key = value");
	for (size_t i = 0; i < load->n && !load->failed; i++)
		if (load->keys[i].type == MON_KEY_LIST)
			check_list(cfg_getopt(cfg, load->keys[i].name), i);
	cfg_free(cfg);
	return load->failed ? -1 : 0;
}

static int finish_key(size_t i)
{
	const struct mon_key *k = &load->keys[i];
	bool given = load->lines[i] != 0 || load->emptied[i];

	if (!given && !k->def) {
		complain(0, k->name, "is not set; add a line for it");
		return -1;
	}
	if (!given && set_default(k) < 0)
		return -1;
	if (k->type == MON_KEY_LIST && list_length(*(char ***)place(k)) < k->min) {
		complain(load->lines[i], k->name, "is empty; name at least %" PRIu64, k->min);
		return -1;
	}
	if (k->type == MON_KEY_LIST && !*(char ***)place(k)) {
		*(char ***)place(k) = calloc(1, sizeof(char *));
		if (!*(char ***)place(k))
			complain(0, k->name, "memory is short; try again");
	}
	return load->failed ? -1 : 0;
}

static void describe(cfg_opt_t *opts, const struct mon_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		opts[i] = (cfg_opt_t){
			.name = keys[i].name,
			.type = CFGT_STR,
			.flags = CFGF_NODEFAULT | (keys[i].type == MON_KEY_LIST ? CFGF_LIST : CFGF_NONE),
			.parsecb = on_value,
		};
	opts[n] = (cfg_opt_t)CFG_END();
}

int mon_keys_parse(const char *path, const char *text, const struct mon_key *keys, size_t n, void *target,
		   unsigned *lines, char *err, size_t size)
{
	unsigned *own = calloc(n, sizeof(*own));
	bool *emptied = calloc(n, sizeof(*emptied));
	cfg_opt_t *opts = calloc(n + 1, sizeof(*opts));
	char *copy = strdup(text);
	struct load l = {path, keys, n, target, own, err, size, emptied, false};

	load = &l;
	if (!own || !emptied || !opts || !copy) {
		complain(0, "file", "memory is short; try again");
	} else {
		describe(opts, keys, n);
		parse(opts, copy);
	}
	for (size_t i = 0; i < n && !l.failed; i++)
		finish_key(i);
	if (lines && own)
		memcpy(lines, own, n * sizeof(*lines));
	load = NULL;
	free(copy);
	free(opts);
	free(emptied);
	free(own);
	if (l.failed)
		mon_keys_free(keys, n, target);
	return l.failed ? -1 : 0;
}

int mon_keys_load(const char *path, const struct mon_key *keys, size_t n, void *target, unsigned *lines,
		  char *err, size_t size)
{
	size_t length;
	char *text = mon_read_safe(path, MON_KEYS_FILE_MAX, &length, err, size);
	int rc;

	if (!text)
		return -1;
	if (memchr(text, '\0', length)) {
		snprintf(err, size, "%s: has a NUL byte; write a text file", path);
		free(text);
		return -1;
	}
	rc = mon_keys_parse(path, text, keys, n, target, lines, err, size);
	free(text);
	return rc;
}

void mon_keys_free(const struct mon_key *keys, size_t n, void *target)
{
	for (size_t i = 0; i < n; i++) {
		void *at = (char *)target + keys[i].offset;

		if (keys[i].type == MON_KEY_STRING) {
			free(*(char **)at);
			*(char **)at = NULL;
		}
		if (keys[i].type == MON_KEY_LIST) {
			for (char **s = *(char ***)at; s && *s; s++)
				free(*s);
			free(*(char ***)at);
			*(char ***)at = NULL;
		}
	}
}

/* ---- printing ---- */

/* '$' escaped: so that no "${" stands in what we print. */
static void print_quoted(const char *s, FILE *out)
{
	fputc('"', out);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c < 0x20 || c == 0x7f || c == '"' || c == '\\' || c == '$')
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void print_list(char *const *list, FILE *out)
{
	fputc('{', out);
	for (size_t i = 0; list && list[i]; i++) {
		if (i > 0)
			fputs(", ", out);
		print_quoted(list[i], out);
	}
	fputc('}', out);
}

static void print_value(const struct mon_key *k, const void *at, FILE *out)
{
	switch (k->type) {
	case MON_KEY_STRING:
		print_quoted(*(char *const *)at, out);
		break;
	case MON_KEY_LIST:
		print_list(*(char **const *)at, out);
		break;
	case MON_KEY_UINT:
		fprintf(out, "%u", *(const unsigned *)at);
		break;
	case MON_KEY_UINT64:
		fprintf(out, "%" PRIu64, *(const uint64_t *)at);
		break;
	case MON_KEY_CHOICE:
		print_quoted(k->choices[*(const int *)at], out);
		break;
	case MON_KEY_SWITCH:
		print_quoted(k->choices[*(const bool *)at ? 1 : 0], out);
		break;
	}
}

void mon_keys_print(const struct mon_key *keys, size_t n, const void *target, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		fprintf(out, "%s = ", keys[i].name);
		print_value(&keys[i], (const char *)target + keys[i].offset, out);
		fputc('\n', out);
	}
}
