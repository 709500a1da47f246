/*
 * ampmon/cli.c - what ampcli asks ampmon: status, posture, policies; and the
 * one change, `policy use`.
 *
 * Owns: the rows of these requests and the form of the answers. Must not own:
 * who may connect (lib/cliserver.c), what is reported (the parts of ampmon).
 * What is read from disk for an answer is read on the I/O thread; its answer
 * finds the client by serial, or nobody.
 */
#include "ampmon/mon.h"

#include "ampmon/posture.h"
#include "cliserver.h"
#include "log.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_REPAIRS  64U
#define MAX_POLICIES 64U
#define NO_BODY	     16U
#define ALL_READY    "Ready for scan"

struct mon_cli {
	struct amp_cliserver *server;
};

/* A request whose answer comes later. */
struct later {
	struct mon *m;
	uint64_t client, id;
};

static char *text(const char *s)
{
	return (char *)(uintptr_t)s; /* protobuf-c's strings are not const; pack only reads */
}

static void answer(struct amp_channel *client, uint16_t type, uint64_t id, const ProtobufCMessage *body)
{
	if (amp_channel_send(client, type, id, body, NULL, 0) == 0)
		return;
	if (errno == EMSGSIZE)
		amp_cli_error(client, id, AMP__CLI_ERROR__CODE__INTERNAL,
			      "the answer is too large for a message");
}

static void later_init(struct later *l, struct mon *m, struct amp_channel *client, uint64_t id)
{
	l->m = m;
	l->client = amp_cli_client_serial(client);
	l->id = id;
}

static struct amp_channel *later_client(const struct later *l)
{
	return l->m->cli ? amp_cli_client_find(l->m->cli->server, l->client) : NULL;
}

/* --- status ------------------------------------------------------------------- */

static const char *const state_names[] = {
	[MON_SLOT_OFF] = "off",		[MON_SLOT_STOPPED] = "stopped",	    [MON_SLOT_STARTING] = "starting",
	[MON_SLOT_RUNNING] = "running", [MON_SLOT_THROTTLED] = "throttled",
};

/* Everything the reply points to, in one block. */
struct status {
	Amp__CliStatusReply reply;
	Amp__CliService services[1 + AMP_ROLE_COUNT * AMP_ROLE_MAX_INSTANCES];
	Amp__CliService *service_list[1 + AMP_ROLE_COUNT * AMP_ROLE_MAX_INSTANCES];
	Amp__CliFault faults[MON_FAULTS_MAX];
	Amp__CliFault *fault_list[MON_FAULTS_MAX];
	char details[MON_FAULTS_MAX][320];
	Amp__CliRepair repairs[MAX_REPAIRS];
	Amp__CliRepair *repair_list[MAX_REPAIRS];
	Amp__FileSystem **filesystem_list; /* copies, see add_filesystem() */
	size_t filesystem_count, filesystem_room;
};

static void add_self(struct status *st, const struct mon *m)
{
	Amp__CliService *out = &st->services[0];

	amp__cli_service__init(out);
	out->name = text(amp_role(AMP_ROLE_MON)->name);
	out->state = text(state_names[MON_SLOT_RUNNING]);
	out->pid = getpid();
	out->since_ns = m->since_ns;
	out->restarts = m->restarts;
	st->service_list[0] = out;
}

static void add_services(struct status *st, struct mon *m)
{
	size_t n = 1 + mon_slot_count(m);

	add_self(st, m);
	for (size_t i = 1; i < n; i++) {
		const struct mon_slot *s = mon_slot_at(m, i - 1);
		Amp__CliService *out = &st->services[i];

		amp__cli_service__init(out);
		out->name = text(s->label);
		out->state = text(state_names[mon_slot_state(s)]);
		out->pid = s->proc ? s->proc->pid : 0;
		out->since_ns = s->proc ? s->proc->since_ns : 0;
		out->restarts = s->restarts;
		st->service_list[i] = out;
	}
	st->reply.services = st->service_list;
	st->reply.n_services = n;
}

