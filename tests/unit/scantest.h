/*
 * tests/unit/scantest.h - what the tests of ampscand's modules share: events
 * as the kernel writes them, file ids, the memfd of the buffers.
 */
#ifndef AMP_SCANTEST_H
#define AMP_SCANTEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ampscand/buffers.h"
#include "ampscand/source.h"
#include "fileid.h"

#include <linux/fanotify.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

/* A file id whose handle is n in eight bytes. */
static UNUSED struct amp_fileid st_id(uint64_t fsid, uint64_t n)
{
	struct amp_fileid id = {.fsid = fsid, .handle = {.type = 1, .size = sizeof(n)}};

	memcpy(id.handle.bytes, &n, sizeof(n));
	return id;
}

/* Events being written into a buffer, record by record. */
struct st_event {
	uint8_t *at;
	size_t size; /* of this event so far */
};

static UNUSED struct st_event st_begin(uint8_t *at, uint64_t mask, int32_t pid)
{
	struct fanotify_event_metadata m = {.event_len = sizeof(m),
					    .vers = FANOTIFY_METADATA_VERSION,
					    .metadata_len = sizeof(m),
					    .mask = mask,
					    .fd = FAN_NOFD,
					    .pid = pid};

	memcpy(at, &m, sizeof(m));
	return (struct st_event){.at = at, .size = sizeof(m)};
}

static UNUSED void st_close(struct st_event *e)
{
	uint32_t n = (uint32_t)e->size;

	memcpy(e->at, &n, sizeof(n));
}

/* name NULL: a record without one. */
static UNUSED void st_fid(struct st_event *e, uint8_t type, const struct amp_fileid *id, const char *name)
{
	uint8_t *rec = e->at + e->size;
	size_t names = name ? strlen(name) + 1 : 0;
	struct fanotify_event_info_header h = {.info_type = type};
	struct file_handle fh = {.handle_bytes = id->handle.size, .handle_type = id->handle.type};
	size_t n = sizeof(h) + sizeof(id->fsid) + sizeof(fh) + id->handle.size + names;
	size_t whole = (n + 3) & ~(size_t)3;

	h.len = (uint16_t)whole;
	memset(rec, 0, whole);
	memcpy(rec, &h, sizeof(h));
	memcpy(rec + sizeof(h), &id->fsid, sizeof(id->fsid));
	memcpy(rec + sizeof(h) + 8, &fh, sizeof(fh));
	memcpy(rec + sizeof(h) + 8 + sizeof(fh), id->handle.bytes, id->handle.size);
	if (name)
		memcpy(rec + sizeof(h) + 8 + sizeof(fh) + id->handle.size, name, names);
	e->size += whole;
	st_close(e);
}

static UNUSED void st_pidfd(struct st_event *e, int32_t fd)
{
	struct fanotify_event_info_pidfd r = {
		.hdr = {.info_type = FAN_EVENT_INFO_TYPE_PIDFD, .len = sizeof(r)}, .pidfd = fd};

	memcpy(e->at + e->size, &r, sizeof(r));
	e->size += sizeof(r);
	st_close(e);
}

/* A close after write of file n in directory 1 of file system 7; its length. */
static UNUSED size_t st_write_event(uint8_t *at, uint64_t n, const char *name)
{
	struct amp_fileid dir = st_id(7, 1), file = st_id(7, n);
	struct st_event e = st_begin(at, FAN_CLOSE_WRITE, 42);

	st_fid(&e, FAN_EVENT_INFO_TYPE_DFID_NAME, &dir, name);
	st_fid(&e, FAN_EVENT_INFO_TYPE_FID, &file, NULL);
	return e.size;
}

/* The memfd as ampmon makes it. */
static UNUSED int st_memfd(unsigned count, unsigned parked)
{
	int fd = memfd_create("buffers", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)amp_buffers_size(count, parked)), 0);
	return fd;
}

/* Maps it as the scanner does; the descriptor stays the caller's. */
static UNUSED struct buffers *st_map(int fd, unsigned count, unsigned parked, bool *inherited)
{
	return buffers_map(dup(fd), count, parked, inherited);
}

#endif
