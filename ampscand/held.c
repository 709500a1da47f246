/*
 * ampscand/held.c - files that were left alone because the brake holds.
 *
 * Owns: which they are, their records (pages "held-N", so that one file more
 * does not write all of them again), judging them again at the release. Must
 * not own: which signatures hold (brake.c).
 *
 * A file of a released signature stays on record until it was judged, so that a
 * death in the middle costs nothing.
 */
#include "brake.h"

#include "counter.h"
#include "log.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OVERHEAD    64U			   /* of an entry on the wire, at most */
#define PAGE_BYTES  (AMP_KEEP_MAX - 1000U) /* with what is estimated too low */
#define PATH_KEPT   4000U		   /* longer: judged again without */
#define AT_ONCE	    64U			   /* files being judged again */
#define JUDGE_MS    200
#define RECORD_NAME "held-%u"

struct held {
	struct cache_node node;
	uint32_t signature;
	unsigned page;
	bool asked;	  /* to be judged again, and that is not over */
	const char *path; /* behind the id; NULL: not known */
	struct amp_fileid *id;
};

static struct amp_counter count_forgotten = AMP_COUNTER("brake.held_not_remembered", true);

static bool equal(const struct cache_node *node, const void *key)
{
	return amp_fileid_equal(((const struct held *)node)->id, key);
}

static void evict(struct cache_node *node, void *arg)
{
	(void)arg;
	free(node);
}

static void on_judging(evutil_socket_t fd, short what, void *arg);

int held_init(struct scand *s)
{
	struct brake *b = s->brake;

	b->judging = evtimer_new(s->base, on_judging, s);
	return b->judging ? cache_init(&b->held, HELD_MAX, 0, equal, evict, NULL) : -1;
}

void held_free(struct scand *s)
{
	if (s->brake->held.buckets)
		cache_free(&s->brake->held);
	if (s->brake->judging)
		event_free(s->brake->judging);
}

static size_t wire_size(const struct amp_fileid *id, const char *path)
{
	return OVERHEAD + id->handle.size + (path ? strlen(path) : 0);
}

static struct held *find(struct brake *b, const struct amp_fileid *file)
{
	return (struct held *)cache_find(&b->held, amp_fileid_hash(file), file);
}

static struct held *make(const struct amp_fileid *file, const char *path)
{
	size_t id = offsetof(struct amp_fileid, handle.bytes) + file->handle.size;
	size_t n = path ? strlen(path) + 1 : 0;
	struct held *h = calloc(1, sizeof(*h) + id + n);

	if (!h)
		return NULL;
	h->id = (struct amp_fileid *)(h + 1);
	memcpy(h->id, file, id);
	if (path)
		h->path = memcpy((char *)h->id + id, path, n);
	return h;
}

static void insert(struct brake *b, struct held *h, unsigned page)
{
	h->page = page;
	b->page[page].bytes += wire_size(h->id, h->path);
	cache_insert(&b->held, &h->node, amp_fileid_hash(h->id));
}

static void take_out(struct brake *b, struct held *h)
{
	b->page[h->page].bytes -= wire_size(h->id, h->path);
	b->page[h->page].changed = true;
	cache_remove(&b->held, &h->node);
	free(h);
}

size_t held_count(const struct brake *b, uint32_t number)
{
	size_t n = 0;

	for (const struct cache_node *c = b->held.newest; c; c = c->older)
		n += ((const struct held *)c)->signature == number;
	return n;
}

/* -- the records -- */

static void fill(const struct held *h, Amp__HeldFile *f, Amp__Handle *handle)
{
	amp__held_file__init(f);
	f->signature = h->signature;
	f->fsid = h->id->fsid;
	handle->type = h->id->handle.type;
	handle->bytes.data = h->id->handle.bytes;
	handle->bytes.len = h->id->handle.size;
	f->handle = handle;
	f->path.data = (uint8_t *)(uintptr_t)h->path;
	f->path.len = h->path ? strlen(h->path) : 0;
}

struct wire {
	Amp__HeldFile file[HELD_MAX], *list[HELD_MAX];
	Amp__Handle handle[HELD_MAX];
	uint8_t packed[AMP_KEEP_MAX];
};

/* 0: the page is empty. */
static size_t pack(const struct brake *b, unsigned page, struct wire *w)
{
	Amp__HeldFiles all = AMP__HELD_FILES__INIT;
	size_t n = 0;

	for (const struct cache_node *c = b->held.oldest; c; c = c->newer) {
		const struct held *h = (const struct held *)c;

		if (h->page != page)
			continue;
		amp__handle__init(&w->handle[n]);
		fill(h, &w->file[n], &w->handle[n]);
		w->list[n] = &w->file[n];
		n++;
	}
	all.files = w->list;
	all.n_files = n;
	if (amp__held_files__get_packed_size(&all) > sizeof(w->packed))
		return 0; /* never: PAGE_BYTES */
	return amp__held_files__pack(&all, w->packed);
}

/* The act that waits (0: none) and the page, as what keep.c gives back. */
static void *to_arg(unsigned page, uint64_t act)
{
	_Static_assert(HELD_PAGES <= 16, "four bits");
	return (void *)(uintptr_t)(act << 4 | page);
}