static void add_faults(struct status *st, const struct mon *m)
{
	size_t n = mon_faults_count(m->faults);

	for (size_t i = 0; i < n; i++) {
		const struct mon_fault *f = mon_faults_at(m->faults, i);
		const struct amp_fault_info *info = amp_fault_info(f->number);
		Amp__CliFault *out = &st->faults[i];

		amp__cli_fault__init(out);
		snprintf(st->details[i], sizeof(st->details[i]), "%s: %s", f->source, f->detail);
		out->number = f->number;
		out->severity = text(amp_fault_severity_name(info->severity));
		out->text = text(info->text);
		out->detail = st->details[i];
		out->remedy = text(info->remedy);
		out->since_ns = f->since_ns;
		st->fault_list[i] = out;
	}
	st->reply.faults = st->fault_list;
	st->reply.n_faults = n;
}

static void add_repairs(struct status *st, const struct mon *m)
{
	size_t n;

	for (size_t i = 0; i < MAX_REPAIRS; i++)
		amp__cli_repair__init(&st->repairs[i]);
	n = mon_repair_list(m->repair, st->repairs, MAX_REPAIRS);
	for (size_t i = 0; i < n; i++)
		st->repair_list[i] = &st->repairs[i];
	st->reply.repairs = st->repair_list;
	st->reply.n_repairs = n;
}

static bool more_room(struct status *st)
{
	size_t room = st->filesystem_room ? 2 * st->filesystem_room : 64;
	Amp__FileSystem **list = realloc(st->filesystem_list, room * sizeof(*list));

	if (!list)
		return false;
	st->filesystem_list = list;
	st->filesystem_room = room;
	return true;
}

/* The watch's form is valid during the call only: packed and unpacked again. */
static void add_filesystem(const Amp__FileSystem *fs, void *arg)
{
	struct status *st = arg;
	size_t size = amp__file_system__get_packed_size(fs);
	uint8_t *packed = malloc(size + 1);
	Amp__FileSystem *copy;

	if (packed && (st->filesystem_count < st->filesystem_room || more_room(st))) {
		amp__file_system__pack(fs, packed);
		copy = amp__file_system__unpack(NULL, size, packed);
		if (copy)
			st->filesystem_list[st->filesystem_count++] = copy;
	}
	free(packed);
}

static const char *scan_text(const struct mon *m)
{
	if (!m->started)
		return "Starting";
	if (!mon_complete(m))
		return "Scanning is degraded";
	return mon_sources_scan(m)[0] ? mon_sources_scan(m) : ALL_READY;
}

static void add_policy(struct status *st, const struct mon *m)
{
	const struct mon_policy *p = mon_inforce_policy(m);

	st->reply.policy = text(p ? mon_policy_name(p) : "Built-in (audit)");
	st->reply.policy_serial = p ? mon_policy_serial(p) : 0;
	st->reply.mode = text(p && mon_policy_protects(p) ? "protect" : "audit");
}

static void add_state(struct status *st, const struct mon *m)
{
	Amp__CliStatusReply *r = &st->reply;

	r->service = text("ampmon");
	r->connection = text("Standalone");
	r->scan = text(scan_text(m));
	r->last_scan = text(mon_sources_last_scan(m)[0] ? mon_sources_last_scan(m) : "none");
	r->version = text(PACKAGE_VERSION);
	r->host_id = text(m->state.host_id);
	r->protected_ =
		m->started && mon_watch_began(m->watch) && mon_complete(m) && !mon_repair_pending(m->repair);
	r->jobs = mon_sources_jobs(m);
}

static void status_free(struct status *st)
{
	for (size_t i = 0; i < st->filesystem_count; i++)
		amp__file_system__free_unpacked(st->filesystem_list[i], NULL);
	free(st->filesystem_list);
	free(st);
}

