/*
 * tests/fuzz/fuzz_fanotify.c - what a predecessor may have left in the memfd:
 * whole buffers of events (first byte even), parked records (odd). The corpus
 * was recorded from a real group by tests/fuzz/record_fanotify.c.
 */
#include "ampscand/scand.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_id(const struct amp_fileid *id)
{
	if (id->handle.size > AMP_FILE_HANDLE_MAX)
		abort();
	/* Reads every byte of the handle: each must have been set. */
	(void)amp_fileid_hash(id);
}

static void check_event(const struct file_event *ev, const uint8_t *data, size_t n)
{
	const uint8_t *name = (const uint8_t *)ev->name;

	check_id(&ev->file);
	check_id(&ev->directory);
	if (ev->pid < 0 || ev->pidfd < -1 || ev->fd < -1 || ev->name_size > 255)
		abort();
	if (ev->name_size && (name < data || name + ev->name_size > data + n))
		abort();
	if (ev->name_size && memchr(ev->name, 0, ev->name_size))
		abort();
}

static void fuzz_buffer(const uint8_t *data, size_t size)
{
	size_t off = 0;

	while (off < size) {
		struct file_event ev;
		size_t n = fanotify_parse(data + off, size - off, &ev);

		check_event(&ev, data + off, size - off);
		if (n == 0)
			return;
		if (n > size - off)
			abort();
		off += n;
	}
}

static void fuzz_parked(const uint8_t *data, size_t size)
{
	struct amp_fileid file;
	uint8_t directory = 0;
	struct occurrence *o = park_restore(data, size, &file, &directory);

	if (!o)
		return;
	check_id(&file);
	if (file.handle.size == 0 || directory > 1 || o->name_size > 255 || o->fd != -1)
		abort();
	if (o->directory)
		check_id(o->directory);
	if (o->who && strlen(o->who->exe) > o->who->exe_size)
		abort();
	who_unref(o->who);
	free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	if (size == 0)
		return 0;
	/* A block of its own, so that one byte too far is seen. */
	copy = malloc(size > 1 ? size - 1 : 1);
	if (!copy)
		return 0;
	memcpy(copy, data + 1, size - 1);
	if (data[0] % 2 == 0)
		fuzz_buffer(copy, size - 1);
	else
		fuzz_parked(copy, size - 1);
	free(copy);
	return 0;
}
