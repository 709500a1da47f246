/*
 * ampcli/cmd_engine.c - definitions and brake: the offline engine as ampscand
 * tells of it. Must not own: any judgement of it.
 */
#include "cli.h"
#include "clock.h"
#include "engine_view.h"
#include "out.h"
#include "proto/types.h"
#include "scan_view.h"

#include <string.h>

#define SERVICE	   "ampscand"
#define BRAKES_MAX 4096

static bool set_sound(const Amp__CliDefinitionSet *s)
{
	return s->path.len > 0 && s->path.len <= AMP_PATH_MAX && !memchr(s->path.data, 0, s->path.len) &&
	       s->time_ns >= 0;
}

bool definitions_sound(const Amp__CliDefinitionsReply *r)
{
	if (r->n_sets > AMP_ENGINE_SETS || r->loaded_ns < 0)
		return false;
	for (size_t i = 0; i < r->n_sets; i++)
		if (!set_sound(r->sets[i]))
			return false;
	return true;
}

int64_t definitions_time(const Amp__CliDefinitionsReply *r)
{
	int64_t newest = 0;

	for (size_t i = 0; i < r->n_sets; i++)
		newest = r->sets[i]->time_ns > newest ? r->sets[i]->time_ns : newest;
	return newest;
}

static const Amp__CliDefinitions definitions_body = AMP__CLI_DEFINITIONS__INIT;
const struct client_request definitions_request = {
	.type = AMP_MSG_CLI_DEFINITIONS,
	.body = &definitions_body.base,
	.reply_type = AMP_MSG_CLI_DEFINITIONS_REPLY,
	.reply = &amp__cli_definitions_reply__descriptor,
};

void definitions_age(int64_t time_ns, char *buf, size_t size)
{
	int64_t s = (amp_clock_realtime() - time_ns) / AMP_NS_PER_SEC;

	if (s < 0)
		snprintf(buf, size, "of the future");
	else if (s < 2 * 3600)
		snprintf(buf, size, "%lld min old", (long long)(s / 60));
	else if (s < 2 * 86400)
		snprintf(buf, size, "%lld hours old", (long long)(s / 3600));
	else
		snprintf(buf, size, "%lld days old", (long long)(s / 86400));
}

static json_object *json_definitions(const Amp__CliDefinitionsReply *r)
{
	json_object *o = json_object_new_object(), *sets = json_object_new_array();

	out_json_text(o, "state", r->state);
	out_json_text(o, "engine", r->engine);
	out_json_number(o, "generation", r->generation);
	out_json_number(o, "signatures", r->signatures);
	out_json_time(o, "loaded", r->loaded_ns);
	out_json_bool(o, "loading", r->loading);
	out_json_text(o, "refused", r->refused);
	out_json_number(o, "workers", r->workers);
	out_json_number(o, "scans", r->scans);
	out_json_number(o, "restarts", r->restarts);
	for (size_t i = 0; i < r->n_sets; i++) {
		json_object *set = json_object_new_object();

		out_json_bytes(set, "path", &r->sets[i]->path);
		out_json_time(set, "time", r->sets[i]->time_ns);
		out_json_number(set, "version", r->sets[i]->version);
		out_json_number(set, "signatures", r->sets[i]->signatures);
		json_object_array_add(sets, set);
	}
	json_object_object_add(o, "sets", sets);
	return o;
}

static void text_sets(FILE *f, const Amp__CliDefinitionsReply *r)
{
	char n[48], age[64];

	fputs(r->n_sets ? "Sets:\n" : "Sets: none\n", f);
	for (size_t i = 0; i < r->n_sets; i++) {
		const Amp__CliDefinitionSet *s = r->sets[i];

		fputs("  ", f);
		out_bytes(f, &s->path);
		if (s->version)
			fprintf(f, ", version %u", s->version);
		fprintf(f, ", %s, ", out_count(s->signatures, "signature", n, sizeof(n)));
		out_time(f, s->time_ns);
		definitions_age(s->time_ns, age, sizeof(age));
		fprintf(f, s->time_ns ? " (%s)\n" : "\n", age);
	}
}

static void text_definitions(FILE *f, const Amp__CliDefinitionsReply *r)
{
	char n[48];

	fputs("Engine: ", f);
	out_text(f, r->state);
	if (r->engine[0]) {
		fputs(", ", f);
		out_text(f, r->engine);
	}
	fprintf(f, "\nSignatures: %s", out_number(r->signatures, n, sizeof(n)));
	if (r->loaded_ns) {
		fprintf(f, ", generation %llu, loaded ", (unsigned long long)r->generation);
		out_time(f, r->loaded_ns);
	}
	fputs(r->loading ? "\nLoading: a newer set\n" : "\n", f);
	if (r->refused[0]) {
		fputs("Refused: ", f);
		out_text(f, r->refused);
		fputc('\n', f);
	}
	fprintf(f, "Workers: %u alive, %s, %llu died over a file\n", r->workers,
		out_count(r->scans, "scan", n, sizeof(n)), (unsigned long long)r->restarts);
	text_sets(f, r);
}

