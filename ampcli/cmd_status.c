/*
 * ampcli/cmd_status.c - status, faults, about: what the services say of
 * themselves. Must not own: any judgement of it.
 */
#include "cli.h"
#include "engine_view.h"
#include "out.h"
#include "proto/types.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MON, SCAN, CLOUD, QUARD, SERVICES };

static const char *const services[SERVICES] = {"ampmon", "ampscand", "ampcloudd", "ampquard"};

/* The offline engine, as ampscand tells of it. */
struct engine {
	bool known;
	char state[32];
	uint64_t signatures;
	int64_t time_ns; /* of the newest set */
};

/* What was answered; NULL where it was not. */
struct status {
	struct engine engine;
	struct client *client[SERVICES];
	const Amp__CliStatusReply *reply[SERVICES];
};

static const Amp__CliStatus status_body = AMP__CLI_STATUS__INIT;
static const struct client_request status_request = {
	.type = AMP_MSG_CLI_STATUS,
	.body = &status_body.base,
	.reply_type = AMP_MSG_CLI_STATUS_REPLY,
	.reply = &amp__cli_status_reply__descriptor,
};

static void take_engine(struct engine *e, const Amp__CliDefinitionsReply *r)
{
	if (!definitions_sound(r))
		return;
	e->known = true;
	snprintf(e->state, sizeof(e->state), "%s", r->state);
	e->signatures = r->signatures;
	e->time_ns = definitions_time(r);
}

/* ampscand was asked for its engine; that answer takes no status from it. */
static enum client_outcome receive_scan(struct client *c, struct engine *e)
{
	enum client_outcome outcome = client_receive(c);

	if (outcome == CLIENT_UNREACHABLE || outcome == CLIENT_NOT_PERMITTED)
		return outcome;
	if (outcome == CLIENT_OK)
		take_engine(e, (const Amp__CliDefinitionsReply *)client_reply(c, 0));
	return client_ask(c, &status_request);
}

/* All are asked before the first is waited for. */
static void ask_all(struct cli *cli, struct status *s)
{
	for (int i = 0; i < SERVICES; i++) {
		s->client[i] = client_new(cli->run_dir, services[i]);
		if (s->client[i])
			client_send(s->client[i], i == SCAN ? &definitions_request : &status_request);
		else
			cli_error(cli, false, "out of memory");
	}
	for (int i = 0; i < SERVICES; i++) {
		enum client_outcome outcome;

		if (!s->client[i])
			continue;
		outcome = i == SCAN ? receive_scan(s->client[i], &s->engine) : client_receive(s->client[i]);
		if (outcome == CLIENT_OK)
			s->reply[i] = (const Amp__CliStatusReply *)client_reply(s->client[i], 0);
		else
			cli_failed(cli, s->client[i], outcome, false);
	}
}

static const char *how_name(Amp__FileSystem__How how)
{
	static const char *const names[] = {
		[AMP__FILE_SYSTEM__HOW__NOT_WATCHED] = "not_watched",
		[AMP__FILE_SYSTEM__HOW__BY_HANDLE] = "by_handle",
		[AMP__FILE_SYSTEM__HOW__BY_FD] = "by_fd",
	};

	return (size_t)how < sizeof(names) / sizeof(names[0]) ? names[how] : "unknown";
}

/* The same for people. */
static const char *how_words(Amp__FileSystem__How how)
{
	static const char *const words[] = {
		[AMP__FILE_SYSTEM__HOW__NOT_WATCHED] = "not watched",
		[AMP__FILE_SYSTEM__HOW__BY_HANDLE] = "watched by handle",
		[AMP__FILE_SYSTEM__HOW__BY_FD] = "watched by descriptor",
	};

	return (size_t)how < sizeof(words) / sizeof(words[0]) ? words[how] : "unknown";
}

static json_object *json_filesystem(const Amp__FileSystem *fs)
{
	json_object *o = json_object_new_object();
	char fsid[17];

	snprintf(fsid, sizeof(fsid), "%016llx", (unsigned long long)fs->fsid);
	out_json_bytes(o, "mount_point", &fs->mount_point);
	out_json_text(o, "fsid", fsid);
	out_json_text(o, "type", fs->type);
	out_json_text(o, "how", how_name(fs->how));
	out_json_text(o, "why", fs->why);
	return o;
}

