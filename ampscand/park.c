/*
 * ampscand/park.c - an event that takes long, as a record of its own.
 *
 * Owns: the record's form in a parked slot (buffers.h). It is read by our
 * successor only, but every length is checked all the same.
 */
#include "scand.h"

#include <stdlib.h>
#include <string.h>

#define EXE_MAX	       300U
#define FLAG_DIRECTORY 1U
#define FLAG_KNOWN     2U
#define FORM	       1U /* of the record; another one is not ours to read */

struct record {
	uint32_t cause;
	int32_t pid;
	uint32_t uid;
	uint16_t flags, name_size, exe_size, file_size, directory_size, form;
	int32_t file_type, directory_type;
	uint64_t file_fsid;
	int64_t seen_ns;
	uint8_t bytes[]; /* file handle, directory handle, name, exe */
};
#define RECORD_MAX (AMP_PARKED_SIZE - 20)

static void put(uint8_t **at, const void *data, size_t n)
{
	if (n)
		memcpy(*at, data, n);
	*at += n;
}

int park_occurrence(struct scand *s, struct occurrence *o, const struct amp_fileid *file)
{
	_Alignas(8) uint8_t data[RECORD_MAX + 8] = {0};
	struct record *r = (struct record *)data;
	size_t exe = o->who && o->who->known ? o->who->exe_size : 0;
	uint8_t *at = r->bytes;

	r->cause = o->cause;
	r->pid = o->who ? o->who->pid : 0;
	r->uid = o->who ? o->who->uid : 0;
	r->seen_ns = o->who ? o->who->seen_ns : 0;
	r->form = FORM;
	r->flags = o->who && o->who->known ? FLAG_KNOWN : 0;
	r->file_size = (uint16_t)file->handle.size;
	r->file_type = file->handle.type;
	r->file_fsid = file->fsid;
	if (o->directory) {
		r->directory_size = (uint16_t)o->directory->handle.size;
		r->directory_type = o->directory->handle.type;
	}
	r->name_size = (uint16_t)o->name_size;
	r->exe_size = (uint16_t)(exe < EXE_MAX ? exe : EXE_MAX);
	if (o->cause & EVENT_DIRECTORY)
		r->flags |= FLAG_DIRECTORY;
	put(&at, file->handle.bytes, r->file_size);
	if (o->directory)
		put(&at, o->directory->handle.bytes, r->directory_size);
	put(&at, o->name, r->name_size);
	if (r->exe_size)
		put(&at, o->who->exe, r->exe_size);
	return buffers_park(s->buffers, &o->slot, data, (size_t)(at - data));
}

static bool is_valid(const struct record *r, size_t n)
{
	return r->form == FORM && r->file_size > 0 && r->file_size <= AMP_FILE_HANDLE_MAX &&
	       r->directory_size <= AMP_FILE_HANDLE_MAX && r->name_size <= 255 && r->exe_size <= EXE_MAX &&
	       sizeof(*r) + r->file_size + r->directory_size + r->name_size + r->exe_size <= n;
}

struct occurrence *park_restore(const uint8_t *data, size_t n, struct amp_fileid *file, uint8_t *is_directory)
{
	struct record r;
	struct amp_fileid dir = {0};
	const uint8_t *at = data + sizeof(r);
	struct occurrence *o;

	memset(file, 0, sizeof(*file));
	if (n < sizeof(r))
		return NULL;
	memcpy(&r, data, sizeof(r));
	if (!is_valid(&r, n))
		return NULL;
	file->fsid = dir.fsid = r.file_fsid;
	file->handle.type = r.file_type;
	file->handle.size = r.file_size;
	memcpy(file->handle.bytes, at, r.file_size);
	at += r.file_size;
	dir.handle.type = r.directory_type;
	dir.handle.size = r.directory_size;
	memcpy(dir.handle.bytes, at, r.directory_size);
	at += r.directory_size;
	o = occurrence_new(&dir, (const char *)at, r.name_size);
	if (!o)
		return NULL;
	o->cause = r.cause;
	o->who = who_make(r.flags & FLAG_KNOWN, r.pid, r.uid, (const char *)at + r.name_size, r.exe_size);
	if (o->who && r.seen_ns > 0)
		o->who->seen_ns = r.seen_ns;
	*is_directory = (r.flags & FLAG_DIRECTORY) != 0;
	return o;
}