void cmd_definitions(struct cli *cli)
{
	struct client *c = cli_ask(cli, SERVICE, &definitions_request);
	const Amp__CliDefinitionsReply *r;

	if (!c)
		return;
	r = (const Amp__CliDefinitionsReply *)client_reply(c, 0);
	if (!definitions_sound(r))
		cli_failed(cli, c, client_unsound(c, "a set in it is not sound"), true);
	else if (cli->json)
		out_json_print(cli->out, json_definitions(r));
	else
		text_definitions(cli->out, r);
	client_free(c);
}

static void json_brake(json_object *list, const Amp__CliBrakeEntry *e)
{
	json_object *o = json_object_new_object();

	out_json_text(o, "signature", e->signature);
	out_json_bool(o, "holds", e->holds);
	out_json_bool(o, "together", e->together);
	out_json_time(o, "since", e->since_ns);
	out_json_number(o, "held", e->held);
	out_json_number(o, "recent", e->recent);
	json_object_array_add(list, o);
}

static void text_brake(FILE *f, const Amp__CliBrakeEntry *e)
{
	char n[48];

	out_text(f, e->signature);
	if (e->holds) {
		fputs(": held since ", f);
		out_time(f, e->since_ns);
		fprintf(f, ", %s left alone%s\n", out_count(e->held, "file", n, sizeof(n)),
			e->together ? " (by what all signatures convicted)" : "");
	} else {
		fprintf(f, ": not held, %s lately\n", out_count(e->recent, "old file", n, sizeof(n)));
	}
}

static void print_brakes(struct cli *cli, const Amp__CliBrakeReply *r)
{
	json_object *list = json_object_new_array();

	if (!cli->json && r->n_entries == 0)
		fputs("No signature is held.\n", cli->out);
	for (size_t i = 0; i < r->n_entries; i++) {
		if (cli->json)
			json_brake(list, r->entries[i]);
		else
			text_brake(cli->out, r->entries[i]);
	}
	if (cli->json)
		out_json_print(cli->out, json_object_get(list));
	json_object_put(list);
}

static const Amp__CliBrake brake_body = AMP__CLI_BRAKE__INIT;
const struct client_request brake_request = {
	.type = AMP_MSG_CLI_BRAKE,
	.body = &brake_body.base,
	.reply_type = AMP_MSG_CLI_BRAKE_REPLY,
	.reply = &amp__cli_brake_reply__descriptor,
};

void cmd_brake_show(struct cli *cli)
{
	struct client *c = cli_ask(cli, SERVICE, &brake_request);
	const Amp__CliBrakeReply *r;

	if (!c)
		return;
	r = (const Amp__CliBrakeReply *)client_reply(c, 0);
	if (r->n_entries > BRAKES_MAX)
		cli_failed(cli, c, client_unsound(c, "too many signatures"), true);
	else
		print_brakes(cli, r);
	client_free(c);
}

static void print_released(struct cli *cli, uint64_t judged_again)
{
	json_object *o;
	char n[48];

	if (!cli->json) {
		out_text(cli->out, cli->argument);
		fprintf(cli->out, " is released; judged again: %s\n",
			out_count(judged_again, "file", n, sizeof(n)));
		return;
	}
	o = json_object_new_object();
	out_json_text(o, "signature", cli->argument);
	out_json_number(o, "judged_again", judged_again);
	out_json_print(cli->out, o);
}

void cmd_brake_release(struct cli *cli)
{
	Amp__CliBrakeRelease ask = AMP__CLI_BRAKE_RELEASE__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_BRAKE_RELEASE,
		.body = &ask.base,
		.reply_type = AMP_MSG_CLI_BRAKE_RELEASE_REPLY,
		.reply = &amp__cli_brake_release_reply__descriptor,
		.change = true,
	};
	struct client *c;

	if (!cli->argument[0] || strlen(cli->argument) > AMP_SIGNATURE_MAX) {
		cli_error(cli, true, "that is no signature's name; see `ampcli brake show`");
		return;
	}
	ask.signature = (char *)(uintptr_t)cli->argument;
	c = cli_ask(cli, SERVICE, &request);
	if (c)
		print_released(cli, ((const Amp__CliBrakeReleaseReply *)client_reply(c, 0))->judged_again);
	client_free(c);
}
