/*
 * ampcli/cmd_policy.c - policies (ampmon), the lists and exclusions in force
 * with their hits (ampscand).
 */
#include "cli.h"
#include "out.h"
#include "proto/types.h"

#include <string.h>

static const Amp__CliPolicy policy_body = AMP__CLI_POLICY__INIT;
static const struct client_request policy_request = {
	.type = AMP_MSG_CLI_POLICY,
	.body = &policy_body.base,
	.reply_type = AMP_MSG_CLI_POLICY_REPLY,
	.reply = &amp__cli_policy_reply__descriptor,
};

static json_object *json_policy(const Amp__CliPolicyInfo *p)
{
	json_object *o = json_object_new_object();

	out_json_text(o, "id", p->id);
	out_json_text(o, "name", p->name);
	out_json_number(o, "serial", p->serial);
	out_json_text(o, "mode", p->mode);
	out_json_text(o, "on_execute", p->on_execute);
	out_json_number(o, "max_file_size", p->max_file_size);
	out_json_number(o, "max_archive_size", p->max_archive_size);
	out_json_bool(o, "engine", p->engine);
	out_json_texts(o, "scan_schedule", p->schedule, p->n_schedule);
	out_json_number(o, "scan_cpu", p->scan_cpu);
	out_json_bool(o, "in_force", p->in_force);
	out_json_number(o, "blocked", p->blocked);
	out_json_number(o, "allowed", p->allowed);
	out_json_number(o, "exclusions", p->exclusions);
	out_json_texts(o, "problems", p->problems, p->n_problems);
	return o;
}

static void text_problems(FILE *f, const Amp__CliPolicyInfo *p)
{
	for (size_t i = 0; i < p->n_problems; i++) {
		fputs("Problem: ", f);
		out_text(f, p->problems[i]);
		fputc('\n', f);
	}
}

static void text_scans(FILE *f, const Amp__CliPolicyInfo *p)
{
	fprintf(f, "Offline engine: %s\nScans take: up to %u %% of the processors\n",
		p->engine ? "yes" : "no, the lists alone", p->scan_cpu);
	for (size_t i = 0; i < p->n_schedule; i++) {
		fputs("Scan: ", f);
		out_text(f, p->schedule[i]);
		fputc('\n', f);
	}
}

static void text_policy(FILE *f, const Amp__CliPolicyInfo *p)
{
	fputs("Policy: ", f);
	out_text(f, p->name);
	fprintf(f, " (#%u)\nId: ", p->serial);
	out_text(f, p->id);
	fputs("\nMode: ", f);
	out_text(f, p->mode);
	fputs("\nOn execute: ", f);
	out_text(f, p->on_execute);
	fprintf(f, "\nLargest file: %llu bytes\nLargest archive: %llu bytes\n",
		(unsigned long long)p->max_file_size, (unsigned long long)p->max_archive_size);
	fprintf(f, "Blocked: %llu\nAllowed: %llu\nExclusions: %llu\n", (unsigned long long)p->blocked,
		(unsigned long long)p->allowed, (unsigned long long)p->exclusions);
	text_scans(f, p);
	text_problems(f, p);
}

static void print_policy(struct cli *cli, const Amp__CliPolicyInfo *p)
{
	if (cli->json)
		out_json_print(cli->out, json_policy(p));
	else
		text_policy(cli->out, p);
}

void cmd_policy(struct cli *cli)
{
	struct client *c = cli_ask(cli, "ampmon", &policy_request);
	const Amp__CliPolicyInfo *found = NULL;
	const Amp__CliPolicyReply *r;

	if (!c)
		return;
	r = (const Amp__CliPolicyReply *)client_reply(c, 0);
	for (size_t i = 0; i < r->n_policies; i++)
		if (r->policies[i]->in_force)
			found = r->policies[i];
	if (found)
		print_policy(cli, found);
	else
		cli_error(cli, true, "no policy is in force; see `ampcli faults` and `ampcli policy list`");
	client_free(c);
}

static void text_policy_row(FILE *f, const Amp__CliPolicyInfo *p)
{
	fputs(p->in_force ? "* " : "  ", f);
	out_padded(f, p->id, 16);
	fputc(' ', f);
	out_padded(f, p->mode, 8);
	fputc(' ', f);
	out_text(f, p->name);
	fprintf(f, " (#%u)\n", p->serial);
	text_problems(f, p);
}

void cmd_policy_list(struct cli *cli)
{
	struct client *c = cli_ask(cli, "ampmon", &policy_request);
	const Amp__CliPolicyReply *r;
	json_object *list;

	if (!c)
		return;
	r = (const Amp__CliPolicyReply *)client_reply(c, 0);
	list = json_object_new_array();
	for (size_t i = 0; i < r->n_policies; i++) {
		if (cli->json)
			json_object_array_add(list, json_policy(r->policies[i]));
		else
			text_policy_row(cli->out, r->policies[i]);
	}
	if (cli->json)
		out_json_print(cli->out, list);
	else
		json_object_put(list);
	client_free(c);
}

