/*
 * ampscand/act.c - what follows a conviction: the record, the kill, the taking.
 *
 * Owns: acts (an event convicted, until every record of it is committed and
 * ampquard has committed to take the file), which course one takes, requests to
 * ampmon to kill, also those that ampquard asks for. The event's slot is given
 * back last, so a successor does again whatever was not committed; the ids make
 * that harmless. Must not own: the decision, any signal, what records say
 * (act_record.c), the order of what waits for ampquard (take.c).
 */
#include "act.h"
#include "script.h"

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMELESS_SLACK_NS (2 * AMP_NS_PER_SEC) /* between an event and the change time it goes with */
#define KILL_TRIES	  12		       /* 1 ms, 2 ms, .. 1 s: about 3 s in all */
#define PARK_AFTER_NS	  AMP_NS_PER_SEC
#define AGAIN_MAX	  256U /* questions of ampquard in hand */

static struct amp_counter count_nameless = AMP_COUNTER("judged.nameless", false);
static struct amp_counter count_set_aside = AMP_COUNTER("act.set_aside", true);

bool act_by_process(const struct act *a)
{
	const struct occurrence *o = a->event;

	return (o->cause & (EVENT_EXEC | CAUSE_RUNNING)) && o->who && o->who->pid > 0;
}

static uint64_t serial_hash(uint64_t serial)
{
	return serial * 0x9e3779b97f4a7c15ULL >> 32; /* nobody else chooses them */
}

static bool act_equal(const struct cache_node *node, const void *key)
{
	return ((const struct act *)node)->serial == *(const uint64_t *)key;
}

static void act_evict(struct cache_node *node, void *arg)
{
	(void)node; /* the table has no bound; acts leave by finish() */
	(void)arg;
}

int acts_init(struct scand *s)
{
	return cache_init(&s->acts_by_serial, 4096, 0, act_equal, act_evict, NULL);
}

static struct act *act_find(struct scand *s, uint64_t serial)
{
	return (struct act *)cache_find(&s->acts_by_serial, serial_hash(serial), &serial);
}

static struct act *act_of(struct take *t)
{
	return (struct act *)(void *)((char *)t - offsetof(struct act, take));
}

static void act_unlink(struct act *a)
{
	struct scand *s = a->scand;

	cache_remove(&s->acts_by_serial, &a->node);
	if (a->prev)
		a->prev->next = a->next;
	else
		s->acts = a->next;
	if (a->next)
		a->next->prev = a->prev;
	else
		s->acts_last = a->prev;
}

static void finish(struct act *a)
{
	if (a->pending || a->killing || a->keeping || a->take.waiting)
		return;
	act_unlink(a);
	if (a->timer)
		event_free(a->timer);
	occurrence_conclude(a->scand, a->event);
	free(a);
}

static struct act *act_new(struct scand *s, struct occurrence *o, const struct amp_fileid *file)
{
	struct act *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	occurrence_detach(o);
	a->scand = s;
	a->serial = ++s->serial;
	a->event = o;
	fileid_copy(&a->file, file);
	a->prev = s->acts_last;
	if (s->acts_last)
		s->acts_last->next = a;
	else
		s->acts = a;
	s->acts_last = a;
	cache_insert(&s->acts_by_serial, &a->node, serial_hash(a->serial));
	return a;
}

static void on_timer(evutil_socket_t fd, short what, void *arg);

static void later(struct act *a, unsigned ms)
{
	struct timeval tv = {.tv_usec = (int)ms * 1000};

	if (!a->timer)
		a->timer = evtimer_new(a->scand->base, on_timer, a);
	if (a->timer)
		evtimer_add(a->timer, &tv);
}

static void send_kill(struct act *a, const struct amp_identity *interpreter)
{
	struct scand *s = a->scand;
	Amp__Kill k = AMP__KILL__INIT;
	Amp__Identity file = AMP__IDENTITY__INIT, runs = AMP__IDENTITY__INIT;
	char signature[AMP_SIGNATURE_MAX + 1];

	amp_identity_to_wire(&a->identity, &file);
	k.detection_id = a->detection_id;
	k.sha256.data = a->sha256;
	k.sha256.len = AMP_SHA256_SIZE;
	k.file = &file;
	k.fsid = a->file.fsid;
	if (act_by_process(a)) {
		k.event_pid = a->event->who->pid;
		k.event_seen_ns = a->event->who->seen_ns;
	}
	if (interpreter) {
		amp_identity_to_wire(interpreter, &runs);
		k.interpreter = &runs;
	}
	k.path.data = (uint8_t *)a->event->path;
	k.path.len = a->event->path ? strlen(a->event->path) : 0;
	if (a->by_engine)
		k.signature = (char *)(uintptr_t)amp_text_escape(a->detection, strlen(a->detection),
								 signature, sizeof(signature));
	if (amp_channel_send(amp_room_control(s->room), AMP_MSG_KILL, a->serial, &k.base, NULL, 0) != 0)
		later(a, 100);
}

