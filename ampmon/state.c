/*
 * ampmon/state.c - etc/ampmon.state: what ampmon remembers over a restart.
 * Owns: the file's form (key=value, each key exactly once), its safe
 * replacement, the making of a host id. Must not own: what the values mean.
 */
#include "ampmon/keys.h"
#include "ampmon/mon.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME	 "ampmon.state"
#define TMP_NAME "ampmon.state.tmp"
#define TEXT_MAX 4096

/* ---- values ---- */

static int take_host_id(const char *v, struct mon_state *s)
{
	if (strlen(v) != 36)
		return -1;
	for (size_t i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? v[i] != '-' : !strchr("0123456789abcdef", v[i]))
			return -1;
	}
	memcpy(s->host_id, v, 37);
	return 0;
}

static int take_policy(const char *v, struct mon_state *s)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	size_t n = strlen(v);

	if (n >= sizeof(s->policy) || strspn(v, allowed) != n)
		return -1;
	memcpy(s->policy, v, n + 1);
	return 0;
}

/* Decimal digits only, at most max. */
static int number(const char *v, uint64_t max, uint64_t *out)
{
	uint64_t n = 0;

	if (!*v)
		return -1;
	for (; *v; v++) {
		uint64_t digit = (uint64_t)(*v - '0');

		if (*v < '0' || *v > '9' || digit > max || n > (max - digit) / 10)
			return -1;
		n = n * 10 + digit;
	}
	*out = n;
	return 0;
}

static int take_epoch(const char *v, struct mon_state *s)
{
	return number(v, UINT64_MAX, &s->epoch);
}

static int take_good(const char *v, struct mon_state *s)
{
	uint64_t n;

	if (number(v, INT64_MAX, &n) < 0)
		return -1;
	s->good_ns = (int64_t)n;
	return 0;
}

static int take_unrecorded(const char *v, struct mon_state *s)
{
	uint64_t n;

	if (number(v, 1, &n) < 0)
		return -1;
	s->change_unrecorded = n != 0;
	return 0;
}

static int take_detail(const char *v, struct mon_state *s)
{
	size_t n = strlen(v);

	if (n >= sizeof(s->change_detail))
		return -1;
	memcpy(s->change_detail, v, n + 1);
	return 0;
}