static json_object *json_service(const Amp__CliService *s)
{
	json_object *o = json_object_new_object();

	out_json_text(o, "name", s->name);
	out_json_text(o, "state", s->state);
	json_object_object_add(o, "pid", json_object_new_int(s->pid));
	out_json_time(o, "since", s->since_ns);
	out_json_number(o, "restarts", s->restarts);
	return o;
}

static json_object *json_repair(const Amp__CliRepair *r)
{
	json_object *o = json_object_new_object();

	out_json_number(o, "id", r->id);
	out_json_bytes(o, "mount_point", &r->mount_point);
	out_json_text(o, "reason", r->reason);
	out_json_text(o, "state", r->state);
	out_json_number(o, "seen", r->seen);
	out_json_number(o, "judged", r->judged);
	return o;
}

static json_object *json_fault(const Amp__CliFault *f)
{
	json_object *o = json_object_new_object();

	out_json_number(o, "number", f->number);
	out_json_text(o, "severity", f->severity);
	out_json_text(o, "text", f->text);
	out_json_text(o, "detail", f->detail);
	out_json_text(o, "remedy", f->remedy);
	out_json_time(o, "since", f->since_ns);
	return o;
}

static json_object *json_faults(const Amp__CliStatusReply *r)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < r->n_faults; i++)
		json_object_array_add(list, json_fault(r->faults[i]));
	return list;
}

static json_object *json_counters(const struct status *s)
{
	json_object *o = json_object_new_object();
	char name[256];

	for (int i = 0; i < SERVICES; i++)
		for (size_t k = 0; s->reply[i] && k < s->reply[i]->n_counters; k++) {
			const Amp__Counter *c = s->reply[i]->counters[k];

			snprintf(name, sizeof(name), "%s.%s", services[i], c->name);
			out_json_number(o, name, c->value);
		}
	return o;
}

static void json_lists(json_object *o, const Amp__CliStatusReply *r)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < r->n_services; i++)
		json_object_array_add(list, json_service(r->services[i]));
	json_object_object_add(o, "services", list);
	list = json_object_new_array();
	for (size_t i = 0; i < r->n_filesystems; i++)
		json_object_array_add(list, json_filesystem(r->filesystems[i]));
	json_object_object_add(o, "filesystems", list);
	list = json_object_new_array();
	for (size_t i = 0; i < r->n_repairs; i++)
		json_object_array_add(list, json_repair(r->repairs[i]));
	json_object_object_add(o, "repairs", list);
	json_object_object_add(o, "faults", json_faults(r));
}

static void json_mon(json_object *o, const Amp__CliStatusReply *r)
{
	json_object *policy = json_object_new_object();

	out_json_text(o, "status", r->connection);
	out_json_text(o, "scan", r->scan);
	out_json_text(o, "last_scan", r->last_scan);
	out_json_text(policy, "name", r->policy);
	out_json_number(policy, "serial", r->policy_serial);
	json_object_object_add(o, "policy", policy);
	out_json_text(o, "mode", r->mode);
	out_json_bool(o, "protected", r->protected_);
	out_json_text(o, "version", r->version);
	out_json_text(o, "host_id", r->host_id);
	json_lists(o, r);
}

static void json_engine(json_object *o, const struct engine *e)
{
	json_object *engine = e->known ? json_object_new_object() : NULL;

	if (engine) {
		out_json_text(engine, "state", e->state);
		out_json_number(engine, "signatures", e->signatures);
		out_json_time(engine, "newest", e->time_ns);
	}
	json_object_object_add(o, "engine", engine);
}

static void print_json(struct cli *cli, const struct status *s)
{
	json_object *o = json_object_new_object(), *missing = json_object_new_array();

	if (s->reply[MON])
		json_mon(o, s->reply[MON]);
	json_object_object_add(o, "counters", json_counters(s));
	json_engine(o, &s->engine);
	if (s->reply[SCAN]) {
		out_json_number(o, "jobs", s->reply[SCAN]->jobs);
		out_json_number(o, "parked", s->reply[SCAN]->parked);
	}
	for (int i = 0; i < SERVICES; i++)
		if (!s->reply[i])
			json_object_array_add(missing, json_object_new_string(services[i]));
	json_object_object_add(o, "unanswered", missing);
	out_json_print(cli->out, o);
}