static void again(struct act *a)
{
	unsigned n = a->tries++;

	later(a, n < 10 ? 1U << n : 1000);
}

/* Of a script's exec, the process is killed once it runs the interpreter. */
static void start_kill(struct act *a)
{
	struct amp_identity interpreter;
	enum script_answer answer = SCRIPT_GONE;

	a->killing = true;
	if (a->script && (a->event->cause & EVENT_EXEC) && act_by_process(a))
		answer = script_interpreter(a->scand, a->event->who->pid, &a->file, a->line, a->line_size,
					    &interpreter);
	if (answer == SCRIPT_NOT_YET && a->tries < KILL_TRIES)
		again(a);
	else
		send_kill(a, answer == SCRIPT_RUNS ? &interpreter : NULL);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	start_kill(arg);
}

/* A file made with O_TMPFILE has the name "#INODE", which leads nowhere. */
static bool is_nameless(const struct occurrence *o, const struct amp_identity *id)
{
	struct amp_identity there;

	if ((o->cause & ~(unsigned)EVENT_WRITE) || o->name_size < 2 || o->name[0] != '#' || !o->path ||
	    strspn(o->name + 1, "0123456789") != o->name_size - 1)
		return false;
	/* What we may not look at (a private directory) may well have this name. */
	if (amp_statx_identity(AT_FDCWD, o->path, AT_SYMLINK_NOFOLLOW, &there) != 0)
		return errno == ENOENT || id->nlink == 0;
	return there.ino != id->ino;
}

/*
 * Its link, if it gets one, and its exec are events of their own. But who gives an old file such a name
 * (link(2)), writes by it and takes it away leaves the content under the old name, of which no event
 * tells: what has names is looked for by its change time.
 */
static void leave_nameless(struct scand *s, struct occurrence *o, const struct amp_fileid *id,
			   const struct amp_identity *identity)
{
	int64_t since = o->since_ns - NAMELESS_SLACK_NS;

	amp_counter_add(&count_nameless, 1);
	if (identity->nlink > 0)
		scand_repair_wanted(s, id->fsid, since > 0 ? since : 0,
				    "the name by which a file was written is gone", false);
	occurrence_conclude(s, o);
}

/*
 * Nothing found under Audit is moved later for a change of the policy alone;
 * what is written, executed or found by a repair under Protect is.
 */
static bool is_to_be_taken(const struct act *a)
{
	struct verdicts *v = &a->scand->verdicts;

	if (!a->protect || !a->detection_id[0])
		return false;
	return a->event->cause != CAUSE_RUNNING || !verdicts_marked(v, &a->file, a->sha256, VERDICT_AUDITED);
}

/*
 * A signature can be wrong, and then it is wrong for many files at once. What the
 * machine stands on is left alone, and so is what a signature convicts by the
 * dozen; what the administrator lists by hash is neither's matter.
 */
static enum act_course course_of(struct act *a)
{
	const struct occurrence *o = a->event;
	const char *path = o->path_unresolved ? NULL : o->path;
	enum brake_answer brake = BRAKE_OFF;

	if (!a->by_engine)
		return ACT_FREELY;
	if (foundation_has(a->scand, &a->identity, path)) {
		foundation_convicted(a->scand, a->detection, o->path);
		return ACT_FOUNDATION;
	}
	if (a->protect)
		brake = brake_holds(a->scand, a->detection, &a->file, &a->identity, path,
				    is_to_be_taken(a) ? a->serial : 0);
	a->keeping = brake == BRAKE_HOLDS_KEEPING;
	return brake == BRAKE_OFF ? ACT_FREELY : ACT_HELD;
}

static void name_detection(struct act *a, const struct conviction *why)
{
	const char *name = why->name && why->name[0] ? why->name : NULL;

	if (!name)
		name = why->by_engine ? "Unnamed-signature" : "Blocked-by-list";
	amp_text_escape(name, strlen(name), a->detection, sizeof(a->detection));
}

