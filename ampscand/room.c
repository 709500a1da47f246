/*
 * ampscand/room.c - the scanner as a room: set-up, control messages, the pump.
 *
 * Owns: the order in which handles, rules, file systems and links arrive, and
 * when reading begins (START). Must not own: anything of the kernel's beyond
 * the descriptors that ampmon hands over; it opens nothing.
 */
#include "scand.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERDICTS_MAX	 65536U
#define CONTENTS_MAX	 65536U
#define HOUSE_KEEPING_MS 500
#define REPORT_NS	 (10 * AMP_NS_PER_SEC)
#define DYING_NS	 (3 * AMP_NS_PER_SEC) /* from a link's end to its peer's */

static unsigned cloud_generation;

static struct amp_counter count_unasked = AMP_COUNTER("link.unasked_answers", false);

static struct scand *scand_of(struct amp_room *room)
{
	return amp_room_arg(room);
}

void scand_repair_wanted(struct scand *s, uint64_t fsid, int64_t since_ns, const char *reason,
			 bool chain_broken)
{
	Amp__RepairWanted w = AMP__REPAIR_WANTED__INIT;

	w.fsid = fsid;
	w.since_ns = since_ns;
	w.reason = (char *)(uintptr_t)reason;
	w.chain_broken = chain_broken;
	amp_channel_send(amp_room_control(s->room), AMP_MSG_REPAIR_WANTED, 0, &w.base, NULL, 0);
}

/* -- the pump: once for everything that a batch of events or answers made possible -- */

static void arm_house_keeping(struct scand *s)
{
	struct timeval tv = {.tv_usec = HOUSE_KEEPING_MS * 1000};

	if ((s->occurrences || s->walks) && !evtimer_pending(s->house_timer, NULL))
		evtimer_add(s->house_timer, &tv);
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
	struct scand *s = arg;

	(void)fd;
	(void)what;
	if (!s->started)
		return;
	resolve_pump(s);
	opens_pump(s);
	judge_dispatch(s);
	readers_flush(s);
	scans_pump(s);
	walks_credit(s);
	engine_tell_missed(s);
	amp_outbox_pump(s->outbox);
	takes_pump(s);
	source_resume(s->handle_source);
	source_resume(s->fd_source);
	arm_house_keeping(s);
}

void scand_pump_later(struct scand *s)
{
	if (!event_pending(s->pump_event, EV_TIMEOUT, NULL))
		event_active(s->pump_event, EV_TIMEOUT, 0);
}

static void on_house_keeping(evutil_socket_t fd, short what, void *arg)
{
	struct scand *s = arg;

	(void)fd;
	(void)what;
	jobs_house_keeping(s);
	acts_park(s);
	walks_park(s);
	scand_pump_later(s);
}

/* Realtime of the oldest event not concluded; 0: none. */
static int64_t oldest_in_hand(const struct scand *s)
{
	int64_t oldest = s->buffers ? buffers_oldest(s->buffers) : 0;

	/* Events by descriptor are in no buffer. */
	for (struct cache_node *n = s->fd_source ? s->jobs.newest : NULL; n; n = n->older) {
		const struct occurrence *o = ((const struct job *)n)->first;

		for (; o; o = o->next)
			if (o->fd >= 0 && (oldest == 0 || o->time_ns < oldest))
				oldest = o->time_ns;
	}
	return oldest;
}

int64_t scand_seen_empty(const struct scand *s)
{
	int64_t empty = s->handle_source ? s->handle_source->empty_ns : 0;

	if (s->fd_source && s->fd_source->empty_ns < empty)
		empty = s->fd_source->empty_ns;
	return empty;
}

/* An event tells no time, and may have waited for long when it was read; it was not there when the queue was
 * empty. */
static int64_t before_it_happened(const struct scand *s, int64_t read_ns)
{
	int64_t before = 0;

	for (size_t i = 0; i < SCAND_EMPTIES; i++)
		if (s->empties[i] <= read_ns && s->empties[i] > before)
			before = s->empties[i];
	return before;
}

bool scand_link_is_left(int64_t lost_ns)
{
	return lost_ns && amp_clock_monotonic() - lost_ns > DYING_NS;
}