static int on_status(struct amp_channel *client, struct amp_message *msg, void *arg)
{
	struct mon *m = arg;
	struct status *st = calloc(1, sizeof(*st));
	Amp__Counter **counters = NULL;

	if (!st) {
		amp_cli_error(client, msg->id, AMP__CLI_ERROR__CODE__INTERNAL, "ampmon is out of memory");
		return 0;
	}
	amp__cli_status_reply__init(&st->reply);
	add_state(st, m);
	add_policy(st, m);
	add_services(st, m);
	add_faults(st, m);
	add_repairs(st, m);
	mon_watch_each(m->watch, add_filesystem, st);
	st->reply.filesystems = st->filesystem_list;
	st->reply.n_filesystems = st->filesystem_count;
	st->reply.n_counters = amp_cli_counters(&counters);
	st->reply.counters = counters;
	answer(client, AMP_MSG_CLI_STATUS_REPLY, msg->id, &st->reply.base);
	free(counters);
	status_free(st);
	return 0;
}

/* --- posture -------------------------------------------------------------------- */

static int landlock_abi(const struct mon_proc *p)
{
	int abi;

	for (size_t i = 0; p && p->in_use && p->in_use[i]; i++)
		if (sscanf(p->in_use[i], "landlock %d", &abi) == 1)
			return abi;
	return 0;
}

static void append_name(char ***list, size_t *n, const char *name)
{
	char **bigger = realloc(*list, (*n + 1) * sizeof(*bigger));

	if (!bigger)
		return;
	*list = bigger;
	bigger[*n] = strdup(name);
	if (bigger[*n])
		(*n)++;
}

/* What READY named, behind what posture.c found; Landlock is among that already. */
static void append_names(char ***list, size_t *n, char **names)
{
	for (size_t i = 0; names && names[i]; i++)
		if (strncmp(names[i], "landlock", strlen("landlock")) != 0)
			append_name(list, n, names[i]);
}

/* ampmon's own. */
static void append_feature(const char *name, bool in_use, void *arg)
{
	Amp__CliPostureProcess *p = arg;

	append_name(in_use ? &p->in_use : &p->missing, in_use ? &p->n_in_use : &p->n_missing, name);
}

/* One process: its walls, and the kernel's features it uses or does without. p: NULL for ampmon. */
static void send_posture(const struct mon *m, struct amp_channel *client, uint64_t id,
			 const struct mon_posture_subject *s, const struct mon_proc *p)
{
	Amp__CliPostureReply reply = AMP__CLI_POSTURE_REPLY__INIT;
	Amp__CliPostureProcess process;

	if (mon_posture_process(s, &process) != 0)
		return; /* it died just now */
	if (p) {
		append_names(&process.in_use, &process.n_in_use, p->in_use);
		append_names(&process.missing, &process.n_missing, p->missing);
	} else if (m->watch) {
		mon_watch_features(m->watch, append_feature, &process);
	}
	reply.process = &process;
	reply.more = true;
	answer(client, AMP_MSG_CLI_POSTURE_REPLY, id, &reply.base);
	mon_posture_clear(&process);
}

static void send_posture_room(const struct mon *m, struct amp_channel *client, uint64_t id,
			      const struct mon_slot *s)
{
	const struct mon_user *u = &m->users[s->role->id];
	struct mon_posture_subject subject = {
		.role = s->role,
		.instance = s->instance,
		.uid = u->uid,
		.gid = u->gid,
		.landlock_abi = landlock_abi(s->proc),
	};

	if (mon_slot_state(s) != MON_SLOT_RUNNING)
		return;
	subject.pid = s->proc->pid;
	send_posture(m, client, id, &subject, s->proc);
}

