/*
 * ampmon/lists.c - the text lists of a policy (see lists.h).
 *
 * Bytes are taken as they come: a path need not be UTF-8. User names are
 * looked up in /etc/passwd itself, not by NSS: a policy is also loaded while
 * the suite runs, when no look-up may wait for a server.
 */
#include "ampmon/lists.h"

#include "ampmon/keys.h"
#include "sha256.h"
#include "text.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A piece of the file: not NUL-terminated. */
struct piece {
	const char *at;
	size_t n;
};

struct parser {
	struct mon_list *list;
	const char *file;
	Amp__PolicyEntry__Kind kind; /* of the file */
	mon_list_user *user;
	uint32_t line;
};

/* A line's parser: fills *e (text not owned yet, in *text). NULL, or "what; remedy". */
typedef const char *line_parser(struct parser *p, struct piece rest, struct mon_entry *e, struct piece *text);

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static struct piece trim(struct piece p)
{
	while (p.n > 0 && blank(p.at[0]))
		p = (struct piece){p.at + 1, p.n - 1};
	while (p.n > 0 && blank(p.at[p.n - 1]))
		p.n--;
	return p;
}

/* '#' begins a comment at the line's start or after a blank: it may stand in a file's name. */
static struct piece cut_comment(struct piece p)
{
	for (size_t i = 0; i < p.n; i++)
		if (p.at[i] == '#' && (i == 0 || blank(p.at[i - 1])))
			p.n = i;
	return p;
}

/* The first word; the rest stays in *p. */
static struct piece take_word(struct piece *p)
{
	struct piece word = {p->at, 0};

	while (word.n < p->n && !blank(word.at[word.n]))
		word.n++;
	*p = trim((struct piece){p->at + word.n, p->n - word.n});
	return word;
}

static bool is_word(struct piece p, const char *word)
{
	return p.n == strlen(word) && memcmp(p.at, word, p.n) == 0;
}

static bool component_is(struct piece c, const char *name)
{
	return is_word(c, name);
}

/* Absolute, in its one true spelling: what events are compared with. */
static const char *check_path(struct piece p)
{
	size_t start = 1;

	if (p.n == 0)
		return "has no path; write one that begins with /";
	if (p.at[0] != '/')
		return "is not absolute; begin the path with /";
	if (p.n > MON_LIST_TEXT_MAX)
		return "is too long; at most 32768 bytes";
	if (p.n == 1)
		return "excludes everything; name a directory, or use a policy of mode audit";
	for (size_t i = 1; i <= p.n; i++) {
		struct piece c = {p.at + start, i - start};

		if (i < p.n && p.at[i] != '/')
			continue;
		if (c.n == 0)
			return "has an empty component; write single slashes";
		if (component_is(c, ".") || component_is(c, ".."))
			return "has a . or .. component; write the path without";
		start = i + 1;
	}
	return NULL;
}

static struct piece without_slash(struct piece p)
{
	if (p.n > 1 && p.at[p.n - 1] == '/')
		p.n--;
	return p;
}

static const char *parse_path(struct parser *p, struct piece rest, struct mon_entry *e, struct piece *text)
{
	(void)p;
	e->kind = AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH;
	*text = without_slash(rest);
	return check_path(*text);
}

static const char *parse_wildcard(struct parser *p, struct piece rest, struct mon_entry *e,
				  struct piece *text)
{
	(void)p;
	e->kind = AMP__POLICY_ENTRY__KIND__EXCLUDE_WILDCARD;
	*text = without_slash(rest);
	return check_path(*text);
}

static const char *parse_extension(struct parser *p, struct piece rest, struct mon_entry *e,
				   struct piece *text)
{
	(void)p;
	e->kind = AMP__POLICY_ENTRY__KIND__EXCLUDE_EXTENSION;
	if (rest.n > 0 && rest.at[0] == '.')
		rest = (struct piece){rest.at + 1, rest.n - 1};
	*text = rest;
	if (rest.n == 0)
		return "has no extension; write one such as log";
	if (rest.n > MON_LIST_NAME_MAX || memchr(rest.at, '/', rest.n))
		return "is no extension; write what stands behind the name's dot, such as log";
	return NULL;
}