/* A peer that took its end away and did not die would never be replaced. */
static void look_for_left_links(struct scand *s)
{
	readers_look(s);
	quard_look(s);
	engine_look(s);
	foundation_look(s);
	if (!scand_link_is_left(s->cloud_lost_ns))
		return;
	amp_room_hostile(s->room, AMP_ROLE_CLOUD, 0, cloud_generation, SCAND_LINK_LEFT);
	s->cloud_lost_ns = 0;
}

/* What `status` shows. */
void scand_tell_state(struct scand *s)
{
	Amp__ScanState st = AMP__SCAN_STATE__INIT;
	char scan[256], last[256];

	demand_texts(s, scan, sizeof(scan), last, sizeof(last));
	st.jobs = s->occurrences + walks_of_moves(s);
	st.parked = s->buffers ? buffers_parked(s->buffers) : 0;
	st.scan = scan;
	st.last_scan = last;
	amp_channel_send(amp_room_control(s->room), AMP_MSG_SCAN_STATE, 0, &st.base, NULL, 0);
}

void scand_tell_concluded(struct scand *s)
{
	Amp__Concluded c = AMP__CONCLUDED__INIT;
	int64_t oldest = oldest_in_hand(s), missed = engine_missed_since(s);

	c.time_ns = oldest ? before_it_happened(s, oldest) : scand_seen_empty(s);
	/* What the engine did not see is not concluded before a repair has found it. */
	if (missed && missed < c.time_ns)
		c.time_ns = missed;
	c.missed_ns = missed;
	if (amp_channel_send(amp_room_control(s->room), AMP_MSG_CONCLUDED, 0, &c.base, NULL, 0) == 0)
		engine_missed_told(s, missed);
}

/* Every 10 s. */
static void on_report(evutil_socket_t fd, short what, void *arg)
{
	struct scand *s = arg;

	(void)fd;
	(void)what;
	look_for_left_links(s);
	if (!s->started)
		return;
	/* Who had no processor may come to this before what waits in the kernel. */
	source_look(s->handle_source);
	source_look(s->fd_source);
	s->empties[s->next_empty++ % SCAND_EMPTIES] = scand_seen_empty(s);
	scand_tell_concluded(s);
	scand_tell_state(s);
}

/* -- control messages -- */

static int on_source(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = scand_of(arg);
	const Amp__Source *src = (const Amp__Source *)m->body;
	int fd = amp_message_take_fd(m, 0);

	(void)ch;
	if (src->kind == AMP__SOURCE__KIND__HANDLE && !s->handle_source && s->buffers) {
		s->handle_source = source_handle_new(s->base, fd, s->buffers, &s->source_ops);
		s->handle_continued = src->continued;
	} else if (src->kind == AMP__SOURCE__KIND__FD) {
		source_free(s->fd_source);
		s->fd_source = source_fd_new(s->base, fd, &s->source_ops);
	} else {
		close(fd);
		return -1;
	}
	scand_pump_later(s);
	return 0;
}

static int on_buffers(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = scand_of(arg);
	const Amp__Buffers *b = (const Amp__Buffers *)m->body;
	int fd = amp_message_take_fd(m, 0);

	(void)ch;
	if (s->buffers || b->size != AMP_BUFFER_SIZE) {
		close(fd);
		return -1;
	}
	s->buffers = buffers_map(fd, b->count, b->parked, &s->inherited);
	return s->buffers ? 0 : -1;
}

/* It was hidden under another mount, and what happened there meanwhile was given up. */
static void look_again(struct scand *s, struct filesystem *fs)
{
	if (!fs || !fs->mount_point[0] || !fs->unread_since_ns)
		return;
	scand_repair_wanted(
		s, fs->fsid,
		fs->unread_since_ns > 2 * AMP_NS_PER_SEC ? fs->unread_since_ns - 2 * AMP_NS_PER_SEC : 0,
		"was hidden under another mount", false);
	fs->unread_since_ns = 0;
}