static void send_posture_kernel(struct amp_channel *client, uint64_t id)
{
	Amp__CliPostureReply reply = AMP__CLI_POSTURE_REPLY__INIT;
	char **in_use, **missing;

	if (mon_posture_kernel(&in_use, &reply.n_in_use, &missing, &reply.n_missing) != 0) {
		amp_cli_error(client, id, AMP__CLI_ERROR__CODE__INTERNAL, "ampmon is out of memory");
		return;
	}
	reply.in_use = in_use;
	reply.missing = missing;
	answer(client, AMP_MSG_CLI_POSTURE_REPLY, id, &reply.base);
	mon_posture_free_names(in_use, reply.n_in_use);
	mon_posture_free_names(missing, reply.n_missing);
}

static int on_posture(struct amp_channel *client, struct amp_message *msg, void *arg)
{
	const struct mon *m = arg;
	struct mon_posture_subject self = {.role = amp_role(AMP_ROLE_MON), .pid = getpid()};

	send_posture(m, client, msg->id, &self, NULL);
	for (size_t i = 0; i < mon_slot_count(m); i++)
		send_posture_room(m, client, msg->id, mon_slot_at(m, i));
	send_posture_kernel(client, msg->id);
	return 0;
}

/* --- policies -------------------------------------------------------------------- */

struct policies {
	struct amp_io_job job; /* first: cast back */
	struct later later;
	const struct mon_conf *conf;
	struct mon_policy *list[MAX_POLICIES];
	char *broken[MAX_POLICIES]; /* "id": and why */
	Amp__CliPolicyInfo infos[MAX_POLICIES];
	size_t count;
};

static char *broken_text(const char *err)
{
	char line[600];

	snprintf(line, sizeof(line), "%s", err);
	return strdup(line);
}

/* Of a policy that cannot be read the reason is shown in its place. */
static bool policies_run(struct amp_io_job *job)
{
	struct policies *p = (struct policies *)job;
	char **ids = mon_policy_list(p->conf), err[512];

	for (size_t i = 0; ids && ids[i]; i++) {
		if (p->count < MAX_POLICIES) {
			amp__cli_policy_info__init(&p->infos[p->count]);
			p->list[p->count] = mon_policy_load(p->conf, ids[i], err, sizeof(err));
			if (!p->list[p->count])
				p->broken[p->count] = broken_text(err);
			p->infos[p->count].id = strdup(ids[i]);
			p->count++;
		}
		free(ids[i]);
	}
	free(ids);
	return true;
}

/* What is in force is shown as it was read then, not as the file is now. */
static void fill_policy(const struct mon *m, struct policies *p, size_t i)
{
	const struct mon_policy *in_force = mon_inforce_policy(m);
	Amp__CliPolicyInfo *info = &p->infos[i];
	char *id = info->id;
	bool is = in_force && id && strcmp(id, mon_policy_id(in_force)) == 0;

	if (is)
		mon_policy_info(in_force, info);
	else if (p->list[i])
		mon_policy_info(p->list[i], info);
	info->in_force = is;
	if (is || p->list[i]) {
		free(id);
		return;
	}
	info->problems = &p->broken[i];
	info->n_problems = p->broken[i] ? 1 : 0;
}

static void policies_free(struct policies *p)
{
	for (size_t i = 0; i < p->count; i++) {
		if (p->broken[i])
			free(p->infos[i].id);
		free(p->broken[i]);
		mon_policy_free(p->list[i]);
	}
	free(p);
}

static void policies_done(struct amp_io_job *job)
{
	struct policies *p = (struct policies *)job;
	struct amp_channel *client = later_client(&p->later);
	Amp__CliPolicyReply reply = AMP__CLI_POLICY_REPLY__INIT;
	Amp__CliPolicyInfo *list[MAX_POLICIES];

	for (size_t i = 0; i < p->count; i++) {
		fill_policy(p->later.m, p, i);
		list[i] = &p->infos[i];
	}
	reply.policies = list;
	reply.n_policies = p->count;
	if (client)
		answer(client, AMP_MSG_CLI_POLICY_REPLY, p->later.id, &reply.base);
	policies_free(p);
}