void cmd_policy_use(struct cli *cli)
{
	Amp__CliPolicyUse use = AMP__CLI_POLICY_USE__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_POLICY_USE,
		.body = &use.base,
		.reply_type = AMP_MSG_CLI_POLICY_USE_REPLY,
		.reply = &amp__cli_policy_use_reply__descriptor,
		.change = true,
	};
	const Amp__CliPolicyUseReply *r;
	struct client *c;

	use.id = (char *)(uintptr_t)cli->argument;
	c = cli_ask(cli, "ampmon", &request);
	if (!c)
		return;
	r = (const Amp__CliPolicyUseReply *)client_reply(c, 0);
	if (r->policy)
		print_policy(cli, r->policy);
	else
		cli_error(cli, true, "ampmon: what came is no answer: no policy in it");
	client_free(c);
}

static json_object *json_rule(const Amp__CliRule *r, bool exclusions)
{
	json_object *o = json_object_new_object();

	out_json_text(o, "kind", r->kind);
	out_json_bytes(o, "text", &r->text);
	if (exclusions) {
		json_object_object_add(o, "uid", r->has_uid ? json_object_new_uint64(r->uid) : NULL);
		out_json_text(o, "warning", r->warning);
	} else {
		out_json_hex(o, "sha256", &r->sha256);
	}
	out_json_number(o, "line", r->line);
	out_json_number(o, "hits", r->hits);
	return o;
}

static void text_exclusion(FILE *f, const Amp__CliRule *r)
{
	char n[48];

	out_padded(f, r->kind, 10);
	fputc(' ', f);
	out_bytes(f, &r->text);
	if (r->has_uid)
		fprintf(f, " user %u", r->uid);
	fprintf(f, ", %s\n", out_count(r->hits, "hit", n, sizeof(n)));
	if (r->warning[0]) {
		fputs("  Warning: ", f);
		out_text(f, r->warning);
		fputc('\n', f);
	}
}

static void text_hash(FILE *f, const Amp__CliRule *r)
{
	char n[48];

	out_padded(f, r->kind, 8);
	fputc(' ', f);
	out_hex(f, r->sha256.data, r->sha256.len);
	fputc(' ', f);
	out_bytes(f, &r->text);
	fprintf(f, ", %s\n", out_count(r->hits, "hit", n, sizeof(n)));
}

/* One page; each must lead further. True: there is another. -1 in *bad: it is not sound. */
static bool take_rules(struct cli *cli, const Amp__CliRulesReply *r, Amp__CliRules *ask, json_object *list,
		       bool *bad)
{
	for (size_t i = 0; i < r->n_rules && !*bad; i++) {
		const Amp__CliRule *rule = r->rules[i];

		*bad = rule->index <= ask->after;
		ask->after = rule->index;
		if (*bad)
			continue;
		if (cli->json)
			json_object_array_add(list, json_rule(rule, ask->exclusions));
		else
			(ask->exclusions ? text_exclusion : text_hash)(cli->out, rule);
	}
	*bad = *bad || (r->more && r->n_rules == 0);
	return r->more && !*bad;
}

static void print_rules(struct cli *cli, struct client *c, bool exclusions)
{
	Amp__CliRules ask = AMP__CLI_RULES__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_RULES,
		.body = &ask.base,
		.reply_type = AMP_MSG_CLI_RULES_REPLY,
		.reply = &amp__cli_rules_reply__descriptor,
	};
	json_object *list = json_object_new_array();
	enum client_outcome outcome;
	bool bad = false, more;

	ask.exclusions = exclusions;
	do {
		outcome = client_ask(c, &request);
		more = outcome == CLIENT_OK &&
		       take_rules(cli, (const Amp__CliRulesReply *)client_reply(c, 0), &ask, list, &bad);
	} while (more);
	if (outcome != CLIENT_OK)
		cli_failed(cli, c, outcome, true);
	else if (bad)
		cli_error(cli, true, "ampscand: a page of its rules is not sound");
	else if (cli->json)
		out_json_print(cli->out, json_object_get(list));
	else if (ask.after == 0)
		fputs(exclusions ? "No exclusions.\n" : "No entries.\n", cli->out);
	json_object_put(list);
}

static void rules(struct cli *cli, bool exclusions)
{
	struct client *c = client_new(cli->run_dir, "ampscand");

	if (c)
		print_rules(cli, c, exclusions);
	else
		cli_error(cli, true, "out of memory");
	client_free(c);
}

void cmd_policy_lists(struct cli *cli)
{
	rules(cli, false);
}

void cmd_exclusions(struct cli *cli)
{
	rules(cli, true);
}
