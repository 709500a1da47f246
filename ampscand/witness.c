/*
 * ampscand/witness.c - whose word is believed.
 *
 * Owns: cases: a conviction needs a second witness, who was never used before;
 * if that one disagrees, a third, and the majority; one word in 64 that nothing was
 * found, be it as far as a limit, is looked at by another worker too. What a worker called clean, and that
 * all of it is judged again when the worker is found out. Must not own: queues, workers' lives.
 */
#include "scan.h"

#include "counter.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>

#define FILES_MAX 4096U /* of one worker; what the caches know comes on top */

static struct amp_counter count_witnessed = AMP_COUNTER("engine.witnessed", false);
static struct amp_counter count_sampled = AMP_COUNTER("engine.sampled", false);
static struct amp_counter count_disagreed = AMP_COUNTER("engine.disagreed", false);
static struct amp_counter count_voided = AMP_COUNTER("engine.voided", false);

/* -- words -- */

static void opinion_clear(struct opinion *op)
{
	free(op->name);
	worker_put_case(op->worker);
	*op = (struct opinion){.worker = NULL};
}

static void opinion_remove(struct scan *c, unsigned i)
{
	opinion_clear(&c->opinion[i]);
	c->opinions--;
	memmove(&c->opinion[i], &c->opinion[i + 1], (c->opinions - i) * sizeof(c->opinion[0]));
}

void witness_drop(struct scan *c)
{
	while (c->opinions)
		opinion_remove(c, c->opinions - 1);
}

/* Words by older signatures are no words in this case any more. */
static void drop_older(struct scan *c, uint64_t generation)
{
	for (unsigned i = c->opinions; i-- > 0;)
		if (c->opinion[i].worker->generation < generation)
			opinion_remove(c, i);
}

static bool is_outdated(const struct scan *c, uint64_t generation)
{
	for (unsigned i = 0; i < c->opinions; i++)
		if (c->opinion[i].worker->generation > generation)
			return true;
	return false;
}

static void add(struct scan *c, struct worker *w, enum content_result result, const char *name)
{
	struct opinion *op = &c->opinion[c->opinions++];

	*op = (struct opinion){.worker = w, .result = result, .name = name ? strdup(name) : NULL};
	w->cases++;
}

static unsigned count(const struct scan *c, enum content_result result)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->opinions; i++)
		n += c->opinion[i].result == result;
	return n;
}

/* -- what a case comes to -- */

/* Nobody outside can tell which: the hash has a key. */
static bool is_sampled(const struct scand *s)
{
	static uint64_t n;
	struct amp_fileid id = {.fsid = ++n};

	return s->engine->sample && amp_fileid_hash(&id) % s->engine->sample == 0;
}

static void disagreed(struct scand *s, struct worker *w)
{
	amp_counter_add(&count_disagreed, 1);
	engine_trouble(s, "one of its processes said of a file what two others do not say");
	worker_kill(w, END_LIAR);
	witness_void(s, w);
}

/* The word of the last who says so is the content's; who says the contrary lied. */
static void conclude(struct scand *s, struct scan *c, enum content_result result,
		     enum content_result contrary)
{
	struct opinion kept = {.worker = NULL};
	struct worker *liars[OPINIONS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < c->opinions; i++) {
		struct opinion *op = &c->opinion[i];

		if (op->result == result)
			kept = *op;
		if (op->result == contrary) {
			op->worker->cases++; /* held */
			liars[n++] = op->worker;
		}
		if (op->result == CONTENT_CLEAN && result == CONTENT_CLEAN)
			witness_note(c, op->worker);
		else if (op->result == CONTENT_PARTIAL && result == CONTENT_PARTIAL)
			witness_note(c, op->worker);
	}
	if (result == CONTENT_INFECTED)
		amp_counter_add(&count_witnessed, 1);
	/* The name is copied before the words are dropped. */
	scans_finish(s, c, result, kept.worker->generation, kept.worker->serial, kept.name);
	while (n-- > 0) {
		disagreed(s, liars[n]);
		worker_put_case(liars[n]);
	}
}