/* Where " user X" at the end begins; p.n if it is not there. */
static size_t find_user(struct piece p, struct piece *name)
{
	size_t end = p.n, start;

	while (end > 0 && !blank(p.at[end - 1]))
		end--;
	*name = (struct piece){p.at + end, p.n - end};
	start = trim((struct piece){p.at, end}).n;
	if (start < 6 || memcmp(p.at + start - 4, "user", 4) != 0 || !blank(p.at[start - 5]))
		return p.n;
	return start - 5;
}

static const char *parse_process(struct parser *p, struct piece rest, struct mon_entry *e, struct piece *text)
{
	struct piece name;
	size_t at = find_user(rest, &name);
	char user[64];

	e->kind = AMP__POLICY_ENTRY__KIND__EXCLUDE_PROCESS;
	if (at < rest.n) {
		if (name.n >= sizeof(user))
			return "has a user name that is too long; write the number of the user";
		memcpy(user, name.at, name.n);
		user[name.n] = '\0';
		if (p->user(user, &e->uid) < 0)
			return "names a user that is not in /etc/passwd; write the number of the user";
		e->has_uid = true;
		rest = trim((struct piece){rest.at, at});
	}
	*text = rest;
	if (rest.n > 0 && rest.at[rest.n - 1] == '/')
		return "is a directory; name a program's file";
	return check_path(rest);
}

static const struct {
	const char *word;
	line_parser *parse;
} exclusions[] = {
	{"path", parse_path},
	{"wildcard", parse_wildcard},
	{"extension", parse_extension},
	{"process", parse_process},
};

static const char *parse_exclusion(struct parser *p, struct piece rest, struct mon_entry *e,
				   struct piece *text)
{
	struct piece word = take_word(&rest);

	for (size_t i = 0; i < sizeof(exclusions) / sizeof(exclusions[0]); i++)
		if (is_word(word, exclusions[i].word))
			return exclusions[i].parse(p, rest, e, text);
	return "is no exclusion; begin the line with path, wildcard, extension or process";
}

static const char *parse_hash(struct parser *p, struct piece rest, struct mon_entry *e, struct piece *text)
{
	struct piece word = take_word(&rest);
	char hex[AMP_SHA256_HEX];

	e->kind = p->kind;
	*text = rest;
	if (word.n != AMP_SHA256_HEX - 1)
		return "is no SHA-256; write its 64 hex digits, then the detection's name";
	memcpy(hex, word.at, word.n);
	hex[word.n] = '\0';
	if (amp_sha256_parse(hex, e->sha256) < 0)
		return "is no SHA-256; write its 64 hex digits, then the detection's name";
	if (rest.n > MON_LIST_NAME_MAX)
		return "has a name that is too long; at most 255 bytes";
	if (!amp_text_is_utf8(rest.at, rest.n))
		return "has a name that is not UTF-8; correct or remove it";
	return NULL;
}

static const char *parse_line(struct parser *p, struct piece line, struct mon_entry *e, struct piece *text)
{
	if (memchr(line.at, '\0', line.n))
		return "has a NUL byte; write a text file";
	if (p->list->count >= MON_LIST_ENTRIES_MAX)
		return "is one entry too many; a policy has at most 1048576";
	if (p->kind == AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH)
		return parse_exclusion(p, line, e, text);
	return parse_hash(p, line, e, text);
}

static int add_entry(struct mon_list *l, struct mon_entry e, struct piece text)
{
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct mon_entry *bigger = reallocarray(l->entries, room, sizeof(*bigger));

		if (!bigger)
			return -1;
		l->entries = bigger;
		l->room = room;
	}
	if (text.n > 0) {
		e.text = malloc(text.n + 1);
		if (!e.text)
			return -1;
		memcpy(e.text, text.at, text.n);
		e.text[text.n] = '\0';
		e.text_length = (uint32_t)text.n;
	}
	l->entries[l->count++] = e;
	return 0;
}