/*
 * A walk may come by while ampquard has a file in its private directory. Only
 * ampquard knows whether it is that, and records what is not (nobody else could
 * say later what became of it); others may give a directory such a name.
 */
static bool is_keepers(const struct act *a)
{
	const char *path = a->event->path, *name = path ? strrchr(path, '/') : NULL;
	const char *dir = name ? memrchr(path, '/', (size_t)(name - path)) : NULL;

	return a->to_take && !a->event->path_unresolved && dir &&
	       strncmp(dir + 1, AMP_PRIVATE_PREFIX, strlen(AMP_PRIVATE_PREFIX)) == 0;
}

static bool is_known_left(const struct act *a)
{
	return a->course != ACT_FREELY &&
	       verdicts_marked(&a->scand->verdicts, &a->file, a->sha256, VERDICT_LEFT);
}

/* Kill first, record next. */
static void take_course(struct act *a)
{
	struct verdicts *v = &a->scand->verdicts;

	a->course = course_of(a);
	if (!a->protect) {
		verdicts_mark(v, &a->file, a->sha256, VERDICT_AUDITED);
	} else if (a->course == ACT_FREELY) {
		a->to_take = is_to_be_taken(a);
		a->keepers = is_keepers(a);
		start_kill(a);
	}
	if (!is_known_left(a) && !a->keepers)
		act_record_detection(a);
	if (a->course != ACT_FREELY) {
		verdicts_mark(v, &a->file, a->sha256, VERDICT_LEFT);
		contents_doubt(&a->scand->contents, a->sha256);
	}
	finish(a);
}

void act_convict(struct scand *s, struct occurrence *o, const struct amp_fileid *id,
		 const struct conviction *why, const uint8_t *sha256, const struct amp_identity *identity,
		 bool script, const char *script_line, size_t script_line_size)
{
	struct act *a;

	if (is_nameless(o, identity)) {
		leave_nameless(s, o, id, identity);
		return;
	}
	a = act_new(s, o, id);
	if (!a) {
		amp_error("no memory to act on a detection; the event stays in hand");
		occurrence_detach(o);
		return;
	}
	memcpy(a->sha256, sha256, AMP_SHA256_SIZE);
	a->identity = *identity;
	a->protect = s->rules->protect;
	a->by_engine = why->by_engine;
	a->script = script;
	a->line_size = script_line_size < sizeof(a->line) ? script_line_size : sizeof(a->line) - 1;
	if (script_line && a->line_size)
		memcpy(a->line, script_line, a->line_size);
	name_detection(a, why);
	act_identify(a);
	demand_convicted(s, o, a->detection);
	take_course(a);
}

void act_unjudged(struct scand *s, struct occurrence *o, const struct amp_fileid *id, const char *type,
		  const char *why)
{
	struct act *a = act_new(s, o, id);

	if (!a) {
		occurrence_conclude(s, o);
		return;
	}
	a->protect = s->rules->protect;
	act_record_unjudged(a, type, why);
	finish(a);
}

bool act_is_in_hand(const struct scand *s, const struct amp_fileid *file)
{
	const struct act *a = s->acts;

	while (a && !amp_fileid_equal(&a->file, file))
		a = a->next;
	return a != NULL;
}

/*
 * The event comes when the program is opened; the process runs it only a little
 * later, and env(1) is soon another. If the process of the exec lives and was
 * not among the killed, it is looked at again for a while (a failed exec too:
 * its caller never matches).
 */
static bool escaped(const struct act *a, const Amp__Killed *k)
{
	struct amp_identity id;

	if (!(a->event->cause & EVENT_EXEC) || !act_by_process(a) || k->refused[0] || k->stranger ||
	    a->tries >= KILL_TRIES)
		return false;
	for (size_t i = 0; i < k->n_processes; i++)
		if (k->processes[i]->pid == a->event->who->pid)
			return false;
	return who_program_identity(a->scand->who, a->event->who->pid, &id) == 0;
}

/* It runs where only ampmon can see it; the paths known here lead elsewhere. */
static void leave_foundation(struct act *a)
{
	a->to_take = false;
	if (a->asked)
		return;
	a->course = ACT_FOUNDATION;
	foundation_convicted(a->scand, a->detection, a->event->path);
	act_record_detection(a);
}

/* One answer of ampmon is whole: what waited for it goes on. */
static void pass_is_over(struct act *a)
{
	if (a->to_take)
		take_put(a->scand, &a->take);
	a->to_take = false;
	if (a->asked && !a->killing)
		quard_killed_again(a->scand, a->question, a->question_generation);
}

