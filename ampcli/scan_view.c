/*
 * ampcli/scan_view.c - a scan on demand as ampscand tells of it (see scan_view.h).
 */
#include "scan_view.h"

#include "cli.h"
#include "clock.h"
#include "out.h"
#include "proto/types.h"
#include "vault_entry.h"

#include <string.h>

#define KINDS_MAX 64   /* of files counted */
#define FILES_MAX 4096 /* in a page */

enum end { LASTING, DONE, BROKEN_OFF };

/* Every state there is. */
static const struct {
	const char *name;
	enum end end;
} states[] = {
	{"waiting", LASTING}, {"running", LASTING},    {"paused", LASTING},
	{"done", DONE},	      {"stopped", BROKEN_OFF}, {"failed", BROKEN_OFF},
};

/* Kinds of files that say: not judged, and not because of the policy's limits. */
static const char *const unjudged[] = {"unreadable", "unscannable", "not-judged", "too-deep"};

/* Its index in states, or -1. */
static int state_of(const Amp__CliScan *s)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(s->state, states[i].name) == 0)
			return (int)i;
	return -1;
}

static bool path_sound(const ProtobufCBinaryData *path)
{
	return path->len > 0 && vault_path_sound(path);
}

bool scan_sound(const Amp__CliScan *s)
{
	if (s->id == 0 || state_of(s) < 0 || s->n_paths > AMP_SCAN_PATHS || s->n_counts > KINDS_MAX)
		return false;
	if (s->started_ns < 0 || s->ended_ns < 0 || s->worked_ns < 0)
		return false;
	for (size_t i = 0; i < s->n_paths; i++)
		if (!path_sound(&s->paths[i]))
			return false;
	return vault_path_sound(&s->at);
}

bool scan_files_sound(const Amp__CliScanFilesReply *r, uint64_t after)
{
	if (r->n_files > FILES_MAX || (r->more && r->n_files == 0))
		return false;
	for (size_t i = 0; i < r->n_files; i++) {
		if (r->files[i]->number <= after || !vault_path_sound(&r->files[i]->path))
			return false;
		after = r->files[i]->number;
	}
	return true;
}

bool scan_is_over(const Amp__CliScan *s)
{
	int state = state_of(s);

	return state >= 0 && states[state].end != LASTING;
}

uint64_t scan_unjudged(const Amp__CliScan *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->n_counts; i++)
		for (size_t k = 0; k < sizeof(unjudged) / sizeof(unjudged[0]); k++)
			if (strcmp(s->counts[i]->kind, unjudged[k]) == 0)
				n += s->counts[i]->count;
	return n;
}

int scan_exit(const Amp__CliScan *s)
{
	int state = state_of(s);

	if (s->threats > 0)
		return CLI_EXIT_THREATS;
	return state < 0 || states[state].end == BROKEN_OFF || scan_unjudged(s) > 0 ? CLI_EXIT_ERROR
										    : CLI_EXIT_DONE;
}

json_object *scan_json(const Amp__CliScan *s)
{
	json_object *o = json_object_new_object(), *counts = json_object_new_object();

	out_json_number(o, "id", s->id);
	out_json_text(o, "kind", s->kind);
	out_json_text(o, "state", s->state);
	out_json_bytes_list(o, "paths", s->paths, s->n_paths);
	out_json_bool(o, "one_file_system", s->one_file_system);
	out_json_bool(o, "scheduled", s->scheduled);
	out_json_time(o, "started", s->started_ns);
	out_json_time(o, "ended", s->ended_ns);
	json_object_object_add(o, "seconds",
			       json_object_new_double((double)s->worked_ns / (double)AMP_NS_PER_SEC));
	out_json_number(o, "files", s->files);
	out_json_number(o, "bytes", s->bytes);
	out_json_number(o, "threats", s->threats);
	out_json_number(o, "cached", s->cached);
	out_json_number(o, "expected", s->expected);
	for (size_t i = 0; i < s->n_counts; i++)
		out_json_number(counts, s->counts[i]->kind, s->counts[i]->count);
	json_object_object_add(o, "counts", counts);
	if (s->at.len)
		out_json_bytes(o, "at", &s->at);
	if (s->error[0])
		out_json_text(o, "error", s->error);
	return o;
}

json_object *scan_file_json(const Amp__CliScanFile *f)
{
	json_object *o = json_object_new_object();

	out_json_text(o, "kind", f->kind);
	out_json_bytes(o, "path", &f->path);
	out_json_text(o, "detail", f->detail);
	return o;
}

const char *scan_span(int64_t ns, char *buf, size_t size)
{
	int64_t s = ns / AMP_NS_PER_SEC;
	int tenth = (int)(ns % AMP_NS_PER_SEC / (AMP_NS_PER_SEC / 10));

	if (s < 10)
		snprintf(buf, size, "%d.%ds", (int)s, tenth);
	else if (s < 60)
		snprintf(buf, size, "%ds", (int)s);
	else if (s < 3600)
		snprintf(buf, size, "%dm%02ds", (int)(s / 60), (int)(s % 60));
	else
		snprintf(buf, size, "%lldh%02dm", (long long)(s / 3600), (int)(s / 60 % 60));
	return buf;
}

