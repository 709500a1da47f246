/*
 * ampcli/cmd_history.c - history: pages of events.db, newest first. They are
 * printed as they come: the whole may be a million rows.
 */
#include "cli.h"
#include "out.h"
#include "proto/types.h"

#include <string.h>

#define DEFAULT_LIMIT 50

/* A process that had gone when it was looked at is known by its pid alone. */
static json_object *json_process(const Amp__Process *p)
{
	json_object *o;

	if (!p || (!p->known && p->pid <= 0))
		return NULL;
	o = json_object_new_object();
	json_object_object_add(o, "pid", json_object_new_int(p->pid));
	if (p->known) {
		out_json_number(o, "uid", p->uid);
		out_json_bytes(o, "exe", &p->exe);
	}
	out_json_bool(o, "known", p->known);
	return o;
}

static json_object *json_entry(const Amp__CliHistoryEntry *e)
{
	json_object *o = json_object_new_object();

	out_json_text(o, "id", e->id);
	out_json_time(o, "time", e->time_ns);
	out_json_text(o, "type", e->type);
	out_json_text(o, "detection_id", e->detection_id);
	out_json_text(o, "detection", e->detection);
	out_json_bytes(o, "path", &e->path);
	out_json_bool(o, "path_unresolved", e->path_unresolved);
	out_json_hex(o, "sha256", &e->sha256);
	json_object_object_add(o, "process", json_process(e->process));
	out_json_text(o, "mode", e->mode);
	out_json_text(o, "cause", e->cause);
	out_json_text(o, "detail", e->detail);
	out_json_number(o, "severity", e->severity);
	out_json_number(o, "size", e->size);
	return o;
}

static void text_line(FILE *f, const char *label, const char *text)
{
	if (!text[0])
		return;
	fprintf(f, "    %s: ", label);
	out_text(f, text);
	fputc('\n', f);
}

static void text_file(FILE *f, const Amp__CliHistoryEntry *e)
{
	if (e->path.len > 0 || e->path_unresolved) {
		fputs("    path: ", f);
		out_bytes(f, &e->path);
		fputs(e->path_unresolved ? " (unresolved)\n" : "\n", f);
	}
	if (e->sha256.len == 0)
		return;
	fputs("    sha256: ", f);
	out_hex(f, e->sha256.data, e->sha256.len);
	fprintf(f, ", %llu bytes\n", (unsigned long long)e->size);
}

static void text_process(FILE *f, const Amp__Process *p)
{
	if (!p || p->pid <= 0)
		return;
	if (!p->known) {
		fprintf(f, "    process: %d, gone before it was looked at\n", p->pid);
		return;
	}
	fprintf(f, "    process: %d, uid %u, ", p->pid, p->uid);
	out_bytes(f, &p->exe);
	fputc('\n', f);
}

static void text_entry(FILE *f, const Amp__CliHistoryEntry *e)
{
	out_time(f, e->time_ns);
	fputs("  ", f);
	out_text(f, e->type);
	if (e->detection[0]) {
		fputs("  ", f);
		out_text(f, e->detection);
	}
	fputc('\n', f);
	text_line(f, "id", e->id);
	/* What joins events of several services; where the id does not begin with it already. */
	if (strncmp(e->id, e->detection_id, strlen(e->detection_id)) != 0)
		text_line(f, "detection id", e->detection_id);
	text_file(f, e);
	text_process(f, e->process);
	text_line(f, "mode", e->mode);
	text_line(f, "cause", e->cause);
	text_line(f, "detail", e->detail);
}

static void print_entry(struct cli *cli, const Amp__CliHistoryEntry *e, bool first)
{
	if (cli->json)
		out_json_item(cli->out, json_entry(e), first);
	else
		text_entry(cli->out, e);
}

static bool page_sound(const Amp__CliHistoryReply *r, const Amp__CliHistory *ask)
{
	if (r->n_entries > AMP_HISTORY_BATCH)
		return false;
	/* A page that does not lead further down would never end. */
	return !r->more ||
	       (r->n_entries > 0 && r->next_before > 0 && (ask->before == 0 || r->next_before < ask->before));
}

/* Prints a page. True: there is another to ask for. */
static bool take_page(struct cli *cli, const Amp__CliHistoryReply *r, Amp__CliHistory *ask, uint64_t *shown)
{
	for (size_t i = 0; i < r->n_entries && (cli->limit == 0 || *shown < cli->limit); i++)
		print_entry(cli, r->entries[i], (*shown)++ == 0);
	ask->before = r->next_before;
	return r->more && (cli->limit == 0 || *shown < cli->limit);
}

static uint32_t page_size(const struct cli *cli, uint64_t shown)
{
	uint64_t left = cli->limit - shown;

	return cli->limit == 0 || left > AMP_HISTORY_BATCH ? AMP_HISTORY_BATCH : (uint32_t)left;
}

static void print_pages(struct cli *cli, struct client *c, uint64_t *shown, bool *failed)
{
	Amp__CliHistory ask = AMP__CLI_HISTORY__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_HISTORY,
		.body = &ask.base,
		.reply_type = AMP_MSG_CLI_HISTORY_REPLY,
		.reply = &amp__cli_history_reply__descriptor,
	};
	const Amp__CliHistoryReply *r;
	enum client_outcome outcome;

	ask.type = (char *)(uintptr_t)(cli->type ? cli->type : "");
	ask.detection_id = (char *)(uintptr_t)(cli->detection ? cli->detection : "");
	ask.since_ns = cli->since_ns;
	do {
		ask.limit = page_size(cli, *shown);
		outcome = client_ask(c, &request);
		if (outcome != CLIENT_OK) {
			cli_failed(cli, c, outcome, *shown == 0);
			*failed = true;
			return;
		}
		r = (const Amp__CliHistoryReply *)client_reply(c, 0);
		if (!page_sound(r, &ask)) {
			cli_error(cli, *shown == 0, "ampcloudd: a page of its history is not sound");
			*failed = true;
			return;
		}
	} while (take_page(cli, r, &ask, shown));
}

void cmd_history(struct cli *cli)
{
	struct client *c = client_new(cli->run_dir, "ampcloudd");
	uint64_t shown = 0;
	bool failed = false;

	if (!c) {
		cli_error(cli, true, "out of memory");
		return;
	}
	if (!cli->has_limit)
		cli->limit = DEFAULT_LIMIT;
	print_pages(cli, c, &shown, &failed);
	if (cli->json && (shown > 0 || !failed))
		out_json_end(cli->out, shown == 0);
	else if (!cli->json && shown == 0 && !failed)
		fputs("No events.\n", cli->out);
	client_free(c);
}