int act_killed(struct scand *s, uint64_t id, const Amp__Killed *k)
{
	struct act *a = act_find(s, id);

	if (!a || !a->killing || k->n_processes > AMP_KILL_RESULTS)
		return -1;
	for (size_t i = 0; i < k->n_processes; i++)
		if (k->processes[i]->exe.len < AMP_PATH_MAX)
			act_record_kill(a, k->processes[i]);
	if (k->unfinished)
		return 0;
	if (k->more)
		amp_warn("%s: %u more processes were killed", a->detection_id, k->more);
	if (k->refused[0])
		amp_info("%s: nothing was killed: %s", a->detection_id, k->refused);
	if (k->stranger)
		amp_info("%s: its process has gone, or cannot be told from a later one: that was not killed",
			 a->detection_id);
	if (k->foundation && a->by_engine)
		leave_foundation(a);
	a->killing = escaped(a, k);
	if (a->killing)
		again(a);
	pass_is_over(a);
	finish(a);
	return 0;
}

/* -- what ampquard asks for -- */

static bool is_uuid(const char *s)
{
	for (size_t i = 0; i < 36; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? s[i] != '-' : !isxdigit((unsigned char)s[i]))
			return false;
	return s[36] == '\0';
}

static bool kill_again_is_valid(const Amp__KillAgain *k)
{
	return is_uuid(k->detection_id) && k->sha256.len == AMP_SHA256_SIZE && k->handle && k->identity &&
	       strlen(k->detection) < sizeof(((struct act *)0)->detection) && k->path.len < AMP_PATH_MAX &&
	       !(k->path.len && memchr(k->path.data, 0, k->path.len));
}

static size_t questions(const struct scand *s)
{
	size_t n = 0;

	for (const struct act *a = s->acts; a; a = a->next)
		n += a->asked && a->killing;
	return n;
}

static bool is_on_list(const struct scand *s, const uint8_t *sha256)
{
	const struct rule *r = rules_lookup(s->rules, sha256);

	return r && r->kind == AMP__POLICY_ENTRY__KIND__BLOCKED;
}

/* By the engine, as far as it is remembered here: ampquard's word is none. */
static bool is_convicted(struct scand *s, const uint8_t *sha256)
{
	const struct content *c = contents_find(&s->contents, sha256, engine_generation(s));

	return c && c->result == CONTENT_INFECTED;
}

static struct occurrence *occurrence_of_question(const Amp__KillAgain *k)
{
	struct occurrence *o = occurrence_new(NULL, NULL, 0);

	if (!o)
		return NULL;
	o->cause = CAUSE_RUNNING;
	o->path_unresolved = k->path_unresolved;
	o->path = k->path.len ? strndup((const char *)k->path.data, k->path.len) : strdup("");
	return o;
}

int act_kill_again(struct scand *s, uint64_t question, unsigned generation, const Amp__KillAgain *k)
{
	struct amp_fileid file = {.fsid = k->fsid};
	struct amp_identity identity;
	struct occurrence *o;
	struct act *a;

	if (!kill_again_is_valid(k) || amp_handle_from_wire(k->handle, &file.handle) != 0 ||
	    amp_identity_from_wire(k->identity, &identity) != 0 || questions(s) >= AGAIN_MAX)
		return -1;
	o = s->rules && s->rules->protect ? occurrence_of_question(k) : NULL;
	a = o ? act_new(s, o, &file) : NULL;
	if (!a) {
		/* Under Audit nothing is killed; nor without memory, which is told by the log. */
		if (o)
			amp_error("no memory to kill once more what runs %.64s", k->detection_id);
		free(o);
		quard_killed_again(s, question, generation);
		return 0;
	}
	s->occurrences++;
	a->protect = a->asked = a->killing = true;
	a->question = question;
	a->question_generation = generation;
	a->identity = identity;
	memcpy(a->sha256, k->sha256.data, AMP_SHA256_SIZE);
	/* What is neither is asked of ampmon as if it were on a list, and refused there. */
	a->by_engine = !is_on_list(s, a->sha256) && is_convicted(s, a->sha256);
	snprintf(a->detection_id, sizeof(a->detection_id), "%s", k->detection_id);
	snprintf(a->detection, sizeof(a->detection), "%s", k->detection);
	send_kill(a, NULL);
	return 0;
}

/* -- what waits for ampquard -- */

struct take *act_find_take(struct scand *s, uint64_t id)
{
	struct act *a = act_find(s, id);

