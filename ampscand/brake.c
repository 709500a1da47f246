/*
 * ampscand/brake.c - a signature that convicts many old files is held.
 *
 * Owns: the signatures that are counted, hold or were released, the fault, the
 * record of them. Must not own: the files that were left alone (held.c), the
 * answers to ampcli (brakecli.c), what is done about a conviction (act.c).
 *
 * What is new may be malware that spreads; what has lain there for a day and is
 * found in many files at once is more likely an error of the signature, or, when
 * many signatures find some each, of all of them. The
 * change time tells how old a file is: nobody can set it back. Who could change
 * content without it would trip the brake on the signatures of what he brings
 * next, so where that can be done only root's files count.
 */
#include "brake.h"

#include "arena.h"
#include "counter.h"
#include "log.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD	   "brake"
#define MEMORY_MAX ((size_t)1024 * 1024) /* of an unpacked record */

static struct amp_counter count_on = AMP_COUNTER("brake.on", false);
static struct amp_counter count_held = AMP_COUNTER("brake.held", false);
static struct amp_counter count_full = AMP_COUNTER("brake.held_unlisted", false);

int brake_init(struct scand *s)
{
	s->brake = calloc(1, sizeof(*s->brake));
	if (!s->brake)
		return -1;
	s->brake->digest = amp_sha256_new();
	return s->brake->digest ? held_init(s) : -1;
}

void brake_free(struct scand *s)
{
	if (!s->brake)
		return;
	held_free(s);
	amp_sha256_free(s->brake->digest);
	free(s->brake);
	s->brake = NULL;
}

/* -- rows -- */

struct brake_signature *brake_by_name(struct brake *b, const char *name)
{
	for (struct brake_signature *g = b->row; g < b->row + BRAKE_SIGNATURES; g++)
		if (g->number && strcmp(g->name, name) == 0)
			return g;
	return NULL;
}

struct brake_signature *brake_by_number(struct brake *b, uint32_t number)
{
	for (struct brake_signature *g = b->row; g < b->row + BRAKE_SIGNATURES; g++)
		if (number && g->number == number)
			return g;
	return NULL;
}

static int64_t last_used(const struct brake_signature *g)
{
	return g->count ? g->recent[g->count - 1].time_ns : g->since_ns;
}

/* Lower goes first. What holds stays, and what was released while files of it are to be judged. */
static int rank(const struct brake *b, const struct brake_signature *g)
{
	if (!g->number)
		return 0;
	if (g->state == AMP__BRAKE_SIGNATURE__STATE__COUNTED)
		return 1;
	if (g->state == AMP__BRAKE_SIGNATURE__STATE__RELEASED && held_count(b, g->number) == 0)
		return 2;
	return 3;
}

/* NULL: there is none to be had. */
static struct brake_signature *new_row(struct brake *b, const char *name)
{
	struct brake_signature *best = NULL;
	int best_rank = 3;

	for (struct brake_signature *g = b->row; g < b->row + BRAKE_SIGNATURES; g++) {
		int r = rank(b, g);

		if (r < best_rank || (r == best_rank && best && last_used(g) < last_used(best))) {
			best = g;
			best_rank = r;
		}
	}
	if (!best)
		return NULL;
	*best = (struct brake_signature){.number = ++b->last_number};
	snprintf(best->name, sizeof(best->name), "%s", name);
	return best;
}

/* A clock that was set back makes nothing last for ever. */
static bool is_recent(const struct brake_count *c, int64_t now)
{
	return c->time_ns <= now && now - c->time_ns <= BRAKE_WINDOW_NS;
}

unsigned brake_recent(struct brake_signature *g)
{
	int64_t now = amp_clock_realtime();
	unsigned n = 0;

	for (unsigned i = 0; i < g->count; i++)
		if (is_recent(&g->recent[i], now))
			g->recent[n++] = g->recent[i];
	g->count = n;
	return n;
}

/* Without what the signature of that number convicted; 0: that is nobody's. */
static void keep_recent_of_all(struct brake *b, uint32_t without)
{
	int64_t now = amp_clock_realtime();
	unsigned n = 0;

	for (unsigned i = 0; i < b->all_count; i++)
		if (is_recent(&b->all[i].count, now) && b->all[i].signature != without)
			b->all[n++] = b->all[i];
	b->all_count = n;
}

/* -- the record -- */

