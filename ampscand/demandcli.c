/*
 * ampscand/demandcli.c - what clients ask of scans on demand.
 *
 * Owns: the checks of requests, the answers, those that wait until a change is
 * on disk, requests that come before what our predecessor left is here. A request that comes again (its id)
 * gets the answer of the first. Must not own: the scans.
 */
#include "demand.h"

#include "cliserver.h"
#include "log.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT_ONLY "only root may start, pause, resume or stop scans"

#define EARLY_MAX  64U
#define PAGE_FILES 200U
#define PAGE_BYTES 40000U

/* Owed to a client once that version of the scan is on disk. */
struct demand_answer {
	struct demand_answer *next;
	uint64_t scan, version;
	uint64_t client, request;
	bool start;
};

/* Asked before START: our predecessor's scans are not all here yet. */
struct demand_request {
	struct demand_request *next;
	uint64_t client, id;
	uint16_t type;
	size_t size;
	uint8_t body[];
};

static void no_such_scan(struct amp_channel *client, uint64_t request, uint64_t id)
{
	amp_cli_error(client, request, AMP__CLI_ERROR__CODE__NOT_FOUND,
		      "there is no scan %llu; `ampcli scan list` shows those that are kept",
		      (unsigned long long)id);
}

/* -- a scan on the wire -- */

struct scan_wire {
	Amp__CliScan scan;
	Amp__CliScanCount counts[DEMAND_KINDS], *count_list[DEMAND_KINDS];
	ProtobufCBinaryData paths[AMP_SCAN_PATHS];
	char error[512];
};

static ProtobufCBinaryData bytes_of(const char *text)
{
	return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)text, .len = text ? strlen(text) : 0};
}

static void fill_counts(struct scan_wire *w, const struct demand_tally *t)
{
	w->scan.counts = w->count_list;
	for (unsigned k = 0; k < DEMAND_KINDS; k++) {
		Amp__CliScanCount *c = &w->counts[w->scan.n_counts];

		/* Threats have a field of their own; directories are not judged. */
		if (!t->kinds[k] || k == OUTCOME_THREAT || k == DEMAND_DIRECTORY)
			continue;
		amp__cli_scan_count__init(c);
		c->kind = (char *)(uintptr_t)demand_kind_name(k);
		c->count = t->kinds[k];
		w->count_list[w->scan.n_counts++] = c;
	}
	w->scan.files = t->files;
	w->scan.bytes = t->bytes;
	w->scan.threats = t->threats;
	w->scan.cached = t->cached;
}

/* Where it is: what a walk is in, else where it will go on. */
static const char *place_of(const struct demand_scan *d)
{
	if (demand_is_over(d))
		return NULL;
	if (d->look)
		return d->look;
	if (d->at)
		return d->at;
	return d->task < d->tasks.count && d->tasks.path[d->task][0] ? d->tasks.path[d->task] : NULL;
}

static void fill(struct scan_wire *w, const struct demand_scan *d)
{
	Amp__CliScan *c = &w->scan;

	amp__cli_scan__init(c);
	c->id = d->id;
	c->kind = (char *)(uintptr_t)demand_scan_kind_name(d->kind);
	c->state = (char *)(uintptr_t)demand_state_name(d->state);
	for (size_t i = 0; i < d->paths.count && i < AMP_SCAN_PATHS; i++)
		w->paths[c->n_paths++] = bytes_of(d->paths.path[i]);
	c->paths = w->paths;
	c->started_ns = d->started_ns;
	c->ended_ns = d->ended_ns;
	c->worked_ns = demand_worked_ns(d);
	fill_counts(w, &d->now);
	c->at = bytes_of(place_of(d));
	c->error = (char *)(uintptr_t)amp_text_escape(d->error, strlen(d->error), w->error, sizeof(w->error));
	c->scheduled = d->schedule != NULL;
	c->expected = d->expected;
	c->one_file_system = d->one_file_system;
}

