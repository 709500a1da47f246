/*
 * ampcli/cmd_scan.c - scan: on demand, what is already on disk. Must not own:
 * the form of a scan (scan_view.h), waiting (scan_wait.h).
 */
#include "cli.h"
#include "out.h"
#include "proto/types.h"
#include "scan_view.h"
#include "scan_wait.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE "ampscand"

/* The number in the argument. False: it is none, and it was said. */
static bool scan_id(struct cli *cli, uint64_t *id)
{
	char *end;

	errno = 0;
	*id = strtoull(cli->argument, &end, 10);
	if (cli->argument[0] >= '0' && cli->argument[0] <= '9' && !*end && !errno && *id != 0)
		return true;
	cli_error(cli, true, "%s is no scan's number; see `ampcli scan list`", cli->argument);
	return false;
}

/* Is given each file; false: no more is wanted. */
typedef void take_file(struct cli *cli, const Amp__CliScanFile *f, void *arg);

/*
 * What was not judged clean, page by page; what `c` had before is gone. False:
 * it failed, and it was said. *left: not kept by the service.
 */
static bool walk_files(struct cli *cli, struct client *c, uint64_t id, take_file *take, void *arg,
		       uint64_t *left)
{
	Amp__CliScanFiles ask = AMP__CLI_SCAN_FILES__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_SCAN_FILES,
		.body = &ask.base,
		.reply_type = AMP_MSG_CLI_SCAN_FILES_REPLY,
		.reply = &amp__cli_scan_files_reply__descriptor,
	};
	const Amp__CliScanFilesReply *r;
	enum client_outcome outcome;

	ask.id = id;
	do {
		outcome = client_ask(c, &request);
		r = (const Amp__CliScanFilesReply *)client_reply(c, 0);
		if (outcome == CLIENT_OK && !scan_files_sound(r, ask.after))
			outcome = client_unsound(c, "a page of its files is not sound");
		if (outcome != CLIENT_OK) {
			cli_failed(cli, c, outcome, false);
			return false;
		}
		for (size_t i = 0; i < r->n_files; i++)
			take(cli, r->files[i], arg);
		ask.after = r->n_files ? r->files[r->n_files - 1]->number : ask.after;
		*left = r->left;
	} while (r->more);
	return true;
}

static void add_json(struct cli *cli, const Amp__CliScanFile *f, void *arg)
{
	(void)cli;
	json_object_array_add(arg, scan_file_json(f));
}

/* The one document, with its files if they are wanted. */
static void print_json(struct cli *cli, struct client *c, const Amp__CliScan *s, bool files)
{
	json_object *o = scan_json(s), *list;
	uint64_t left = 0, id = s->id;

	if (files) {
		list = json_object_new_array();
		if (!walk_files(cli, c, id, add_json, list, &left))
			out_json_bool(o, "files_incomplete", true);
		json_object_object_add(o, "not_clean", list);
		out_json_number(o, "not_kept", left);
	}
	out_json_print(cli->out, o);
}

struct listing {
	bool threats_only;
	uint64_t shown;
};

static void print_file(struct cli *cli, const Amp__CliScanFile *f, void *arg)
{
	struct listing *l = arg;

	if (l->threats_only && !scan_file_is_threat(f))
		return;
	if (l->shown++ == 0)
		fputs(l->threats_only ? "Threats:\n" : "Not judged clean:\n", cli->out);
	scan_file_text(cli->out, f);
}

static void print_files(struct cli *cli, struct client *c, uint64_t id, bool threats_only)
{
	struct listing l = {.threats_only = threats_only};
	uint64_t left = 0;

	if (!walk_files(cli, c, id, print_file, &l, &left))
		return;
	if (left)
		fprintf(cli->out, "  and %llu more that were counted, but not kept\n",
			(unsigned long long)left);
	else if (l.shown == 0 && !threats_only)
		fputs("Not judged clean: none\n", cli->out);
}

/* How a scan that was waited for ended. */
static void print_end(struct cli *cli, struct client *c, const Amp__CliScan *s)
{
	cli_note(cli, scan_exit(s));
	if (cli->json) {
		print_json(cli, c, s, true);
		return;
	}
	scan_summary(cli->out, s);
	if (s->threats)
		print_files(cli, c, s->id, true);
}

static void wait_for(struct cli *cli, uint64_t id)
{
	const Amp__CliScan *s;
	struct client *c = scan_wait(cli, id, &s);

	if (c)
		print_end(cli, c, s);
	client_free(c);
}

static void print_started(struct cli *cli, uint64_t id)
{
	json_object *o;

	if (!cli->json) {
		fprintf(cli->out, "Scan %llu has started; see it with `ampcli scan show %llu`\n",
			(unsigned long long)id, (unsigned long long)id);
		return;
	}
	o = json_object_new_object();
	out_json_number(o, "id", id);
	out_json_print(cli->out, o);
}

static void start(struct cli *cli, Amp__CliScanStart *ask)
{
	const struct client_request request = {
		.type = AMP_MSG_CLI_SCAN_START,
		.body = &ask->base,
		.reply_type = AMP_MSG_CLI_SCAN_START_REPLY,
		.reply = &amp__cli_scan_start_reply__descriptor,
		.change = true,
	};
	struct client *c = cli_ask(cli, SERVICE, &request);
	uint64_t id;

	if (!c)
		return;
	id = ((const Amp__CliScanStartReply *)client_reply(c, 0))->id;
	client_free(c);
	if (id == 0)
		cli_error(cli, true, SERVICE ": what came is no answer: no number of a scan");
	else if (cli->wait)
		wait_for(cli, id);
	else
		print_started(cli, id);
}