static int on_policy(struct amp_channel *client, struct amp_message *msg, void *arg)
{
	struct mon *m = arg;
	struct policies *p = calloc(1, sizeof(*p));

	if (!p) {
		amp_cli_error(client, msg->id, AMP__CLI_ERROR__CODE__INTERNAL, "ampmon is out of memory");
		return 0;
	}
	later_init(&p->later, m, client, msg->id);
	p->conf = m->conf;
	p->job.run = policies_run;
	p->job.done = policies_done;
	amp_iothread_submit(m->io, &p->job);
	return 0;
}

static void policy_used(struct mon *m, const struct mon_policy *p, int code, const char *why, void *arg)
{
	struct later *l = arg;
	struct amp_channel *client = later_client(l);
	Amp__CliPolicyUseReply reply = AMP__CLI_POLICY_USE_REPLY__INIT;
	Amp__CliPolicyInfo info;

	mon_logs_cli(m->logs, m->io, "policy use: %s", p ? mon_policy_id(p) : why);
	if (client && p) {
		mon_policy_info(p, &info);
		info.in_force = true;
		reply.policy = &info;
		answer(client, AMP_MSG_CLI_POLICY_USE_REPLY, l->id, &reply.base);
	} else if (client) {
		amp_cli_error(client, l->id, code, "%s", why);
	}
	free(l);
}

static int on_policy_use(struct amp_channel *client, struct amp_message *msg, void *arg)
{
	struct mon *m = arg;
	const Amp__CliPolicyUse *use = (const Amp__CliPolicyUse *)msg->body;
	uid_t uid = amp_cli_client_uid(client);
	struct later *l;
	char id[160];

	amp_text_escape(use->id, strlen(use->id), id, sizeof(id));
	mon_logs_cli(m->logs, m->io, "uid %u pid %d: policy use %s%s", (unsigned)uid,
		     (int)amp_cli_client_pid(client), id, uid == 0 ? "" : ": refused");
	if (uid != 0) {
		amp_cli_error(client, msg->id, AMP__CLI_ERROR__CODE__NOT_PERMITTED,
			      "only root may change the policy");
		return 0;
	}
	l = calloc(1, sizeof(*l));
	if (!l) {
		amp_cli_error(client, msg->id, AMP__CLI_ERROR__CODE__INTERNAL, "ampmon is out of memory");
		return 0;
	}
	later_init(l, m, client, msg->id);
	mon_inforce_use(m, use->id, uid, policy_used, l);
	return 0;
}

/* --- the server -------------------------------------------------------------------- */

#define ROW(t, body, length, fn)                                                                             \
	{                                                                                                    \
		.type = (t), .descriptor = &amp__##body##__descriptor, .max_length = (length),               \
		.handler = (fn)                                                                              \
	}

static const struct amp_dispatch requests[] = {
	ROW(AMP_MSG_CLI_STATUS, cli_status, NO_BODY, on_status),
	ROW(AMP_MSG_CLI_POSTURE, cli_posture, NO_BODY, on_posture),
	ROW(AMP_MSG_CLI_POLICY, cli_policy, NO_BODY, on_policy),
	ROW(AMP_MSG_CLI_POLICY_USE, cli_policy_use, 256, on_policy_use),
};

int mon_cli_new(struct mon *m, int listen_fd)
{
	struct amp_cliserver_config config = {
		.table = requests,
		.rows = sizeof(requests) / sizeof(requests[0]),
		.group = m->cli_gid,
		.arg = m,
	};

	m->cli = calloc(1, sizeof(*m->cli));
	if (!m->cli) {
		close(listen_fd);
		return -1;
	}
	m->cli->server = amp_cliserver_new(m->base, listen_fd, &config);
	return m->cli->server ? 0 : -1;
}

void mon_cli_free(struct mon *m)
{
	if (!m->cli)
		return;
	if (m->cli->server)
		amp_cliserver_free(m->cli->server);
	free(m->cli);
	m->cli = NULL;
}