static void send_scan(struct amp_channel *client, uint64_t request, const struct demand_scan *d)
{
	Amp__CliScanControlReply reply = AMP__CLI_SCAN_CONTROL_REPLY__INIT;
	struct scan_wire w = {.error = ""};

	fill(&w, d);
	reply.scan = &w.scan;
	amp_channel_send(client, AMP_MSG_CLI_SCAN_CONTROL_REPLY, request, &reply.base, NULL, 0);
}

static void send_started(struct amp_channel *client, uint64_t request, const struct demand_scan *d)
{
	Amp__CliScanStartReply reply = AMP__CLI_SCAN_START_REPLY__INIT;

	reply.id = d->id;
	amp_channel_send(client, AMP_MSG_CLI_SCAN_START_REPLY, request, &reply.base, NULL, 0);
}

/* -- answers that wait -- */

static void owe(struct demand_scan *d, struct amp_channel *client, uint64_t request, bool start)
{
	struct demand *dm = d->scand->demand;
	struct demand_answer *a = calloc(1, sizeof(*a));

	if (!a) {
		amp_cli_error(client, request, AMP__CLI_ERROR__CODE__INTERNAL, "no memory");
		return;
	}
	a->scan = d->id;
	a->version = d->version;
	a->client = amp_cli_client_serial(client);
	a->request = request;
	a->start = start;
	a->next = dm->answers;
	dm->answers = a;
}

static void answer(struct demand_scan *d, const struct demand_answer *a, int error)
{
	struct amp_cliserver *server = amp_room_cli(d->scand->room);
	struct amp_channel *client = server ? amp_cli_client_find(server, a->client) : NULL;

	if (!client)
		return;
	if (error)
		amp_cli_error(client, a->request, AMP__CLI_ERROR__CODE__INTERNAL,
			      "it cannot be written down: %s", strerror(error));
	else if (a->start)
		send_started(client, a->request, d);
	else
		send_scan(client, a->request, d);
}

void demand_answer(struct demand_scan *d, uint64_t version, int error)
{
	struct demand_answer **p = &d->scand->demand->answers, *a;
	bool unstarted = false;

	while ((a = *p)) {
		if (a->scan != d->id || a->version > version) {
			p = &a->next;
			continue;
		}
		*p = a->next;
		answer(d, a, error);
		unstarted |= a->start && error;
		free(a);
	}
	/* Nobody was told that it began. */
	if (!unstarted)
		return;
	demand_forget(d);
	demand_remove(d->scand, d);
}

void demand_answers_free(struct demand *dm)
{
	while (dm->early) {
		struct demand_request *r = dm->early;

		dm->early = r->next;
		free(r);
	}
	while (dm->answers) {
		struct demand_answer *a = dm->answers;

		dm->answers = a->next;
		free(a);
	}
}

/* -- requests -- */

static int take_paths(const Amp__CliScanStart *q, struct demand_paths *out)
{
	for (size_t i = 0; i < q->n_paths; i++) {
		char *path = demand_path_clean(q->paths[i].data, q->paths[i].len);
		int rc = path ? demand_paths_add(out, path, strlen(path)) : -1;

		free(path);
		if (rc != 0)
			return -1;
	}
	demand_paths_sort(out);
	return 0;
}

static struct demand_scan *of_request(const struct scand *s, uint64_t request)
{
	struct demand_scan *d = s->demand->scans;

	while (d && d->request != request)
		d = d->next;
	return request ? d : NULL;
}

static const char *start_is_bad(const Amp__CliScanStart *q)
{
	bool paths = q->kind == AMP__CLI_SCAN_START__KIND__PATHS;

	if (q->n_paths > AMP_SCAN_PATHS)
		return "too many paths; scan them in several scans";
	if (paths && q->n_paths == 0)
		return "name what is to be scanned";
	return !paths && q->n_paths ? "this kind of scan takes no paths" : NULL;
}