static const struct {
	const char *key;
	int (*take)(const char *value, struct mon_state *s);
} keys[] = {
	{"host_id", take_host_id},
	{"policy", take_policy},
	{"epoch", take_epoch},
	{"good_ns", take_good},
	{"change_unrecorded", take_unrecorded},
	{"change_detail", take_detail},
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

/* Index of the key, or -1. */
static int take_line(char *line, struct mon_state *s)
{
	char *value = strchr(line, '=');

	if (!value)
		return -1;
	*value++ = 0;
	for (size_t i = 0; i < KEYS; i++)
		if (strcmp(keys[i].key, line) == 0)
			return keys[i].take(value, s) < 0 ? -1 : (int)i;
	return -1;
}

/* 0, or the number of the line that is wrong (one after the last: something is missing). */
static unsigned parse(char *text, size_t size, struct mon_state *s)
{
	unsigned had = 0, line = 1;
	char *rest = text, *l;

	if (strlen(text) != size || !size || text[size - 1] != '\n')
		return 1;
	text[size - 1] = 0;
	for (; (l = strsep(&rest, "\n")); line++) {
		int i;

		if (*l == '#')
			continue;
		i = take_line(l, s);
		if (i < 0 || had & 1U << i)
			return line;
		had |= 1U << i;
	}
	return had == (1U << KEYS) - 1 ? 0 : line;
}

/* ---- the file ---- */

static int open_dir(const struct mon_conf *c)
{
	return open(c->etc_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Nobody else may have written it. */
static bool trusted(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) &&
	       st.st_size < TEXT_MAX;
}

static int fresh_host_id(struct mon_state *s)
{
	uint8_t b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return -1;
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 9562: version 4 */
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	snprintf(s->host_id, sizeof(s->host_id),
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
		 b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
	return 0;
}

static int start_afresh(struct mon_state *s, bool *fresh, char *err, size_t size)
{
	memset(s, 0, sizeof(*s));
	*fresh = true;
	if (fresh_host_id(s) == 0)
		return 0;
	snprintf(err, size, "no random numbers for a host id: %s", strerror(errno));
	return -1;
}

/* A clock that was set back must not make a repair skip what happened since. */
static void check_good_moment(struct mon_state *s)
{
	if (s->good_ns <= amp_clock_realtime())
		return;
	amp_warn("the last good moment lies in the future: everything will be looked through");
	s->good_ns = 0;
}

static int load_from(const struct mon_conf *c, int fd, struct mon_state *s, bool *fresh, char *err,
		     size_t size)
{
	char text[TEXT_MAX + 1];
	ssize_t n = -1;
	unsigned line = 0;

	memset(s, 0, sizeof(*s));
	if (trusted(fd))
		n = mon_read_all(fd, text, TEXT_MAX);
	if (n >= 0) {
		text[n] = 0;
		line = parse(text, (size_t)n, s);
	}
	if (n >= 0 && line == 0) {
		check_good_moment(s);
		return 0;
	}
	if (n < 0)
		amp_error("%s/%s is not a readable file of root's alone: a new one is begun", c->etc_dir,
			  NAME);
	else
		amp_error("%s/%s:%u: broken; a new one is begun", c->etc_dir, NAME, line);
	return start_afresh(s, fresh, err, size);
}

int mon_state_load(const struct mon_conf *c, struct mon_state *s, bool *fresh, char *err, size_t size)
{
	int dir = open_dir(c), fd, rc, saved;

	*fresh = false;
	memset(s, 0, sizeof(*s));
	if (dir < 0) {
		snprintf(err, size, "%s: %s", c->etc_dir, strerror(errno));
		return -1;
	}
	fd = openat(dir, NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	saved = errno;
	close(dir);
	if (fd >= 0) {
		rc = load_from(c, fd, s, fresh, err, size);
		close(fd);
		return rc;
	}
	if (saved != ENOENT && saved != ELOOP) {
		snprintf(err, size, "%s/%s: %s", c->etc_dir, NAME, strerror(saved));
		return -1;
	}
	if (saved == ELOOP)
		amp_error("%s/%s is a symbolic link: a new file is begun", c->etc_dir, NAME);
	return start_afresh(s, fresh, err, size);
}

static size_t format(const struct mon_state *s, char *text, size_t size)
{
	char detail[sizeof(s->change_detail)];
	int n;

	snprintf(detail, sizeof(detail), "%s", s->change_detail);
	for (char *p = detail; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	n = snprintf(
		text, size,
		"# Written by ampmon.\n"
		"host_id=%s\npolicy=%s\nepoch=%llu\ngood_ns=%lld\nchange_unrecorded=%d\nchange_detail=%s\n",
		s->host_id, s->policy, (unsigned long long)s->epoch,
		(long long)(s->good_ns > 0 ? s->good_ns : 0), s->change_unrecorded ? 1 : 0, detail);
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

int mon_state_store(const struct mon_conf *c, const struct mon_state *s)
{
	char text[TEXT_MAX];
	size_t n = format(s, text, sizeof(text));
	int dir = open_dir(c), rc = -1, saved;

	if (dir < 0 || !n) {
		saved = dir < 0 ? errno : EINVAL;
	} else {
		rc = mon_file_replace(dir, TMP_NAME, NAME, text, n);
		saved = errno;
	}
	if (dir >= 0)
		close(dir);
	if (rc < 0)
		amp_error("%s/%s cannot be written: %s", c->etc_dir, NAME, strerror(saved));
	errno = saved;
	return rc;
}