static void on_kept(struct scand *s, int error, void *arg)
{
	uint64_t act = (uint64_t)(uintptr_t)arg >> 4;

	/* An error is keep.c's to mend; that the file was left alone is in the history. */
	(void)error;
	s->brake->page[(uintptr_t)arg & 15].unkept--;
	if (act)
		act_kept(s, act);
}

static int keep_page(struct scand *s, unsigned page, uint64_t act)
{
	struct brake *b = s->brake;
	struct wire *w = malloc(sizeof(*w));
	char name[16];
	int rc = -1;

	snprintf(name, sizeof(name), RECORD_NAME, page);
	if (w)
		rc = keep_put(s, name, w->packed, pack(b, page, w), on_kept, to_arg(page, act));
	free(w);
	if (rc != 0)
		return -1;
	b->page[page].unkept++;
	b->page[page].changed = false;
	return 0;
}

int held_page_of(const char *name)
{
	char right[16];

	for (unsigned i = 0; i < HELD_PAGES; i++) {
		snprintf(right, sizeof(right), RECORD_NAME, i);
		if (strcmp(name, right) == 0)
			return (int)i;
	}
	return -1;
}

/* -- adding -- */

static int page_for(const struct brake *b, size_t size)
{
	for (unsigned i = 0; i < HELD_PAGES; i++)
		if (b->page[i].bytes + size <= PAGE_BYTES)
			return (int)i;
	return -1;
}

static struct held *remember(struct brake *b, const struct brake_signature *g, const struct amp_fileid *file,
			     const char *path)
{
	const char *kept = path && strlen(path) <= PATH_KEPT ? path : NULL;
	int page = b->held.count < HELD_MAX ? page_for(b, wire_size(file, kept)) : -1;
	struct held *h = page >= 0 ? make(file, kept) : NULL;

	if (!h)
		return NULL;
	h->signature = g->number;
	insert(b, h, (unsigned)page);
	return h;
}

void held_add(struct scand *s, const struct brake_signature *g, const struct amp_fileid *file,
	      const char *path, uint64_t act, bool *is_new, bool *waits)
{
	struct brake *b = s->brake;
	struct held *h = find(b, file);

	*is_new = !h || h->signature != g->number;
	*waits = false;
	if (!h)
		h = remember(b, g, file, path);
	if (!h) {
		amp_counter_add(&count_forgotten, 1);
		return;
	}
	h->signature = g->number;
	h->asked = false;
	if (*is_new || b->page[h->page].unkept)
		*waits = keep_page(s, h->page, act) == 0;
}

/* -- judging again -- */

static bool is_over(struct scand *s, const struct held *h)
{
	return h->asked && !job_find(s, h->id) && !act_is_in_hand(s, h->id);
}

static bool is_released(struct brake *b, const struct held *h)
{
	const struct brake_signature *g = brake_by_number(b, h->signature);

	return !g || g->state == AMP__BRAKE_SIGNATURE__STATE__RELEASED;
}

static void keep_changed(struct scand *s)
{
	for (unsigned i = 0; i < HELD_PAGES; i++)
		if (s->brake->page[i].changed && keep_page(s, i, 0) != 0)
			amp_error("the files that the brake held are not kept: %s", strerror(errno));
}

static void judge_again(struct scand *s, struct held *h)
{
	h->asked = true;
	intake_again(s, h->id, h->path);
}

/* How many of released signatures are left. */
static size_t judge_some(struct scand *s)
{
	struct brake *b = s->brake;
	size_t left = 0, asked = 0;

	for (struct cache_node *c = b->held.oldest, *next; c; c = next) {
		struct held *h = (struct held *)c;

		next = c->newer;
		if (!is_released(b, h))
			continue;
		if (is_over(s, h)) {
			take_out(b, h);
			continue;
		}
		left++;
		if (!h->asked && asked < AT_ONCE && !intake_is_full(s))
			judge_again(s, h);
		asked += h->asked;
	}
	return left;
}

static void on_judging(evutil_socket_t fd, short what, void *arg)
{
	struct scand *s = arg;

	(void)fd;
	(void)what;
	if (s->started && judge_some(s) == 0) {
		keep_changed(s);
		return;
	}
	if (s->started)
		keep_changed(s);
	scand_pump_later(s);
	held_judge(s);
}

void held_judge(struct scand *s)
{
	struct timeval tv = {.tv_usec = JUDGE_MS * 1000};

	evtimer_add(s->brake->judging, &tv);
}

/* -- after a start -- */

static int restore_file(struct brake *b, unsigned page, const Amp__HeldFile *f)
{
	struct amp_fileid file = {.fsid = f->fsid};
	char *path = NULL;
	struct held *h;

	if (!f->handle || amp_handle_from_wire(f->handle, &file.handle) != 0 || f->path.len > PATH_KEPT ||
	    (f->path.len && (f->path.data[0] != '/' || memchr(f->path.data, 0, f->path.len))))
		return -1;
	if (find(b, &file) || b->held.count >= HELD_MAX)
		return 0;
	if (f->path.len)
		path = strndup((const char *)f->path.data, f->path.len);
	h = make(&file, path);
	free(path);
	if (!h)
		return -1;
	h->signature = f->signature;
	insert(b, h, page);
	return 0;
}

int held_restore(struct scand *s, unsigned page, const Amp__HeldFiles *files)
{
	int rc = 0;

	for (size_t i = 0; i < files->n_files; i++)
		rc |= restore_file(s->brake, page, files->files[i]);
	held_judge(s);
	return rc;
}