static void start(struct scand *s, struct amp_channel *ch, uint64_t request, const Amp__CliScanStart *q)
{
	struct demand_paths paths = {0};
	struct demand_scan *d = NULL;
	const char *why = "paths must be absolute and without \"..\"";

	if (take_paths(q, &paths) == 0)
		d = demand_start(s, q->kind, &paths, q->one_file_system, &why);
	demand_paths_free(&paths);
	if (!d) {
		amp_cli_error(ch, request, AMP__CLI_ERROR__CODE__BAD_REQUEST, "%s", why);
		return;
	}
	d->request = request;
	d->version++;
	owe(d, ch, request, true);
	demand_changed(d, true);
}

static int on_start(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = amp_room_arg(arg);
	const Amp__CliScanStart *q = (const Amp__CliScanStart *)m->body;
	struct demand_scan *d = of_request(s, m->id);
	const char *bad = start_is_bad(q);

	if (!amp_cli_is_root(ch, m->id, "scan start", ROOT_ONLY))
		return 0;
	if (d && (d->dirty || d->putting)) /* asked again before it was answered */
		owe(d, ch, m->id, true);
	else if (d)
		send_started(ch, m->id, d);
	else if (bad)
		amp_cli_error(ch, m->id, AMP__CLI_ERROR__CODE__BAD_REQUEST, "%s", bad);
	else
		start(s, ch, m->id, q);
	return 0;
}

static int on_control(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = amp_room_arg(arg);
	const Amp__CliScanControl *q = (const Amp__CliScanControl *)m->body;
	struct demand_scan *d = demand_find(s, q->id);
	const char *why;

	if (!amp_cli_is_root(ch, m->id, "scan control", ROOT_ONLY))
		return 0;
	if (!d) {
		no_such_scan(ch, m->id, q->id);
		return 0;
	}
	why = demand_control(d, q->what);
	if (why)
		amp_cli_error(ch, m->id, AMP__CLI_ERROR__CODE__NOT_NOW, "scan %llu: %s",
			      (unsigned long long)d->id, why);
	else
		owe(d, ch, m->id, false);
	return 0;
}

static void send_listed(struct amp_channel *ch, uint64_t request, const struct demand_scan *d, bool more)
{
	Amp__CliScanListReply reply = AMP__CLI_SCAN_LIST_REPLY__INIT;
	struct scan_wire w = {.error = ""};
	Amp__CliScan *list[1] = {&w.scan};

	if (d) {
		fill(&w, d);
		reply.scans = list;
		reply.n_scans = 1;
	}
	reply.more = more;
	amp_channel_send(ch, AMP_MSG_CLI_SCAN_LIST_REPLY, request, &reply.base, NULL, 0);
}

/* One scan a message: its paths may be long. */
static int on_list(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = amp_room_arg(arg);
	uint64_t id = ((const Amp__CliScanList *)m->body)->id;
	const struct demand_scan *d = id ? demand_find(s, id) : s->demand->scans;

	if (id && !d)
		no_such_scan(ch, m->id, id);
	else if (id || !d)
		send_listed(ch, m->id, d, false);
	else
		for (; d; d = d->next)
			send_listed(ch, m->id, d, d->next != NULL);
	return 0;
}

struct files_wire {
	Amp__CliScanFile file[PAGE_FILES], *list[PAGE_FILES];
	char detail[PAGE_FILES][256];
	size_t count, bytes;
};

static void add_file(struct files_wire *w, const struct demand_file *f, size_t number)
{
	Amp__CliScanFile *out = &w->file[w->count];
	const char *detail = f->detail ? f->detail : "";

	amp__cli_scan_file__init(out);
	out->number = number;
	out->kind = (char *)(uintptr_t)demand_kind_name(f->kind);
	out->path = bytes_of(f->path);
	out->detail = (char *)(uintptr_t)amp_text_escape(detail, strlen(detail), w->detail[w->count],
							 sizeof(w->detail[0]));
	w->bytes += out->path.len + strlen(out->detail) + 32;
	w->list[w->count++] = out;
}

