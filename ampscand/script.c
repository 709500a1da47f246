/*
 * ampscand/script.c - see script.h.
 *
 * An exec of a script raises an event for the script, then one for its
 * interpreter (if that is on a watched file system), and the process's program
 * is the interpreter. A caller whose exec failed keeps its own program and must
 * live. So the process is the script's if its program is (by inode and times)
 * one that was executed by it right after the script, or the one the script's
 * first line names; for env(1) the one env would find.
 *
 * Here a process is a pid, and by now that may be another's: ampmon signals none
 * that started after the event's was seen. So the trail needs no more than the
 * pid, either: the script's own event begins it, and who came later is spared.
 */
#include "script.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define TRAIL_MAX 6

static const char *const env_path[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
				       "/usr/bin",	  "/sbin",	    "/bin"};

static bool same_program(const struct amp_identity *a, const struct amp_identity *b)
{
	/* st_dev differs when the program is seen through an overlay. */
	return a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
	       a->ctime_ns == b->ctime_ns;
}

static bool executed_after(struct scand *s, pid_t pid, const struct amp_fileid *script,
			   const struct amp_identity *now)
{
	struct amp_fileid ids[TRAIL_MAX];
	size_t n = intake_trail(s, pid, script, ids, TRAIL_MAX);

	for (size_t i = 0; i < n; i++) {
		const struct verdict *v = verdicts_find(&s->verdicts, &ids[i]);

		if (v && same_program(&v->identity, now))
			return true;
	}
	return false;
}

static bool is_at(const char *path, const struct amp_identity *now)
{
	struct amp_identity id;

	return amp_statx_identity(AT_FDCWD, path, 0, &id) == 0 && same_program(&id, now);
}

/* The n-th word of the line, skipping env's own options and assignments. */
static bool word(const char *line, size_t size, unsigned n, char *out, size_t out_size)
{
	size_t at = 0;

	for (unsigned i = 0;; i++) {
		size_t start, len;

		while (at < size && (line[at] == ' ' || line[at] == '\t'))
			at++;
		start = at;
		while (at < size && line[at] != ' ' && line[at] != '\t' && line[at] != '\n' &&
		       line[at] != '\0')
			at++;
		len = at - start;
		if (len == 0 || len >= out_size)
			return false;
		memcpy(out, line + start, len);
		out[len] = '\0';
		if (i > 0 && (out[0] == '-' || strchr(out, '=')))
			n++;
		if (i == n)
			return true;
	}
}

static bool named_by_line(const char *line, size_t size, const struct amp_identity *now)
{
	char first[256], second[256], path[512];
	const char *base;

	if (!line || !word(line, size, 0, first, sizeof(first)) || first[0] != '/')
		return false;
	if (is_at(first, now))
		return true;
	base = strrchr(first, '/') + 1;
	if (strcmp(base, "env") != 0 || !word(line, size, 1, second, sizeof(second)))
		return false;
	if (second[0] == '/')
		return is_at(second, now);
	for (size_t i = 0; i < sizeof(env_path) / sizeof(env_path[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", env_path[i], second);
		if (is_at(path, now))
			return true;
	}
	return false;
}

enum script_answer script_interpreter(struct scand *s, pid_t pid, const struct amp_fileid *script,
				      const char *line, size_t line_size, struct amp_identity *identity)
{
	if (who_program_identity(s->who, pid, identity) != 0)
		return SCRIPT_GONE;
	if (executed_after(s, pid, script, identity) || named_by_line(line, line_size, identity))
		return SCRIPT_RUNS;
	return SCRIPT_NOT_YET;
}