/* As the user sees it, absolute and without links. False: it is not there, and it was said. */
static bool take_path(struct cli *cli, const char *path, ProtobufCBinaryData *to)
{
	char *real = realpath(path, NULL);

	if (!real) {
		cli_error(cli, true, "%s cannot be scanned: %s", path, strerror(errno));
		return false;
	}
	to->data = (uint8_t *)real;
	to->len = strlen(real);
	return true;
}

void cmd_scan_start(struct cli *cli)
{
	Amp__CliScanStart ask = AMP__CLI_SCAN_START__INIT;
	ProtobufCBinaryData paths[AMP_SCAN_PATHS] = {0};
	bool well = cli->arguments <= AMP_SCAN_PATHS;

	if (!well)
		cli_error(cli, true, "a scan has at most %u paths; start several", AMP_SCAN_PATHS);
	for (size_t i = 0; well && i < cli->arguments; i++)
		well = take_path(cli, cli->argument_list[i], &paths[i]);
	ask.kind = AMP__CLI_SCAN_START__KIND__PATHS;
	ask.paths = paths;
	ask.n_paths = cli->arguments;
	ask.one_file_system = cli->one_file_system;
	if (well)
		start(cli, &ask);
	for (size_t i = 0; i < AMP_SCAN_PATHS; i++)
		free(paths[i].data);
}

static void start_kind(struct cli *cli, Amp__CliScanStart__Kind kind)
{
	Amp__CliScanStart ask = AMP__CLI_SCAN_START__INIT;

	ask.kind = kind;
	start(cli, &ask);
}

void cmd_scan_flash(struct cli *cli)
{
	start_kind(cli, AMP__CLI_SCAN_START__KIND__FLASH);
}

void cmd_scan_full(struct cli *cli)
{
	start_kind(cli, AMP__CLI_SCAN_START__KIND__FULL);
}

static bool list_more(const ProtobufCMessage *reply)
{
	return ((const Amp__CliScanListReply *)reply)->more;
}

/* All of an answer in order. False: something of it is not sound. */
static bool list_sound(const struct client *c)
{
	for (size_t i = 0; i < client_replies(c); i++) {
		const Amp__CliScanListReply *r = (const Amp__CliScanListReply *)client_reply(c, i);

		for (size_t k = 0; k < r->n_scans; k++)
			if (!scan_sound(r->scans[k]))
				return false;
	}
	return true;
}

static void print_list(struct cli *cli, const struct client *c)
{
	json_object *list = json_object_new_array();

	if (!cli->json)
		scan_table_head(cli->out);
	for (size_t i = 0; i < client_replies(c); i++) {
		const Amp__CliScanListReply *r = (const Amp__CliScanListReply *)client_reply(c, i);

		for (size_t k = 0; k < r->n_scans; k++) {
			if (cli->json)
				json_object_array_add(list, scan_json(r->scans[k]));
			else
				scan_table_row(cli->out, r->scans[k]);
		}
	}
	if (cli->json)
		out_json_print(cli->out, json_object_get(list));
	json_object_put(list);
}

void cmd_scan_list(struct cli *cli)
{
	const Amp__CliScanList ask = AMP__CLI_SCAN_LIST__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_SCAN_LIST,
		.body = &ask.base,
		.reply_type = AMP_MSG_CLI_SCAN_LIST_REPLY,
		.reply = &amp__cli_scan_list_reply__descriptor,
		.more = list_more,
	};
	struct client *c = cli_ask(cli, SERVICE, &request);

	if (c && list_sound(c))
		print_list(cli, c);
	else if (c)
		cli_failed(cli, c, client_unsound(c, "a scan in it is not sound"), true);
	client_free(c);
}

void cmd_scan_show(struct cli *cli)
{
	enum client_outcome outcome;
	const Amp__CliScan *s;
	struct client *c;
	uint64_t id;

	if (!scan_id(cli, &id))
		return;
	c = client_new(cli->run_dir, SERVICE);
	if (!c) {
		cli_error(cli, true, "out of memory");
		return;
	}
	outcome = scan_ask(c, id, &s);
	if (!s) {
		cli_failed(cli, c, outcome, true);
	} else if (cli->json) {
		print_json(cli, c, s, cli->files);
	} else {
		scan_text(cli->out, s);
		if (cli->files)
			print_files(cli, c, id, false);
	}
	client_free(c);
}

static void control(struct cli *cli, Amp__CliScanControl__What what)
{
	Amp__CliScanControl ask = AMP__CLI_SCAN_CONTROL__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_SCAN_CONTROL,
		.body = &ask.base,
		.reply_type = AMP_MSG_CLI_SCAN_CONTROL_REPLY,
		.reply = &amp__cli_scan_control_reply__descriptor,
		.change = true,
	};
	const Amp__CliScan *s;
	struct client *c;

	if (!scan_id(cli, &ask.id))
		return;
	ask.what = what;
	c = cli_ask(cli, SERVICE, &request);
	if (!c)
		return;
	s = ((const Amp__CliScanControlReply *)client_reply(c, 0))->scan;
	if (!s || !scan_sound(s) || s->id != ask.id)
		cli_failed(cli, c, client_unsound(c, "not the scan that was named"), true);
	else if (cli->json)
		out_json_print(cli->out, scan_json(s));
	else
		scan_summary(cli->out, s);
	client_free(c);
}

void cmd_scan_pause(struct cli *cli)
{
	control(cli, AMP__CLI_SCAN_CONTROL__WHAT__PAUSE);
}

void cmd_scan_resume(struct cli *cli)
{
	control(cli, AMP__CLI_SCAN_CONTROL__WHAT__RESUME);
}

void cmd_scan_stop(struct cli *cli)
{
	control(cli, AMP__CLI_SCAN_CONTROL__WHAT__STOP);
}