static void to_wire(struct brake_signature *g, Amp__BrakeSignature *w, Amp__BrakeCount *counts,
		    Amp__BrakeCount **list, const struct brake *b)
{
	amp__brake_signature__init(w);
	w->number = g->number;
	w->name = g->name;
	w->since_ns = g->since_ns;
	w->state = g->releasing ? AMP__BRAKE_SIGNATURE__STATE__RELEASED : g->state;
	w->held = g->held;
	w->together = g->together;
	w->judged_again = g->releasing ? held_count(b, g->number) : g->judged_again;
	for (unsigned i = 0; i < g->count; i++) {
		amp__brake_count__init(&counts[i]);
		counts[i].file = g->recent[i].file;
		counts[i].time_ns = g->recent[i].time_ns;
		list[i] = &counts[i];
	}
	w->recent = list;
	w->n_recent = g->count;
}

struct wire {
	Amp__BrakeSignature signature[BRAKE_SIGNATURES], *list[BRAKE_SIGNATURES];
	Amp__BrakeCount count[BRAKE_SIGNATURES][BRAKE_FILES], *counts[BRAKE_SIGNATURES][BRAKE_FILES];
	Amp__BrakeSum all[BRAKE_ALL_FILES], *all_list[BRAKE_ALL_FILES];
	Amp__BrakeCount all_count[BRAKE_ALL_FILES];
	uint8_t packed[AMP_KEEP_MAX];
};

static void all_to_wire(const struct brake *b, struct wire *w, Amp__BrakeRecord *record)
{
	for (unsigned i = 0; i < b->all_count; i++) {
		amp__brake_count__init(&w->all_count[i]);
		w->all_count[i].file = b->all[i].count.file;
		w->all_count[i].time_ns = b->all[i].count.time_ns;
		amp__brake_sum__init(&w->all[i]);
		w->all[i].count = &w->all_count[i];
		w->all[i].signature = b->all[i].signature;
		w->all_list[i] = &w->all[i];
	}
	record->all = w->all_list;
	record->n_all = b->all_count;
}

static int keep(struct scand *s, void (*done)(struct scand *s, int error, void *arg), void *arg)
{
	struct brake *b = s->brake;
	struct wire *w = malloc(sizeof(*w));
	Amp__BrakeRecord record = AMP__BRAKE_RECORD__INIT;
	size_t size;
	int rc = -1;

	if (!w)
		return -1;
	record.signatures = w->list;
	for (unsigned i = 0; i < BRAKE_SIGNATURES; i++) {
		if (!b->row[i].number)
			continue;
		to_wire(&b->row[i], &w->signature[i], w->count[i], w->counts[i], b);
		w->list[record.n_signatures++] = &w->signature[i];
	}
	all_to_wire(b, w, &record);
	size = amp__brake_record__get_packed_size(&record);
	errno = EMSGSIZE;
	if (size <= sizeof(w->packed))
		rc = keep_put(s, RECORD, w->packed, amp__brake_record__pack(&record, w->packed), done, arg);
	free(w);
	return rc;
}

static void keep_state(struct scand *s)
{
	if (keep(s, NULL, NULL) != 0)
		amp_error("the state of the brake is not kept: %s", strerror(errno));
}

/* -- the fault -- */

static unsigned most_of(const struct brake_signature *g)
{
	return g->together ? BRAKE_ALL_FILES : BRAKE_FILES;
}

static void say(struct scand *s)
{
	struct brake *b = s->brake;
	const struct brake_signature *newest = NULL;
	char detail[512];
	unsigned n = 0;

	for (const struct brake_signature *g = b->row; g < b->row + BRAKE_SIGNATURES; g++) {
		if (!g->number || g->state != AMP__BRAKE_SIGNATURE__STATE__HOLDS)
			continue;
		n++;
		if (!newest || g->since_ns >= newest->since_ns)
			newest = g;
	}
	if (!n && !b->raised)
		return;
	b->raised = n > 0;
	detail[0] = '\0';
	if (newest)
		snprintf(detail, sizeof(detail), "%.120s%s convicted more than %u old files; %llu are held%s",
			 newest->name, newest->together ? " and others together" : "", most_of(newest),
			 (unsigned long long)newest->held, n > 1 ? "; other signatures hold too" : "");
	amp_room_fault(s->room, AMP_FAULT_BRAKE, n > 0, detail);
}

/* -- counting -- */

static bool is_old(struct scand *s, const struct amp_fileid *file, const struct amp_identity *id)
{
	const struct filesystem *fs = filesystems_find(&s->filesystems, file->fsid);
	bool firm = id->uid == 0 && (id->mode & 022) == 0;
	int64_t newest = id->mtime_ns > id->ctime_ns ? id->mtime_ns : id->ctime_ns;
	int64_t now = amp_clock_realtime();

	return newest < now - BRAKE_OLD_NS && (firm || (fs && fs->times_tell));
}