static int on_filesystem(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = scand_of(arg);
	const Amp__FileSystem *fs = (const Amp__FileSystem *)m->body;

	(void)ch;
	if (filesystems_set(&s->filesystems, fs) != 0)
		return -1;
	look_again(s, filesystems_find(&s->filesystems, fs->fsid));
	demand_filesystem_came(s);
	return 0;
}

/* It may come back as another with the same handles: nothing of it is kept. */
static int on_filesystem_gone(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = scand_of(arg);
	uint64_t fsid = ((const Amp__FilesystemGone *)m->body)->fsid;

	(void)ch;
	filesystems_remove(&s->filesystems, fsid);
	verdicts_forget(&s->verdicts, fsid);
	walk_filesystem_gone(s, fsid);
	return 0;
}

static int on_own_directory(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	return intake_own_directory(scand_of(arg), (const Amp__OwnDirectory *)m->body);
}

static int on_policy_begin(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = scand_of(arg);

	(void)ch;
	rules_free(s->next_rules); /* overtaken by a newer one */
	s->next_rules = rules_new((const Amp__PolicyBegin *)m->body);
	return s->next_rules ? 0 : -1;
}

static int on_policy_entries(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = scand_of(arg);
	const Amp__PolicyEntries *e = (const Amp__PolicyEntries *)m->body;

	(void)ch;
	if (!s->next_rules || e->n_entries > AMP_POLICY_BATCH)
		return -1;
	for (size_t i = 0; i < e->n_entries; i++)
		if (rules_add(s->next_rules, e->entries[i]) != 0)
			return -1;
	return 0;
}

static void warn_of_unsafe(struct scand *s)
{
	char detail[512] = "";

	for (size_t i = 0; i < s->rules->exclusion_count; i++) {
		const struct rule *r = &s->rules->rule[s->rules->exclusions[i]];

		if (!r->warning || r->kind == AMP__POLICY_ENTRY__KIND__EXCLUDE_EXTENSION)
			continue;
		amp_warn("exclusion of line %u (%s %s): %s", r->line, rule_kind_name(r), r->text, r->warning);
		if (!detail[0])
			snprintf(detail, sizeof(detail), "line %u: %s %.300s: %s", r->line, rule_kind_name(r),
				 r->text, r->warning);
	}
	amp_room_fault(s->room, AMP_FAULT_EXCLUSION_UNSAFE, detail[0] != '\0', detail);
}

static int on_policy_end(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = scand_of(arg);
	const Amp__PolicyEnd *end = (const Amp__PolicyEnd *)m->body;
	Amp__PolicyAck ack = AMP__POLICY_ACK__INIT;

	if (!s->next_rules || s->next_rules->epoch != end->epoch || s->next_rules->count != end->entries ||
	    rules_seal(s->next_rules) != 0)
		return -1;
	rules_free(s->rules);
	s->rules = s->next_rules;
	s->rules->restored = s->restored;
	s->next_rules = NULL;
	amp_info("policy \"%s\" (#%u) is in force: %s, %zu entries", s->rules->name, s->rules->serial,
		 s->rules->protect ? "protect" : "audit", s->rules->count);
	ack.epoch = end->epoch;
	amp_channel_send(ch, AMP_MSG_POLICY_ACK, 0, &ack.base, NULL, 0);
	warn_of_unsafe(s);
	demand_policy_changed(s);
	engine_changed(s);
	if (s->started)
		judge_policy_changed(s);
	return 0;
}

static int on_repair(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	return walk_repair(scand_of(arg), (const Amp__Repair *)m->body);
}

static int on_running(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = scand_of(arg);
	const Amp__Running *r = (const Amp__Running *)m->body;

	(void)ch;
	if (r->n_pids > AMP_PIDS_BATCH)
		return -1;
	for (size_t i = 0; i < r->n_pids; i++)
		if (r->pids[i] > 0)
			intake_running(s, r->pids[i]);
	scand_pump_later(s);
	return 0;
}

static int on_killed(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	/* An answer for an event of our predecessor: it is asked again under a new id. */
	if (act_killed(scand_of(arg), m->id, (const Amp__Killed *)m->body) != 0)
		amp_counter_add(&count_unasked, 1);
	return 0;
}

