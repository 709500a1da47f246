/*
 * ampscand/ampread/walkwire.c - messages of walks (see walkwire.h).
 */
#include "walkwire.h"

#include <string.h>

/* One message's parts; too large for the stack. */
static struct {
	Amp__WalkEntry entries[AMP_WALK_BATCH], *list[AMP_WALK_BATCH];
	Amp__Handle files[AMP_WALK_BATCH], directory;
	Amp__Identity identities[AMP_WALK_BATCH];
	Amp__WalkOdd odds[AMP_WALK_BATCH], *odd_list[AMP_WALK_BATCH];
	int fds[AMP_MSG_MAX_FDS];
	unsigned fd_count;
} wire;

static void bytes_to_wire(const void *data, size_t n, ProtobufCBinaryData *to)
{
	to->data = (uint8_t *)(uintptr_t)data; /* packing only reads */
	to->len = n;
}

/* Who sends keeps the descriptor: the channel has a copy of its own. */
static void snapshot_to_wire(const struct amp_walk_entry *e, Amp__WalkEntry *to)
{
	if (!e->has_snapshot || wire.fd_count == AMP_MSG_MAX_FDS)
		return;
	wire.fds[wire.fd_count++] = e->snapshot;
	to->snapshot_index = wire.fd_count;
}

static void entry_to_wire(uint32_t i, const struct amp_walk_entry *e)
{
	Amp__WalkEntry *to = &wire.entries[i];

	amp__walk_entry__init(to);
	amp__handle__init(&wire.files[i]);
	amp__identity__init(&wire.identities[i]);
	amp_handle_to_wire(&e->file, &wire.files[i]);
	amp_identity_to_wire(&e->identity, &wire.identities[i]);
	if (wire.directory.bytes.len > 0)
		to->directory = &wire.directory;
	if (e->has_sha)
		bytes_to_wire(e->sha, sizeof(e->sha), &to->sha256);
	to->script = e->script;
	to->archive = e->archive;
	to->file = &wire.files[i];
	to->identity = &wire.identities[i];
	bytes_to_wire(e->name, e->name_length, &to->name);
	snapshot_to_wire(e, to);
	wire.list[i] = to;
}

static void odd_to_wire(uint32_t i, const struct amp_walk_odd *o)
{
	Amp__WalkOdd *to = &wire.odds[i];

	amp__walk_odd__init(to);
	to->kind = o->kind;
	bytes_to_wire(o->name, o->name_length, &to->name);
	wire.odd_list[i] = to;
}

int amp_walk_send_entries(struct amp_channel *ch, const struct amp_walk_part *part)
{
	Amp__WalkEntries message = AMP__WALK_ENTRIES__INIT;

	wire.fd_count = 0;
	amp__handle__init(&wire.directory);
	amp_handle_to_wire(part->directory, &wire.directory);
	for (uint32_t i = 0; i < part->count; i++)
		entry_to_wire(i, &part->entries[i]);
	for (uint32_t i = 0; i < part->odd_count; i++)
		odd_to_wire(i, &part->odds[i]);
	message.walk_id = part->walk_id;
	message.seen = part->seen;
	message.fsid = part->fsid;
	bytes_to_wire(part->path, part->path_length, &message.directory_path);
	message.entries = wire.list;
	message.n_entries = part->count;
	message.odd = wire.odd_list;
	message.n_odd = part->odd_count;
	if (!ch)
		return 0;
	return amp_channel_send(ch, AMP_MSG_WALK_ENTRIES, 0, &message.base, wire.fds, wire.fd_count);
}

int amp_walk_send_done(struct amp_channel *ch, uint64_t walk_id, const struct amp_tree_totals *t)
{
	Amp__WalkDone done = AMP__WALK_DONE__INIT;

	done.walk_id = walk_id;
	done.seen = t->walk.seen;
	done.unreadable = t->walk.unreadable;
	done.too_deep = t->walk.too_deep;
	done.directories = t->directories;
	done.fsid = t->fsid;
	if (t->walk.error)
		done.error = (char *)(uintptr_t)t->walk.error;
	return ch ? amp_channel_send(ch, AMP_MSG_WALK_DONE, 0, &done.base, NULL, 0) : 0;
}

int amp_walk_send_mark(struct amp_channel *ch, uint64_t walk_id, const char *path, size_t length,
		       uint64_t directories)
{
	Amp__WalkMark mark = AMP__WALK_MARK__INIT;

	mark.walk_id = walk_id;
	mark.directories = directories;
	bytes_to_wire(path, length, &mark.path);
	return ch ? amp_channel_send(ch, AMP_MSG_WALK_MARK, 0, &mark.base, NULL, 0) : 0;
}