static uint64_t in_short(const struct brake *b, const struct amp_fileid *file)
{
	uint8_t sha256[AMP_SHA256_SIZE];
	uint64_t key;

	if (amp_sha256_begin(b->digest) != 0 ||
	    amp_sha256_add(b->digest, &file->fsid, sizeof(file->fsid)) != 0 ||
	    amp_sha256_add(b->digest, &file->handle.type, sizeof(file->handle.type)) != 0 ||
	    amp_sha256_add(b->digest, file->handle.bytes, file->handle.size) != 0 ||
	    amp_sha256_end(b->digest, sha256) != 0)
		return amp_fileid_hash(file); /* does until this process ends */
	memcpy(&key, sha256, sizeof(key));
	return key;
}

static bool is_counted(const struct brake_signature *g, uint64_t file)
{
	for (unsigned i = 0; i < g->count; i++)
		if (g->recent[i].file == file)
			return true;
	return false;
}

static bool is_counted_of_all(const struct brake *b, uint64_t file)
{
	for (unsigned i = 0; i < b->all_count; i++)
		if (b->all[i].count.file == file)
			return true;
	return false;
}

/*
 * Many signatures are wrong at once when a whole set is: each convicts few, and with more of them
 * than rows each is forgotten before it has come to its own number. True: that was one too many.
 */
static bool count_of_all(struct brake *b, const struct brake_signature *g, uint64_t key)
{
	keep_recent_of_all(b, 0);
	if (is_counted_of_all(b, key))
		return false;
	if (b->all_count == BRAKE_ALL_FILES)
		return true;
	b->all[b->all_count++] = (struct brake_sum){.count = {.file = key, .time_ns = amp_clock_realtime()},
						    .signature = g->number};
	return false;
}

/* True: that was one too many. */
static bool count_file(struct brake *b, struct brake_signature *g, const struct amp_fileid *file)
{
	uint64_t key = in_short(b, file);

	brake_recent(g);
	if (is_counted(g, key))
		return false;
	if (g->count == BRAKE_FILES)
		return true;
	g->together = count_of_all(b, g, key);
	if (g->together)
		return true;
	g->recent[g->count++] = (struct brake_count){.file = key, .time_ns = amp_clock_realtime()};
	return false;
}

static void put_on(struct brake_signature *g)
{
	g->state = AMP__BRAKE_SIGNATURE__STATE__HOLDS;
	g->since_ns = amp_clock_realtime();
	amp_counter_add(&count_on, 1);
	amp_error("the brake holds %s: it%s convicted more than %u files older than a day within ten minutes",
		  g->name, g->together ? " and others together" : "", most_of(g));
}

/* Said at once, and then whenever the number has doubled. */
static bool is_worth_saying(uint64_t held)
{
	return (held & (held - 1)) == 0;
}

static enum brake_answer hold(struct scand *s, struct brake_signature *g, const struct amp_fileid *file,
			      const char *path, uint64_t act)
{
	bool is_new, waits;

	if (act == 0)
		return BRAKE_HOLDS;
	held_add(s, g, file, path, act, &is_new, &waits);
	if (is_new) {
		g->held++;
		amp_counter_add(&count_held, 1);
		keep_state(s);
		if (is_worth_saying(g->held))
			say(s);
	}
	return waits ? BRAKE_HOLDS_KEEPING : BRAKE_HOLDS;
}

enum brake_answer brake_holds(struct scand *s, const char *signature, const struct amp_fileid *file,
			      const struct amp_identity *identity, const char *path, uint64_t act)
{
	struct brake *b = s->brake;
	struct brake_signature *g = brake_by_name(b, signature);
	bool old = is_old(s, file, identity);

	if (g && g->state == AMP__BRAKE_SIGNATURE__STATE__HOLDS)
		return hold(s, g, file, path, act);
	if (!old || (g && g->state == AMP__BRAKE_SIGNATURE__STATE__RELEASED))
		return BRAKE_OFF;
	if (!g)
		g = new_row(b, signature);
	if (!g) { /* so many hold that there is no trust in any */
		amp_counter_add(&count_full, 1);
		return BRAKE_HOLDS;
	}
	if (count_file(b, g, file)) {
		put_on(g);
		keep_state(s);
		say(s);
		return hold(s, g, file, path, act);
	}
	keep_state(s);
	return BRAKE_OFF;
}

/* -- the release -- */

struct release {
	uint32_t number;
	void (*answer)(struct scand *s, int error, void *arg);
	void *arg;
};