static void text_field(FILE *f, const char *label, const char *text)
{
	fprintf(f, "%s: ", label);
	out_text(f, text);
	fputc('\n', f);
}

static void text_head(FILE *f, const Amp__CliStatusReply *r)
{
	text_field(f, "Status", r->connection);
	text_field(f, "Scan", r->scan);
	text_field(f, "Last Scan", r->last_scan);
	fputs("Policy: ", f);
	out_text(f, r->policy);
	fprintf(f, " (#%u)\n", r->policy_serial);
	text_field(f, "Mode", r->mode);
	text_field(f, "Protected", r->protected_ ? "yes" : "no");
}

static void text_engine(FILE *f, const struct engine *e)
{
	char age[64], n[48];

	fputs("Engine: ", f);
	out_text(f, e->state);
	if (e->signatures)
		fprintf(f, ", %s", out_count(e->signatures, "signature", n, sizeof(n)));
	if (e->time_ns) {
		definitions_age(e->time_ns, age, sizeof(age));
		fprintf(f, ", %s", age);
	}
	fputc('\n', f);
}

static void text_services(FILE *f, const Amp__CliStatusReply *r)
{
	fputs("Services:\n", f);
	for (size_t i = 0; i < r->n_services; i++) {
		const Amp__CliService *s = r->services[i];

		fputs("  ", f);
		out_padded(f, s->name, 12);
		fputc(' ', f);
		out_padded(f, s->state, 10);
		fprintf(f, " pid %d since ", s->pid);
		out_time(f, s->since_ns);
		fprintf(f, " restarts %u\n", s->restarts);
	}
}

static void text_filesystems(FILE *f, const Amp__CliStatusReply *r)
{
	fputs("File systems:\n", f);
	for (size_t i = 0; i < r->n_filesystems; i++) {
		const Amp__FileSystem *fs = r->filesystems[i];

		fputs("  ", f);
		if (fs->mount_point.len)
			out_bytes(f, &fs->mount_point);
		else
			fputs("(not mounted whole)", f);
		fputs(" (", f);
		out_text(f, fs->type);
		fprintf(f, "): %s", how_words(fs->how));
		if (fs->why[0]) {
			fputs(", ", f);
			out_text(f, fs->why);
		}
		fputc('\n', f);
	}
}

static void text_repairs(FILE *f, const Amp__CliStatusReply *r)
{
	if (r->n_repairs)
		fputs("Repairs:\n", f);
	for (size_t i = 0; i < r->n_repairs; i++) {
		const Amp__CliRepair *p = r->repairs[i];

		fputs("  ", f);
		out_bytes(f, &p->mount_point);
		fputs(": ", f);
		out_text(f, p->state);
		fputs(" (", f);
		out_text(f, p->reason);
		fprintf(f, "), %llu entries seen, %llu judged\n", (unsigned long long)p->seen,
			(unsigned long long)p->judged);
	}
}

static void text_fault(FILE *f, const Amp__CliFault *x)
{
	fprintf(f, "  #%u ", x->number);
	out_text(f, x->severity);
	fputs(": ", f);
	out_text(f, x->text);
	if (x->detail[0]) {
		fputs(" (", f);
		out_text(f, x->detail);
		fputc(')', f);
	}
	fputs(", since ", f);
	out_time(f, x->since_ns);
	fputs("\n     ", f);
	out_text(f, x->remedy);
	fputc('\n', f);
}

static void text_faults(FILE *f, const Amp__CliStatusReply *r)
{
	fputs(r->n_faults ? "Faults:\n" : "Faults: none\n", f);
	for (size_t i = 0; i < r->n_faults; i++)
		text_fault(f, r->faults[i]);
}

