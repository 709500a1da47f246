/*
 * ampscand/fanotify_parse.c - one event of fanotify(7), every length checked.
 *
 * Owns: the kernel's record formats. The bytes come from the kernel, or from
 * a predecessor's buffer, so nothing in them is believed unchecked (a fuzz
 * target runs this). Must not own: any descriptor or state.
 */
#include "source.h"

#include <linux/fanotify.h>
#include <string.h>

/* Newer than the headers of Debian 12. */
#ifndef FAN_EVENT_INFO_TYPE_ERROR
#define FAN_EVENT_INFO_TYPE_ERROR 5
#endif

static const struct {
	uint64_t kernel;
	unsigned bits;
} mask_map[] = {
	{FAN_CLOSE_WRITE, EVENT_WRITE}, {FAN_OPEN_EXEC, EVENT_EXEC},  {FAN_RENAME, EVENT_RENAME},
	{FAN_CREATE, EVENT_CREATE},	{FAN_ONDIR, EVENT_DIRECTORY}, {FAN_Q_OVERFLOW, EVENT_OVERFLOW},
};

static unsigned bits_of(uint64_t mask)
{
	unsigned bits = 0;

	for (size_t i = 0; i < sizeof(mask_map) / sizeof(mask_map[0]); i++)
		if (mask & mask_map[i].kernel)
			bits |= mask_map[i].bits;
	return bits;
}

/* A struct fanotify_event_info_fid: handle into id; the name behind it, if asked for. */
static void parse_fid(const uint8_t *rec, size_t n, struct amp_fileid *id, const char **name,
		      size_t *name_size)
{
	struct fanotify_event_info_fid info;
	struct file_handle fh;
	size_t off = offsetof(struct fanotify_event_info_fid, handle);
	const uint8_t *rest;

	if (n < off + sizeof(fh))
		return;
	memcpy(&info, rec, off);
	memcpy(&fh, rec + off, sizeof(fh));
	if (fh.handle_bytes > AMP_FILE_HANDLE_MAX || fh.handle_bytes > n - off - sizeof(fh))
		return;
	id->fsid = amp_fsid_from_pair(info.fsid.val[0], info.fsid.val[1]);
	id->handle.type = fh.handle_type;
	id->handle.size = fh.handle_bytes;
	memcpy(id->handle.bytes, rec + off + sizeof(fh), fh.handle_bytes);
	if (!name)
		return;
	rest = rec + off + sizeof(fh) + fh.handle_bytes;
	*name = (const char *)rest;
	*name_size = strnlen(*name, n - off - sizeof(fh) - fh.handle_bytes);
	if (*name_size > 255)
		*name_size = 0;
}

static void parse_pidfd(const uint8_t *rec, size_t n, struct file_event *ev)
{
	struct fanotify_event_info_pidfd info;

	if (n < sizeof(info))
		return;
	memcpy(&info, rec, sizeof(info));
	ev->pidfd = info.pidfd >= 0 ? info.pidfd : -1;
}

static void parse_info(uint8_t type, const uint8_t *rec, size_t n, struct file_event *ev)
{
	switch (type) {
	case FAN_EVENT_INFO_TYPE_FID:
		parse_fid(rec, n, &ev->file, NULL, NULL);
		break;
	case FAN_EVENT_INFO_TYPE_DFID:
	case FAN_EVENT_INFO_TYPE_DFID_NAME:
	case FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
		parse_fid(rec, n, &ev->directory, &ev->name, &ev->name_size);
		break;
	case FAN_EVENT_INFO_TYPE_PIDFD:
		parse_pidfd(rec, n, ev);
		break;
	default: /* the old name of a rename, errors: nothing is done with them */
		break;
	}
}

size_t fanotify_parse(const uint8_t *data, size_t n, struct file_event *ev)
{
	struct fanotify_event_metadata meta;
	size_t off;

	memset(ev, 0, sizeof(*ev));
	ev->pidfd = -1;
	ev->fd = -1;
	if (n < sizeof(meta))
		return 0;
	memcpy(&meta, data, sizeof(meta));
	if (meta.vers != FANOTIFY_METADATA_VERSION || meta.metadata_len < sizeof(meta) ||
	    meta.event_len < meta.metadata_len || meta.event_len > n)
		return 0;
	ev->bits = bits_of(meta.mask);
	ev->pid = meta.pid > 0 ? meta.pid : 0;
	ev->fd = meta.fd >= 0 ? meta.fd : -1;
	for (off = meta.metadata_len; off + sizeof(struct fanotify_event_info_header) <= meta.event_len;) {
		struct fanotify_event_info_header h;

		memcpy(&h, data + off, sizeof(h));
		if (h.len < sizeof(h) || h.len > meta.event_len - off)
			break;
		parse_info(h.info_type, data + off, h.len, ev);
		off += h.len;
	}
	return meta.event_len;
}