static int on_foundation(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	return foundation_paths(scand_of(arg), (const Amp__Foundation *)m->body);
}

static int on_kept(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	/* An answer to our predecessor. */
	if (keep_kept(scand_of(arg), m->id, (const Amp__Kept *)m->body) != 0)
		amp_counter_add(&count_unasked, 1);
	return 0;
}

static int on_keeps(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	return keep_keeps(scand_of(arg), (const Amp__Keeps *)m->body);
}

static int on_mapped_files(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	return demand_mapped(scand_of(arg), m->id, (const Amp__MappedFiles *)m->body);
}

#define WHOLE (AMP_MSG_MAX - 16)

static const struct amp_dispatch control_rows[] = {
	{AMP_MSG_SOURCE, &amp__source__descriptor, 64, 1, 1, 0, on_source},
	{AMP_MSG_BUFFERS, &amp__buffers__descriptor, 64, 1, 1, 0, on_buffers},
	{AMP_MSG_FILESYSTEM, &amp__file_system__descriptor, WHOLE, 0, 0, 0, on_filesystem},
	{AMP_MSG_FILESYSTEM_GONE, &amp__filesystem_gone__descriptor, 64, 0, 0, 0, on_filesystem_gone},
	{AMP_MSG_OWN_DIRECTORY, &amp__own_directory__descriptor, 512, 0, 0, 0, on_own_directory},
	{AMP_MSG_POLICY_BEGIN, &amp__policy_begin__descriptor, 1024, 0, 0, 0, on_policy_begin},
	{AMP_MSG_POLICY_ENTRIES, &amp__policy_entries__descriptor, WHOLE, 0, 0, 0, on_policy_entries},
	{AMP_MSG_POLICY_END, &amp__policy_end__descriptor, 64, 0, 0, 0, on_policy_end},
	{AMP_MSG_REPAIR, &amp__repair__descriptor, 4096, 0, 0, 0, on_repair},
	{AMP_MSG_RUNNING, &amp__running__descriptor, WHOLE, 0, 0, 0, on_running},
	{AMP_MSG_KILLED, &amp__killed__descriptor, WHOLE, 0, 0, 0, on_killed},
	{AMP_MSG_FOUNDATION, &amp__foundation__descriptor, WHOLE, 0, 0, 0, on_foundation},
	{AMP_MSG_KEPT, &amp__kept__descriptor, 128, 0, 0, 0, on_kept},
	{AMP_MSG_KEEPS, &amp__keeps__descriptor, WHOLE, 0, 0, 0, on_keeps},
	{AMP_MSG_MAPPED_FILES, &amp__mapped_files__descriptor, WHOLE, 0, 0, 0, on_mapped_files},
};

/* -- the link to ampcloudd -- */

static int on_event_ack(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = arg;

	(void)ch;
	amp_outbox_ack(s->outbox, (const Amp__EventAck *)m->body);
	scand_pump_later(s);
	return 0;
}

static const struct amp_dispatch cloud_rows[] = {
	{AMP_MSG_EVENT_ACK, &amp__event_ack__descriptor, WHOLE, 0, 0, 0, on_event_ack},
};

static void cloud_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct scand *s = arg;

	if (end == AMP_CHANNEL_HOSTILE)
		amp_room_hostile(s->room, AMP_ROLE_CLOUD, 0, cloud_generation, why);
	else
		s->cloud_lost_ns = amp_clock_monotonic();
	amp_outbox_attach(s->outbox, NULL, true);
	s->cloud = NULL;
	amp_channel_free(ch);
}

static void cloud_writable(struct amp_channel *ch, void *arg)
{
	struct scand *s = arg;

	(void)ch;
	amp_outbox_pump(s->outbox);
}

static void cloud_link(struct scand *s, unsigned generation, int fd)
{
	struct amp_channel_config c = {.name = "ampcloudd",
				       .table = cloud_rows,
				       .rows = sizeof(cloud_rows) / sizeof(cloud_rows[0]),
				       .on_end = cloud_end,
				       .on_writable = cloud_writable,
				       .arg = s};
	bool died = s->cloud != NULL;

	if (s->cloud)
		amp_channel_free(s->cloud);
	cloud_generation = generation;
	s->cloud_lost_ns = 0;
	s->cloud = amp_channel_new(s->base, fd, &c);
	amp_outbox_attach(s->outbox, s->cloud, died);
}