/* What was lost; what is only counted is in the JSON. */
static void text_losses(FILE *f, const struct status *s)
{
	for (int i = 0; i < SERVICES; i++)
		for (size_t k = 0; s->reply[i] && k < s->reply[i]->n_counters; k++) {
			const Amp__Counter *c = s->reply[i]->counters[k];

			if (!c->loss || c->value == 0)
				continue;
			fprintf(f, "Lost: %s.", services[i]);
			out_text(f, c->name);
			fprintf(f, " %llu\n", (unsigned long long)c->value);
		}
}

static void print_text(struct cli *cli, const struct status *s)
{
	const Amp__CliStatusReply *r = s->reply[MON];

	if (r) {
		text_head(cli->out, r);
		if (s->engine.known)
			text_engine(cli->out, &s->engine);
		text_services(cli->out, r);
		text_filesystems(cli->out, r);
		text_repairs(cli->out, r);
		text_faults(cli->out, r);
	}
	if (s->reply[SCAN])
		fprintf(cli->out, "Jobs: %llu in hand, %llu waiting\n",
			(unsigned long long)s->reply[SCAN]->jobs, (unsigned long long)s->reply[SCAN]->parked);
	text_losses(cli->out, s);
}

void cmd_status(struct cli *cli)
{
	struct status s = {0};

	ask_all(cli, &s);
	if (cli->json)
		print_json(cli, &s);
	else
		print_text(cli, &s);
	for (int i = 0; i < SERVICES; i++)
		client_free(s.client[i]);
}

/* The one number that is wanted, 0: all. False: it is no fault's, and it was said. */
static bool fault_number(struct cli *cli, unsigned long *number)
{
	char *end;

	*number = 0;
	if (!cli->argument)
		return true;
	errno = 0;
	*number = strtoul(cli->argument, &end, 10);
	if (cli->argument[0] >= '0' && cli->argument[0] <= '9' && !*end && !errno && *number != 0)
		return true;
	cli_error(cli, true, "%s is no fault's number; see `ampcli faults`", cli->argument);
	return false;
}

/* Leaves this one in the list, if it stands. */
static void pick_fault(Amp__CliStatusReply *r, unsigned long number)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_faults; i++)
		if (r->faults[i]->number == number)
			r->faults[n++] = r->faults[i];
	r->n_faults = n;
}

void cmd_faults(struct cli *cli)
{
	Amp__CliStatusReply r;
	unsigned long number;
	struct client *c;

	if (!fault_number(cli, &number))
		return;
	c = cli_ask(cli, services[MON], &status_request);
	if (!c)
		return;
	r = *(const Amp__CliStatusReply *)client_reply(c, 0);
	if (number)
		pick_fault(&r, number);
	if (cli->json)
		out_json_print(cli->out, json_faults(&r));
	else if (number && r.n_faults == 0)
		fprintf(cli->out, "Fault %lu does not stand.\n", number);
	else
		text_faults(cli->out, &r);
	client_free(c);
}

/* Of this program first: it knows that without asking. */
void cmd_about(struct cli *cli)
{
	static const char notice[] =
		"An open endpoint-security connector; not affiliated with, nor endorsed by, Cisco.";
	struct client *c = client_new(cli->run_dir, services[MON]);
	enum client_outcome outcome = c ? client_ask(c, &status_request) : CLIENT_OK;
	const Amp__CliStatusReply *r = NULL;
	json_object *o = json_object_new_object();

	if (!c)
		cli_error(cli, false, "out of memory");
	else if (outcome == CLIENT_OK)
		r = (const Amp__CliStatusReply *)client_reply(c, 0);
	else
		cli_failed(cli, c, outcome, false);
	out_json_text(o, "name", PACKAGE_NAME);
	out_json_text(o, "version", PACKAGE_VERSION);
	out_json_text(o, "license", "GPL-2.0-only");
	out_json_text(o, "notice", notice);
	if (r) {
		out_json_text(o, "service_version", r->version);
		out_json_text(o, "host_id", r->host_id);
	}
	if (cli->json) {
		out_json_print(cli->out, o);
	} else {
		json_object_object_foreach(o, key, value)
			text_field(cli->out, key, json_object_get_string(value));
		json_object_put(o);
	}
	client_free(c);
}