static void settle_clean(struct scand *s, struct scan *c)
{
	if (c->opinions == 1 && is_sampled(s)) {
		amp_counter_add(&count_sampled, 1);
		scans_again(s, c, NEED_OTHER);
	} else if (count(c, CONTENT_PARTIAL)) {
		conclude(s, c, CONTENT_PARTIAL, CONTENT_NONE);
	} else {
		conclude(s, c, CONTENT_CLEAN, CONTENT_NONE);
	}
}

static void settle(struct scand *s, struct scan *c)
{
	unsigned infected = count(c, CONTENT_INFECTED), clean = count(c, CONTENT_CLEAN);

	if (infected == 0)
		settle_clean(s, c);
	else if (infected >= 2)
		conclude(s, c, CONTENT_INFECTED, CONTENT_CLEAN);
	else if (clean >= 2)
		conclude(s, c, CONTENT_CLEAN, CONTENT_INFECTED);
	else if (c->opinions < OPINIONS_MAX)
		scans_again(s, c, NEED_FRESH);
	else
		conclude(s, c, CONTENT_PARTIAL, CONTENT_NONE); /* each says another thing */
}

void witness_says(struct scand *s, struct scan *c, struct worker *w, enum content_result result,
		  const char *name)
{
	if (is_outdated(c, w->generation)) {
		scans_again(s, c, c->need);
		return;
	}
	drop_older(c, w->generation);
	add(c, w, result, name);
	settle(s, c);
}

/* -- words that are void -- */

void witness_note(struct scan *c, struct worker *w)
{
	unsigned left = FILES_MAX - w->noted;

	for (const struct job *j = c->jobs; j && left > 0; j = j->scan_next, left--) {
		struct judged_file *f = j->apart ? NULL : calloc(1, sizeof(*f));

		if (!f)
			continue;
		fileid_copy(&f->file, j->id);
		f->path = j->first && j->first->path ? strdup(j->first->path) : NULL;
		f->next = w->judged;
		w->judged = f;
		w->noted++;
	}
}

static void judged_free(struct judged_file *f)
{
	free(f->path);
	free(f);
}

static struct judged_file *take_first(struct judged_file **list)
{
	struct judged_file *f = *list;

	*list = f->next;
	return f;
}

void witness_forget(struct worker *w)
{
	while (w->judged)
		judged_free(take_first(&w->judged));
	w->noted = 0;
}

/* Files that have such content, as the verdict cache knows them. */
static struct judged_file *cached(struct scand *s, const struct worker *w)
{
	struct judged_file *list = NULL;

	for (struct cache_node *n = s->verdicts.cache.newest; n; n = n->older) {
		const struct verdict *v = (const struct verdict *)n;
		struct judged_file *f;

		if (!contents_rests_on(&s->contents, v->sha256, w->serial))
			continue;
		f = calloc(1, sizeof(*f));
		if (!f)
			break;
		fileid_copy(&f->file, v->id);
		f->next = list;
		list = f;
	}
	return list;
}

/* Cases in which it had a word go on without. */
static void leave_cases(struct scand *s, const struct worker *w)
{
	for (struct cache_node *n = scans_oldest(s); n; n = n->newer) {
		struct scan *c = (struct scan *)n;

		for (unsigned i = c->opinions; i-- > 0;)
			if (c->opinion[i].worker == w)
				opinion_remove(c, i);
	}
}

/* Those whose path is known first: by that they leave the verdict cache. */
static void judge_again(struct scand *s, struct worker *w, struct judged_file *also)
{
	struct judged_file *f;

	while (w->judged) {
		f = take_first(&w->judged);
		intake_again(s, &f->file, f->path);
		judged_free(f);
	}
	w->noted = 0;
	while (also) {
		f = take_first(&also);
		if (verdicts_find(&s->verdicts, &f->file))
			intake_again(s, &f->file, NULL);
		judged_free(f);
	}
}

void witness_void(struct scand *s, struct worker *w)
{
	struct judged_file *also;

	w->cases++; /* held */
	leave_cases(s, w);
	also = cached(s, w);
	amp_counter_add(&count_voided, contents_void(&s->contents, w->serial));
	judge_again(s, w, also);
	worker_put_case(w);
	scand_pump_later(s);
}