/* -- the room -- */

static void on_link(struct amp_room *room, enum amp_role_id peer, unsigned instance, unsigned generation,
		    int fd)
{
	struct scand *s = scand_of(room);

	if (peer == AMP_ROLE_READ)
		readers_link(s, instance, generation, fd);
	else if (peer == AMP_ROLE_QUARD)
		quard_link(s, generation, amp_room_peer_pid(room), fd);
	else if (peer == AMP_ROLE_ENGINE)
		engine_link(s, generation, fd);
	else
		cloud_link(s, generation, fd);
}

static int open_room(struct amp_room *room, const Amp__Conf *conf)
{
	struct scand *s = scand_of(room);
	struct amp_outbox_config ob = {.window = 256, .on_committed = act_committed, .arg = s};

	s->room = room;
	s->base = amp_room_base(room);
	s->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->proc < 0) {
		amp_error("/proc: %s; it must be mounted", strerror(errno));
		return -1;
	}
	if (amp_sha256_setup() != 0)
		return -1;
	if (conf->bin_dir.len)
		s->bin_dir = strndup((const char *)conf->bin_dir.data, conf->bin_dir.len);
	s->engine_there = conf->engine;
	intake_ops(s, &s->source_ops);
	s->who = who_table_new(s->proc);
	s->outbox = amp_outbox_new(&ob);
	s->pump_event = event_new(s->base, -1, 0, on_pump, s);
	s->house_timer = evtimer_new(s->base, on_house_keeping, s);
	if (!s->who || !s->outbox || !s->pump_event || !s->house_timer || jobs_init(s) != 0 ||
	    acts_init(s) != 0 || keep_init(s) != 0 || foundation_init(s) != 0 || brake_init(s) != 0 ||
	    demand_init(s) != 0 || engine_init(s) != 0 || scans_init(s) != 0 ||
	    contents_init(&s->contents, CONTENTS_MAX) != 0 || quard_init(s) != 0 || resolve_init(s) != 0 ||
	    filesystems_init(&s->filesystems) != 0 || verdicts_init(&s->verdicts, VERDICTS_MAX) != 0)
		return -1;
	return 0;
}

static int ready(struct amp_room *room)
{
	struct scand *s = scand_of(room);
	struct event *report = event_new(s->base, -1, EV_PERSIST, on_report, s);
	struct timeval tv = {.tv_sec = REPORT_NS / AMP_NS_PER_SEC};

	return report && event_add(report, &tv) == 0 ? 0 : -1;
}

static void begin_work(struct scand *s)
{
	s->started = true;
	if (s->inherited)
		intake_replay(s);
	walks_pump(s);
	demand_began(s);
	engine_changed(s);
	scand_pump_later(s);
}

/* A file that was restored is not to be taken again just because we are new. */
static void start(struct amp_room *room)
{
	struct scand *s = scand_of(room);

	if (!s->handle_source || !s->buffers || !s->rules) {
		amp_error("start without source, buffers or policy; leaving");
		event_base_loopbreak(s->base);
		return;
	}
	if (quard_wait_for_list(s, begin_work))
		begin_work(s);
}

static void stop(struct amp_room *room)
{
	struct scand *s = scand_of(room);

	source_free(s->handle_source);
	source_free(s->fd_source);
	s->handle_source = s->fd_source = NULL;
}

int scand_main(void)
{
	static struct scand s;
	static const struct amp_room_ops ops = {
		.role = AMP_ROLE_SCAN,
		.open = open_room,
		.ready = ready,
		.start = start,
		.link = on_link,
		.control = control_rows,
		.control_rows = sizeof(control_rows) / sizeof(control_rows[0]),
		.cli = scand_cli,
		.cli_rows = AMP_SCAND_CLI_ROWS,
		.stop = stop,
	};

	_Static_assert(REPORT_NS % AMP_NS_PER_SEC == 0, "whole seconds");
	return amp_room_main(&ops, &s);
}