static void released(struct scand *s, struct brake_signature *g)
{
	g->releasing = false;
	g->state = AMP__BRAKE_SIGNATURE__STATE__RELEASED;
	g->since_ns = amp_clock_realtime();
	g->judged_again = held_count(s->brake, g->number);
	g->count = 0;
	g->together = false;
	keep_recent_of_all(s->brake, g->number);
	amp_warn("the brake on %s is released: %llu files are judged again", g->name,
		 (unsigned long long)g->judged_again);
	say(s);
	judge_left(s);
	held_judge(s);
}

static void on_kept(struct scand *s, int error, void *arg)
{
	struct release *r = arg;
	struct brake_signature *g = brake_by_number(s->brake, r->number);

	if (g && g->releasing && error) {
		g->releasing = false;
		keep_state(s); /* that it holds; what was sent may be tried again */
	} else if (g && g->releasing) {
		released(s, g);
	}
	r->answer(s, error, r->arg);
	free(r);
}

int brake_release(struct scand *s, struct brake_signature *g,
		  void (*answer)(struct scand *s, int error, void *arg), void *arg)
{
	struct release *r;

	if (g->state == AMP__BRAKE_SIGNATURE__STATE__COUNTED) {
		errno = ENOENT;
		return -1;
	}
	if (g->state == AMP__BRAKE_SIGNATURE__STATE__RELEASED) {
		answer(s, 0, arg); /* asked again */
		return 0;
	}
	r = malloc(sizeof(*r));
	if (!r)
		return -1;
	*r = (struct release){.number = g->number, .answer = answer, .arg = arg};
	g->releasing = true;
	if (keep(s, on_kept, r) == 0)
		return 0;
	g->releasing = false;
	free(r);
	return -1;
}

/* -- after a start -- */

static bool is_sound(const struct brake *b, const Amp__BrakeSignature *w)
{
	size_t n = strlen(w->name);

	return w->number && w->number != UINT32_MAX && n && n < BRAKE_NAME_MAX &&
	       amp_text_is_utf8(w->name, n) && w->n_recent <= BRAKE_FILES &&
	       (unsigned)w->state <= AMP__BRAKE_SIGNATURE__STATE__RELEASED &&
	       !brake_by_number((struct brake *)(uintptr_t)b, w->number);
}

static int restore_row(struct brake *b, struct brake_signature *g, const Amp__BrakeSignature *w)
{
	if (!is_sound(b, w))
		return -1;
	*g = (struct brake_signature){.number = w->number,
				      .state = w->state,
				      .since_ns = w->since_ns,
				      .held = w->held,
				      .together = w->together,
				      .judged_again = w->judged_again};
	snprintf(g->name, sizeof(g->name), "%s", w->name);
	for (; g->count < w->n_recent; g->count++)
		g->recent[g->count] = (struct brake_count){.file = w->recent[g->count]->file,
							   .time_ns = w->recent[g->count]->time_ns};
	if (b->last_number < g->number)
		b->last_number = g->number;
	return 0;
}

static int restore_all(struct brake *b, const Amp__BrakeRecord *record)
{
	if (record->n_all > BRAKE_ALL_FILES)
		return -1;
	for (size_t i = 0; i < record->n_all; i++) {
		const Amp__BrakeSum *w = record->all[i];

		if (!w->count || !w->signature || w->signature == UINT32_MAX)
			return -1;
		b->all[b->all_count++] =
			(struct brake_sum){.count = {.file = w->count->file, .time_ns = w->count->time_ns},
					   .signature = w->signature};
		if (b->last_number < w->signature)
			b->last_number = w->signature; /* its row may be gone: the number is not used again */
	}
	return 0;
}

static int restore_rows(struct scand *s, const Amp__BrakeRecord *record)
{
	struct brake *b = s->brake;
	int rc = 0;

	if (record->n_signatures > BRAKE_SIGNATURES)
		return -1;
	for (size_t i = 0; i < record->n_signatures; i++)
		rc |= restore_row(b, &b->row[i], record->signatures[i]);
	b->all_count = 0;
	rc |= restore_all(b, record);
	say(s);
	held_judge(s);
	return rc;
}

int brake_restore(struct scand *s, const char *name, const uint8_t *record, size_t size)
{
	int page = held_page_of(name), rc = -1;
	struct amp_arena arena;
	void *body;

	if (amp_arena_init(&arena, MEMORY_MAX) != 0)
		return -1;
	if (strcmp(name, RECORD) == 0) {
		body = amp__brake_record__unpack(&arena.allocator, size, record);
		rc = body ? restore_rows(s, body) : -1;
	} else if (page >= 0) {
		body = amp__held_files__unpack(&arena.allocator, size, record);
		rc = body ? held_restore(s, (unsigned)page, body) : -1;
	}
	amp_arena_free(&arena);
	return rc;
}
