/*
 * ampcli/cmd_posture.c - posture: every process's walls beside the table that
 * says what they have to be.
 */
#include "cli.h"
#include "out.h"
#include "proto/types.h"

static bool more(const ProtobufCMessage *reply)
{
	return ((const Amp__CliPostureReply *)reply)->more;
}

static const Amp__CliPosture posture_body = AMP__CLI_POSTURE__INIT;
static const struct client_request posture_request = {
	.type = AMP_MSG_CLI_POSTURE,
	.body = &posture_body.base,
	.reply_type = AMP_MSG_CLI_POSTURE_REPLY,
	.reply = &amp__cli_posture_reply__descriptor,
	.more = more,
};

static json_object *json_items(const Amp__CliPostureProcess *p)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < p->n_items; i++) {
		json_object *o = json_object_new_object();

		out_json_text(o, "what", p->items[i]->what);
		out_json_text(o, "expected", p->items[i]->expected);
		out_json_text(o, "actual", p->items[i]->actual);
		out_json_bool(o, "equal", p->items[i]->equal);
		json_object_array_add(list, o);
	}
	return list;
}

static json_object *json_process(const Amp__CliPostureProcess *p)
{
	json_object *o = json_object_new_object();

	out_json_text(o, "name", p->name);
	json_object_object_add(o, "pid", json_object_new_int(p->pid));
	json_object_object_add(o, "items", json_items(p));
	out_json_number(o, "pss_kib", p->pss_kib);
	out_json_number(o, "rss_kib", p->rss_kib);
	out_json_texts(o, "in_use", p->in_use, p->n_in_use);
	out_json_texts(o, "missing", p->missing, p->n_missing);
	return o;
}

static void print_json(struct cli *cli, const struct client *c)
{
	json_object *o = json_object_new_object(), *list = json_object_new_array();
	size_t n = client_replies(c);
	const Amp__CliPostureReply *last = (const Amp__CliPostureReply *)client_reply(c, n - 1);

	for (size_t i = 0; i < n; i++) {
		const Amp__CliPostureReply *r = (const Amp__CliPostureReply *)client_reply(c, i);

		if (r->process)
			json_object_array_add(list, json_process(r->process));
	}
	json_object_object_add(o, "processes", list);
	out_json_texts(o, "in_use", last->in_use, last->n_in_use);
	out_json_texts(o, "missing", last->missing, last->n_missing);
	out_json_print(cli->out, o);
}

static void text_names(FILE *f, const char *label, char **names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fprintf(f, "%s%s", i ? "; " : label, i ? "" : ": ");
		out_text(f, names[i]);
	}
	if (n > 0)
		fputc('\n', f);
}

static void text_process(FILE *f, const Amp__CliPostureProcess *p)
{
	out_text(f, p->name);
	fprintf(f, " (pid %d, PSS %llu KiB, RSS %llu KiB)\n", p->pid, (unsigned long long)p->pss_kib,
		(unsigned long long)p->rss_kib);
	fprintf(f, "    %-24s %-28s %s\n", "wall", "expected", "actual");
	for (size_t i = 0; i < p->n_items; i++) {
		const Amp__CliPostureItem *item = p->items[i];

		fputs(item->equal ? "    " : "  ! ", f);
		out_padded(f, item->what, 24);
		fputc(' ', f);
		out_padded(f, item->expected, 28);
		fputc(' ', f);
		out_text(f, item->actual);
		fputc('\n', f);
	}
	text_names(f, "    in use", p->in_use, p->n_in_use);
	text_names(f, "    missing", p->missing, p->n_missing);
}

static void print_text(struct cli *cli, const struct client *c)
{
	for (size_t i = 0; i < client_replies(c); i++) {
		const Amp__CliPostureReply *r = (const Amp__CliPostureReply *)client_reply(c, i);

		if (r->process)
			text_process(cli->out, r->process);
		text_names(cli->out, "Kernel, in use", r->in_use, r->n_in_use);
		text_names(cli->out, "Kernel, missing", r->missing, r->n_missing);
	}
}

void cmd_posture(struct cli *cli)
{
	struct client *c = cli_ask(cli, "ampmon", &posture_request);

	if (!c)
		return;
	if (cli->json)
		print_json(cli, c);
	else
		print_text(cli, c);
	client_free(c);
}
