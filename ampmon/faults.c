/*
 * ampmon/faults.c - the faults that stand (see faults.h).
 * Must not own: texts and remedies (lib/fault.c), sending (events.c).
 */
#include "ampmon/faults.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mon_faults {
	struct mon_fault list[MON_FAULTS_MAX];
	size_t count;
	uint64_t last_seq;
	void (*told)(const struct mon_fault *f, bool raised, void *arg);
	void *arg;
};

struct mon_faults *mon_faults_new(void (*told)(const struct mon_fault *f, bool raised, void *arg), void *arg)
{
	struct mon_faults *fs = calloc(1, sizeof(*fs));

	if (!fs)
		return NULL;
	fs->told = told;
	fs->arg = arg;
	return fs;
}

void mon_faults_free(struct mon_faults *fs)
{
	free(fs);
}

static struct mon_fault *find(struct mon_faults *fs, unsigned number, const char *source)
{
	for (size_t i = 0; i < fs->count; i++)
		if ((unsigned)fs->list[i].number == number && strcmp(fs->list[i].source, source) == 0)
			return &fs->list[i];
	return NULL;
}

/* ampmon finds these out itself; a room has no say in them. */
static const bool of_ampmon[AMP_FAULT_MAX] = {
	[AMP_FAULT_ROOM_THROTTLED] = true, [AMP_FAULT_ROOM_SILENT] = true,   [AMP_FAULT_DISK_STALLED] = true,
	[AMP_FAULT_PEER_HOSTILE] = true,   [AMP_FAULT_CONFIGURATION] = true, [AMP_FAULT_ROOM_USER] = true,
};

bool mon_fault_is_rooms(unsigned number)
{
	return number > 0 && number < AMP_FAULT_MAX && !of_ampmon[number];
}

bool mon_fault_stands(struct mon_faults *fs, unsigned number, const char *source)
{
	return find(fs, number, source) != NULL;
}

/* Grows even over ampmon's restart, which a plain count would not. */
static uint64_t next_seq(struct mon_faults *fs, int64_t now)
{
	uint64_t seq = now > 0 ? (uint64_t)now : 0;

	if (seq <= fs->last_seq)
		seq = fs->last_seq + 1;
	fs->last_seq = seq;
	return seq;
}

static void set_detail(struct mon_fault *f, const char *detail)
{
	snprintf(f->detail, sizeof(f->detail), "%s", detail ? detail : "");
}

int mon_fault_raise(struct mon_faults *fs, unsigned number, const char *source, const char *detail)
{
	const struct amp_fault_info *info = amp_fault_info(number);
	struct mon_fault *f = find(fs, number, source);

	if (!info) {
		errno = EINVAL;
		return -1;
	}
	if (!f && fs->count == MON_FAULTS_MAX) {
		errno = ENOSPC;
		return -1;
	}
	if (f) {
		set_detail(f, detail);
		f->stale = false;
		f->clear_ns = 0;
		return 0;
	}
	f = &fs->list[fs->count++];
	memset(f, 0, sizeof(*f));
	f->number = info->number;
	snprintf(f->source, sizeof(f->source), "%s", source);
	set_detail(f, detail);
	f->since_ns = amp_clock_realtime();
	f->seq = next_seq(fs, f->since_ns);
	amp_warn("fault %u raised (%s): %s: %s; %s", number, source, info->text, f->detail, info->remedy);
	fs->told(f, true, fs->arg);
	return 0;
}

static void remove_at(struct mon_faults *fs, size_t i)
{
	struct mon_fault gone = fs->list[i];

	memmove(&fs->list[i], &fs->list[i + 1], (fs->count - i - 1) * sizeof(gone));
	fs->count--;
	amp_info("fault %u cleared (%s)", (unsigned)gone.number, gone.source);
	fs->told(&gone, false, fs->arg);
}

bool mon_fault_clear(struct mon_faults *fs, unsigned number, const char *source)
{
	struct mon_fault *f = find(fs, number, source);

	if (!f)
		return false;
	remove_at(fs, (size_t)(f - fs->list));
	return true;
}

void mon_fault_clear_later(struct mon_faults *fs, unsigned number, const char *source, int64_t after_ns)
{
	struct mon_fault *f = find(fs, number, source);

	if (f && f->clear_ns == 0)
		f->clear_ns = amp_clock_monotonic() + after_ns;
}

void mon_faults_stale(struct mon_faults *fs, const char *source)
{
	for (size_t i = 0; i < fs->count; i++)
		if (mon_fault_is_rooms(fs->list[i].number) && strcmp(fs->list[i].source, source) == 0)
			fs->list[i].stale = true;
}

void mon_faults_drop_stale(struct mon_faults *fs, const char *source)
{
	for (size_t i = fs->count; i > 0; i--)
		if (fs->list[i - 1].stale && strcmp(fs->list[i - 1].source, source) == 0)
			remove_at(fs, i - 1);
}

void mon_faults_tick(struct mon_faults *fs)
{
	int64_t now = amp_clock_monotonic();

	for (size_t i = fs->count; i > 0; i--)
		if (fs->list[i - 1].clear_ns != 0 && fs->list[i - 1].clear_ns <= now)
			remove_at(fs, i - 1);
}

size_t mon_faults_count(const struct mon_faults *fs)
{
	return fs->count;
}

const struct mon_fault *mon_faults_at(const struct mon_faults *fs, size_t i)
{
	return i < fs->count ? &fs->list[i] : NULL;
}