	return a && a->take.waiting ? &a->take : NULL;
}

bool act_take_has_fd(const struct take *t)
{
	const struct act *a =
		(const struct act *)(const void *)((const char *)t - offsetof(struct act, take));

	return a->event->fd >= 0 && amp_handle_is_stand_in(&a->file.handle);
}

/* A link's text need not be a path (it may say that it is unreachable). */
static bool is_host_path(const char *path, size_t n)
{
	return n > 0 && n < AMP_PATH_MAX && path[0] == '/';
}

static bool is_component(const char *name, size_t n)
{
	return n > 0 && n <= AMP_NAME_MAX && !memchr(name, '/', n) && !(name[0] == '.' && n == 1) &&
	       !(n == 2 && name[0] == '.' && name[1] == '.');
}

/* Of a running program no name is known, and its directory is only where its path was asked for. */
static void fill_name(const struct occurrence *o, Amp__Take *t, Amp__Handle *directory)
{
	size_t n = o->path ? strlen(o->path) : 0;

	t->path_unresolved = o->path_unresolved || !is_host_path(o->path, n);
	if (is_host_path(o->path, n)) {
		t->path.data = (uint8_t *)o->path;
		t->path.len = n;
	}
	if (!is_component(o->name, o->name_size))
		return;
	t->name.data = (uint8_t *)(uintptr_t)o->name;
	t->name.len = o->name_size;
	if (!o->directory || amp_handle_is_stand_in(&o->directory->handle))
		return;
	amp_handle_to_wire(&o->directory->handle, directory);
	t->directory = directory;
}

int act_send_take(struct take *take, struct amp_channel *ch)
{
	struct act *a = act_of(take);
	Amp__Take t = AMP__TAKE__INIT;
	Amp__Handle handle = AMP__HANDLE__INIT, directory = AMP__HANDLE__INIT;
	Amp__Identity identity = AMP__IDENTITY__INIT;
	Amp__Process process;

	act_fill_process(&process, a->event->who);
	fill_name(a->event, &t, &directory);
	amp_handle_to_wire(&a->file.handle, &handle);
	amp_identity_to_wire(&a->identity, &identity);
	t.detection_id = a->detection_id;
	t.fsid = a->file.fsid;
	t.handle = &handle;
	t.sha256.data = a->sha256;
	t.sha256.len = AMP_SHA256_SIZE;
	t.identity = &identity;
	t.detection = a->detection;
	t.time_ns = a->event->time_ns;
	t.cause = (char *)(uintptr_t)act_cause_name(a->event->cause);
	t.process = &process;
	return amp_channel_send(ch, AMP_MSG_TAKE, a->serial, &t.base, &a->event->fd, act_take_has_fd(take));
}

void act_taken(struct take *t, bool aside)
{
	struct act *a = act_of(t);

	if (!aside)
		verdicts_mark(&a->scand->verdicts, &a->file, a->sha256, VERDICT_TAKEN);
	else if (a->keepers)
		act_record_detection(a);
	finish(a);
}

void act_committed(uint64_t token, bool aside, void *arg)
{
	struct scand *s = arg;
	struct act *a = act_find(s, token);

	if (aside) {
		amp_counter_add(&count_set_aside, 1);
		amp_room_fault(s->room, AMP_FAULT_EVENT_SET_ASIDE, true,
			       "ampcloudd died three times on one event");
	}
	if (!a || !a->pending)
		return;
	a->pending--;
	finish(a);
}

void act_kept(struct scand *s, uint64_t act)
{
	struct act *a = act_find(s, act);

	if (!a || !a->keeping)
		return;
	a->keeping = false;
	finish(a);
}

void acts_park(struct scand *s)
{
	int64_t now = amp_clock_realtime();

	for (struct act *a = s->acts; a; a = a->next)
		if (a->event->slot.kind == SLOT_BUFFER && now - a->event->time_ns > PARK_AFTER_NS &&
		    park_occurrence(s, a->event, &a->file) != 0)
			return;
}

size_t acts_count(const struct scand *s)
{
	size_t n = 0;

	for (const struct act *a = s->acts; a; a = a->next)
		n++;
	return n;
}

void act_free(struct scand *s)
{
	while (s->acts) {
		struct act *a = s->acts;

		a->pending = 0;
		a->killing = a->keeping = a->take.waiting = false;
		a->event->slot.kind = SLOT_NONE; /* stays in hand for the successor */
		finish(a);
	}
	cache_free(&s->acts_by_serial);
}