static int append_problem(struct mon_list *l, char *text)
{
	char **bigger = text ? reallocarray(l->problems, l->problem_count + 2, sizeof(*bigger)) : NULL;

	if (!bigger) {
		free(text);
		errno = ENOMEM;
		return -1;
	}
	l->problems = bigger;
	bigger[l->problem_count++] = text;
	bigger[l->problem_count] = NULL;
	return 0;
}

int mon_list_problem(struct mon_list *l, const char *file, uint32_t line, const char *what)
{
	char *text = NULL;

	if (l->problem_count >= MON_LIST_PROBLEMS_MAX) {
		l->problems_more++;
		return 0;
	}
	if (line > 0 ? asprintf(&text, "%s:%u: %s", file, line, what) < 0
		     : asprintf(&text, "%s: %s", file, what) < 0)
		text = NULL;
	return append_problem(l, text);
}

int mon_list_finish(struct mon_list *l)
{
	char *text = NULL;

	if (l->problems_more == 0)
		return l->problems ? 0 : ((l->problems = calloc(1, sizeof(char *))) ? 0 : -1);
	if (asprintf(&text, "and %zu more", l->problems_more) < 0)
		text = NULL;
	l->problems_more = 0;
	return append_problem(l, text);
}

static int take_line(struct parser *p, struct piece line)
{
	struct mon_entry e = {.line = p->line};
	struct piece text = {NULL, 0};
	const char *why;
	char shown[64], what[256];

	line = trim(cut_comment(line));
	if (line.n == 0)
		return 0;
	why = parse_line(p, line, &e, &text);
	if (!why)
		return add_entry(p->list, e, text);
	amp_text_escape(line.at, line.n < 40 ? line.n : 40, shown, sizeof(shown));
	snprintf(what, sizeof(what), "\"%s%s\" %s", shown, line.n > 40 ? "..." : "", why);
	return mon_list_problem(p->list, p->file, p->line, what);
}

/* Plain digits, or a name of /etc/passwd. */
static int local_user(const char *name, uint32_t *uid)
{
	char *end = NULL;
	unsigned long long number = strtoull(name, &end, 10);
	struct passwd *pw;
	int rc = -1;
	FILE *f;

	if (name[0] >= '0' && name[0] <= '9' && *end == '\0') {
		*uid = (uint32_t)number;
		return number < UINT32_MAX ? 0 : -1;
	}
	f = fopen("/etc/passwd", "re");
	while (f && rc < 0 && (pw = fgetpwent(f))) {
		if (strcmp(pw->pw_name, name) == 0) {
			*uid = pw->pw_uid;
			rc = 0;
		}
	}
	if (f)
		fclose(f);
	return rc;
}

int mon_list_parse(struct mon_list *l, const char *file, Amp__PolicyEntry__Kind kind, const char *text,
		   size_t length, mon_list_user *user)
{
	struct parser p = {.list = l, .file = file, .kind = kind, .user = user ? user : local_user};

	while (length > 0) {
		const char *end = memchr(text, '\n', length);
		size_t n = end ? (size_t)(end - text) : length;

		p.line++;
		if (take_line(&p, (struct piece){text, n}) < 0) {
			errno = ENOMEM;
			return -1;
		}
		n += end ? 1 : 0;
		text += n;
		length -= n;
	}
	return 0;
}

int mon_list_read(struct mon_list *l, const char *path, const char *name, Amp__PolicyEntry__Kind kind)
{
	size_t length, prefix = strlen(path);
	char err[512], *text = mon_read_safe(path, MON_LIST_FILE_MAX, &length, err, sizeof(err));
	int rc;

	/* The problem names the file in short, as those of its lines do. */
	if (!text && strncmp(err, path, prefix) == 0 && strncmp(err + prefix, ": ", 2) == 0)
		return mon_list_problem(l, name, 0, err + prefix + 2);
	if (!text)
		return mon_list_problem(l, name, 0, err);
	rc = mon_list_parse(l, name, kind, text, length, NULL);
	free(text);
	return rc;
}

void mon_list_free(struct mon_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->entries[i].text);
	for (size_t i = 0; i < l->problem_count; i++)
		free(l->problems[i]);
	free(l->entries);
	free(l->problems);
	*l = (struct mon_list){0};
}