const char *scan_bytes(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double n = (double)bytes / 1024;
	size_t i = 0;

	if (bytes < 1024) {
		snprintf(buf, size, "%u B", (unsigned)bytes);
		return buf;
	}
	for (; n >= 1024 && i + 1 < sizeof(units) / sizeof(units[0]); i++)
		n /= 1024;
	snprintf(buf, size, "%.1f %s", n, units[i]);
	return buf;
}

void scan_table_head(FILE *f)
{
	fprintf(f, "%-6s  %-6s  %-8s  %-24s  %12s  %8s  %s\n", "ID", "KIND", "STATE", "STARTED", "FILES",
		"THREATS", "PATHS");
}

static void print_paths(FILE *f, const Amp__CliScan *s, const char *between)
{
	for (size_t i = 0; i < s->n_paths; i++) {
		if (i > 0)
			fputs(between, f);
		out_bytes(f, &s->paths[i]);
	}
}

void scan_table_row(FILE *f, const Amp__CliScan *s)
{
	char n[32];

	fprintf(f, "%-6llu  ", (unsigned long long)s->id);
	out_padded(f, s->kind, 6);
	fputs("  ", f);
	out_padded(f, s->state, 8);
	fputs("  ", f);
	if (s->started_ns)
		out_time(f, s->started_ns);
	else
		fprintf(f, "%-24s", "-");
	fprintf(f, "  %12s  %8llu  ", out_number(s->files, n, sizeof(n)), (unsigned long long)s->threats);
	print_paths(f, s, " ");
	if (s->scheduled)
		fputs(s->n_paths ? " (scheduled)" : "(scheduled)", f);
	fputc('\n', f);
}

static void text_line(FILE *f, const char *label, const char *text)
{
	fprintf(f, "%s: ", label);
	out_text(f, text);
	fputc('\n', f);
}

static void time_line(FILE *f, const char *label, int64_t ns)
{
	fprintf(f, "%s: ", label);
	out_time(f, ns);
	fputc('\n', f);
}

static void text_counts(FILE *f, const Amp__CliScan *s)
{
	char n[32];

	for (size_t i = 0; i < s->n_counts; i++) {
		fputs("  ", f);
		out_padded(f, s->counts[i]->kind, 16);
		fprintf(f, " %12s\n", out_number(s->counts[i]->count, n, sizeof(n)));
	}
}

void scan_text(FILE *f, const Amp__CliScan *s)
{
	char a[32], b[32];

	fprintf(f, "Scan: %llu (", (unsigned long long)s->id);
	out_text(f, s->kind);
	fputs(s->scheduled ? ", scheduled)\n" : ")\n", f);
	text_line(f, "State", s->state);
	if (s->error[0])
		text_line(f, "Error", s->error);
	if (s->n_paths) {
		fputs("Paths: ", f);
		print_paths(f, s, "\n       ");
		fputc('\n', f);
	}
	if (s->one_file_system)
		fputs("One file system: yes\n", f);
	time_line(f, "Started", s->started_ns);
	time_line(f, "Ended", s->ended_ns);
	fprintf(f, "Worked: %s\n", scan_span(s->worked_ns, a, sizeof(a)));
	fprintf(f, "Files: %s", out_number(s->files, a, sizeof(a)));
	if (s->expected)
		fprintf(f, " of about %s", out_number(s->expected, b, sizeof(b)));
	fprintf(f, ", %s of them known and unchanged\n", out_number(s->cached, a, sizeof(a)));
	fprintf(f, "Bytes: %s\n", scan_bytes(s->bytes, a, sizeof(a)));
	fprintf(f, "Threats: %llu\n", (unsigned long long)s->threats);
	if (s->at.len) {
		fputs("At: ", f);
		out_bytes(f, &s->at);
		fputc('\n', f);
	}
	if (s->n_counts)
		fputs("Kinds:\n", f);
	text_counts(f, s);
}

void scan_summary(FILE *f, const Amp__CliScan *s)
{
	char files[48], bytes[32], span[32], threats[48];

	fprintf(f, "Scan %llu ", (unsigned long long)s->id);
	out_text(f, s->state);
	if (s->error[0]) {
		fputs(" (", f);
		out_text(f, s->error);
		fputc(')', f);
	}
	fprintf(f, ": %s, %s in %s, %s\n", out_count(s->files, "file", files, sizeof(files)),
		scan_bytes(s->bytes, bytes, sizeof(bytes)), scan_span(s->worked_ns, span, sizeof(span)),
		out_count(s->threats, "threat", threats, sizeof(threats)));
	text_counts(f, s);
}

void scan_file_text(FILE *f, const Amp__CliScanFile *file)
{
	fputs("  ", f);
	out_padded(f, file->kind, 12);
	fputs("  ", f);
	if (file->path.len)
		out_bytes(f, &file->path);
	else
		fputs("(its name is not known)", f);
	if (file->detail[0]) {
		fputs("  ", f);
		out_text(f, file->detail);
	}
	fputc('\n', f);
}

bool scan_file_is_threat(const Amp__CliScanFile *file)
{
	return strcmp(file->kind, "threat") == 0;
}
