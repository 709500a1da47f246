/*
 * ampscand/status.c - what ampcli may ask the scanner.
 *
 * Owns: counters, and the rules in force with their hits, page by page.
 * Must not own: changes; policies are changed through ampmon.
 */
#include "demand.h"

#include "cliserver.h"
#include "proto/cli.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define RULES_PAGE 200U
#define PAGE_BYTES 40000U

static int on_status(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = amp_room_arg(arg);
	Amp__CliStatusReply r = AMP__CLI_STATUS_REPLY__INIT;

	r.service = "ampscand";
	r.jobs = s->occurrences + walks_of_moves(s);
	r.parked = s->buffers ? buffers_parked(s->buffers) : 0;
	r.n_counters = amp_cli_counters(&r.counters);
	amp_channel_send(ch, AMP_MSG_CLI_STATUS_REPLY, m->id, &r.base, NULL, 0);
	free(r.counters);
	return 0;
}

static void fill(Amp__CliRule *out, struct rule *r, size_t index)
{
	amp__cli_rule__init(out);
	out->index = index + 1;
	out->kind = (char *)(uintptr_t)rule_kind_name(r);
	out->text.data = (uint8_t *)r->text;
	out->text.len = r->text ? strlen(r->text) : 0;
	if (r->kind == AMP__POLICY_ENTRY__KIND__BLOCKED || r->kind == AMP__POLICY_ENTRY__KIND__ALLOWED) {
		out->sha256.data = r->sha256;
		out->sha256.len = AMP_SHA256_SIZE;
	}
	out->has_uid = r->has_uid;
	out->uid = r->uid;
	out->line = r->line;
	out->hits = r->hits;
	out->warning = (char *)(uintptr_t)(r->warning ? r->warning : "");
}

static bool wanted(const struct rule *r, bool exclusions)
{
	return (r->kind >= AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH) == exclusions;
}

static int on_rules(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = amp_room_arg(arg);
	const Amp__CliRules *q = (const Amp__CliRules *)m->body;
	Amp__CliRulesReply reply = AMP__CLI_RULES_REPLY__INIT;
	Amp__CliRule page[RULES_PAGE], *list[RULES_PAGE];
	size_t n = 0, bytes = 0;

	if (!s->rules) {
		amp_cli_error(ch, m->id, AMP__CLI_ERROR__CODE__NOT_NOW,
			      "no policy is in force yet; ask again");
		return 0;
	}
	for (size_t i = q->after; i < s->rules->count; i++) {
		if (!wanted(&s->rules->rule[i], q->exclusions))
			continue;
		if (n == RULES_PAGE || bytes > PAGE_BYTES) {
			reply.more = true;
			break;
		}
		fill(&page[n], &s->rules->rule[i], i);
		bytes += 64 + page[n].text.len;
		list[n] = &page[n];
		n++;
	}
	reply.rules = list;
	reply.n_rules = n;
	amp_channel_send(ch, AMP_MSG_CLI_RULES_REPLY, m->id, &reply.base, NULL, 0);
	return 0;
}

const struct amp_dispatch scand_cli[] = {
	{AMP_MSG_CLI_STATUS, &amp__cli_status__descriptor, 16, 0, 0, 0, on_status},
	{AMP_MSG_CLI_RULES, &amp__cli_rules__descriptor, 64, 0, 0, 0, on_rules},
	{AMP_MSG_CLI_SCAN_START, &amp__cli_scan_start__descriptor, AMP_MSG_MAX - 16, 0, 0, 0, demand_cli},
	{AMP_MSG_CLI_SCAN_LIST, &amp__cli_scan_list__descriptor, 64, 0, 0, 0, demand_cli},
	{AMP_MSG_CLI_SCAN_CONTROL, &amp__cli_scan_control__descriptor, 64, 0, 0, 0, demand_cli},
	{AMP_MSG_CLI_SCAN_FILES, &amp__cli_scan_files__descriptor, 64, 0, 0, 0, demand_cli},
	{AMP_MSG_CLI_DEFINITIONS, &amp__cli_definitions__descriptor, 16, 0, 0, 0, engine_definitions},
	{AMP_MSG_CLI_BRAKE, &amp__cli_brake__descriptor, 16, 0, 0, 0, brake_cli_show},
	{AMP_MSG_CLI_BRAKE_RELEASE, &amp__cli_brake_release__descriptor, 512, 0, 0, 0, brake_cli_release},
};