static int on_files(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = amp_room_arg(arg);
	const Amp__CliScanFiles *q = (const Amp__CliScanFiles *)m->body;
	const struct demand_scan *d = demand_find(s, q->id);
	Amp__CliScanFilesReply reply = AMP__CLI_SCAN_FILES_REPLY__INIT;
	struct files_wire *w;

	if (!d) {
		no_such_scan(ch, m->id, q->id);
		return 0;
	}
	w = calloc(1, sizeof(*w));
	if (!w) {
		amp_cli_error(ch, m->id, AMP__CLI_ERROR__CODE__INTERNAL, "no memory");
		return 0;
	}
	/* A path is 32 KiB at most: with it the page is still below what a message may be. */
	for (size_t i = q->after; i < d->list_count; i++) {
		if (w->count == PAGE_FILES || (w->count && w->bytes + strlen(d->list[i].path) > PAGE_BYTES)) {
			reply.more = true;
			break;
		}
		add_file(w, &d->list[i], i + 1);
	}
	reply.files = w->list;
	reply.n_files = w->count;
	reply.left = d->now.listed > d->list_count ? d->now.listed - d->list_count : 0;
	amp_channel_send(ch, AMP_MSG_CLI_SCAN_FILES_REPLY, m->id, &reply.base, NULL, 0);
	free(w);
	return 0;
}

/* -- requests before START -- */

static const struct {
	uint16_t type;
	amp_handler *handler;
	const ProtobufCMessageDescriptor *descriptor;
} requests[] = {
	{AMP_MSG_CLI_SCAN_START, on_start, &amp__cli_scan_start__descriptor},
	{AMP_MSG_CLI_SCAN_LIST, on_list, &amp__cli_scan_list__descriptor},
	{AMP_MSG_CLI_SCAN_CONTROL, on_control, &amp__cli_scan_control__descriptor},
	{AMP_MSG_CLI_SCAN_FILES, on_files, &amp__cli_scan_files__descriptor},
};
#define REQUESTS (sizeof(requests) / sizeof(requests[0]))

static size_t row_of(uint16_t type)
{
	size_t i = 0;

	while (i + 1 < REQUESTS && requests[i].type != type)
		i++;
	return i;
}

static void put_off(struct scand *s, struct amp_channel *ch, const struct amp_message *m)
{
	struct demand_request **p = &s->demand->early, *r = NULL;
	size_t size = protobuf_c_message_get_packed_size(m->body), n = 0;

	for (; *p; p = &(*p)->next)
		n++;
	if (n < EARLY_MAX)
		r = malloc(sizeof(*r) + size);
	if (!r) {
		amp_cli_error(ch, m->id, AMP__CLI_ERROR__CODE__NOT_NOW, "the scanner is starting; ask again");
		return;
	}
	*r = (struct demand_request){
		.client = amp_cli_client_serial(ch), .id = m->id, .type = m->type, .size = size};
	protobuf_c_message_pack(m->body, r->body);
	*p = r;
}

int demand_cli(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = amp_room_arg(arg);

	if (s->started)
		return requests[row_of(m->type)].handler(ch, m, arg);
	put_off(s, ch, m);
	return 0;
}

static void answer_early(struct scand *s, const struct demand_request *r)
{
	struct amp_cliserver *server = amp_room_cli(s->room);
	struct amp_channel *client = server ? amp_cli_client_find(server, r->client) : NULL;
	size_t row = row_of(r->type);
	ProtobufCMessage *body =
		client ? protobuf_c_message_unpack(requests[row].descriptor, NULL, r->size, r->body) : NULL;
	struct amp_message m = {.type = r->type, .id = r->id, .body = body};

	if (!body)
		return;
	requests[row].handler(client, &m, s->room);
	protobuf_c_message_free_unpacked(body, NULL);
}

void demand_cli_began(struct scand *s)
{
	while (s->demand->early) {
		struct demand_request *r = s->demand->early;

		s->demand->early = r->next;
		answer_early(s, r);
		free(r);
	}
}
