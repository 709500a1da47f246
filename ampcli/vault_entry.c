/*
 * ampcli/vault_entry.c - an entry of the quarantine (see vault_entry.h).
 */
#include "vault_entry.h"

#include "out.h"
#include "proto/types.h"
#include "sha256.h"

#include <ctype.h>
#include <linux/limits.h>
#include <string.h>

#define DETECTION_MAX 255  /* bytes of a detection's name */
#define SENTENCE_MAX  4096 /* bytes of a reason or note */

static const char *const states[] = {"waiting", "copied", "quarantined", "failed", "restored"};

bool vault_id_begins(const char *text, size_t least)
{
	size_t n = strlen(text);

	if (n < least || n > VAULT_ID_LENGTH)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return true;
}

static bool whole_id(const char *text)
{
	return vault_id_begins(text, VAULT_ID_LENGTH);
}

static bool bytes_sound(const ProtobufCBinaryData *b, size_t max)
{
	return b->len <= max && (b->len == 0 || !memchr(b->data, '\0', b->len));
}

bool vault_path_sound(const ProtobufCBinaryData *path)
{
	return bytes_sound(path, AMP_PATH_MAX);
}

static bool all_sound(const ProtobufCBinaryData *list, size_t n, size_t max)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].len == 0 || !bytes_sound(&list[i], max))
			return false;
	return true;
}

static bool state_known(const char *state)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(states[i], state) == 0)
			return true;
	return false;
}

static bool details_sound(const Amp__CliVaultEntry *e)
{
	for (size_t i = 0; i < e->n_detection_ids; i++)
		if (!whole_id(e->detection_ids[i]))
			return false;
	return all_sound(e->names, e->n_names, AMP_PATH_MAX) &&
	       all_sound(e->xattrs, e->n_xattrs, XATTR_NAME_MAX) && vault_path_sound(&e->restored_to) &&
	       strlen(e->note) <= SENTENCE_MAX;
}

bool vault_entry_sound(const Amp__CliVaultEntry *e)
{
	return e->number > 0 && whole_id(e->id) && (!e->detection_id[0] || whole_id(e->detection_id)) &&
	       vault_path_sound(&e->path) && e->sha256.len == AMP_SHA256_SIZE &&
	       strlen(e->detection) <= DETECTION_MAX && state_known(e->state) &&
	       strlen(e->reason) <= SENTENCE_MAX && details_sound(e);
}

bool vault_page_sound(const Amp__CliQuarantineReply *r, uint64_t before)
{
	if (r->n_entries > AMP_VAULT_BATCH || (r->more && r->n_entries == 0))
		return false;
	for (size_t i = 0; i < r->n_entries; i++) {
		const Amp__CliVaultEntry *e = r->entries[i];

		if (!vault_entry_sound(e) || (before > 0 && e->number >= before))
			return false;
		before = e->number;
	}
	/* A page that does not lead further down would never end. */
	return !r->more || (r->next_before > 0 && r->next_before <= before);
}

static bool has_failed(const Amp__CliVaultEntry *e)
{
	return strcmp(e->state, "failed") == 0;
}

static void json_details(json_object *o, const Amp__CliVaultEntry *e)
{
	char mode[8];

	snprintf(mode, sizeof(mode), "%04o", e->mode & 07777);
	out_json_bytes_list(o, "names", e->names, e->n_names);
	out_json_texts(o, "detection_ids", e->detection_ids, e->n_detection_ids);
	out_json_number(o, "uid", e->uid);
	out_json_number(o, "gid", e->gid);
	out_json_text(o, "mode", mode);
	out_json_number(o, "nlink", e->nlink);
	out_json_time(o, "mtime", e->mtime_ns);
	out_json_bytes_list(o, "xattrs", e->xattrs, e->n_xattrs);
	out_json_time(o, "until", e->until_ns);
	out_json_text(o, "note", e->note);
	out_json_bytes(o, "restored_to", &e->restored_to);
}

json_object *vault_entry_json(const Amp__CliVaultEntry *e, bool whole)
{
	json_object *o = json_object_new_object();

	out_json_text(o, "id", e->id);
	out_json_text(o, "detection_id", e->detection_id);
	out_json_time(o, "time", e->time_ns);
	out_json_bytes(o, "path", &e->path);
	if (e->path_unresolved)
		out_json_bool(o, "path_unresolved", true);
	out_json_hex(o, "sha256", &e->sha256);
	out_json_text(o, "detection", e->detection);
	out_json_number(o, "size", e->size);
	out_json_text(o, "state", e->state);
	if (has_failed(e))
		out_json_text(o, "reason", e->reason);
	if (whole)
		json_details(o, e);
	return o;
}

static void text_path(FILE *f, const Amp__CliVaultEntry *e)
{
	if (e->path.len > 0)
		out_bytes(f, &e->path);
	else
		fputs("(path not known)", f);
	if (e->path_unresolved)
		fputs(" (unresolved)", f);
}

void vault_table_head(FILE *f)
{
	fprintf(f, "%-36s  %-24s  %-11s  %12s  %-20s  %s\n", "ID", "TIME", "STATE", "SIZE", "DETECTION",
		"PATH");
}

void vault_table_row(FILE *f, const Amp__CliVaultEntry *e)
{
	fprintf(f, "%s  ", e->id);
	out_time(f, e->time_ns);
	fprintf(f, "  %-11s  %12llu  ", e->state, (unsigned long long)e->size);
	out_padded(f, e->detection, 20);
	fputs("  ", f);
	text_path(f, e);
	fputc('\n', f);
	if (!has_failed(e))
		return;
	fputs("    reason: ", f);
	out_text(f, e->reason[0] ? e->reason : "none given");
	fputc('\n', f);
}

void vault_entry_words(FILE *f, const Amp__CliVaultEntry *e)
{
	out_text(f, e->detection[0] ? e->detection : "no detection's name");
	fputs(", ", f);
	text_path(f, e);
}

static void line_text(FILE *f, const char *label, const char *text)
{
	if (!text[0])
		return;
	fprintf(f, "%s: ", label);
	out_text(f, text);
	fputc('\n', f);
}

static void line_bytes(FILE *f, const char *label, const ProtobufCBinaryData *bytes)
{
	if (bytes->len == 0)
		return;
	fprintf(f, "%s: ", label);
	out_bytes(f, bytes);
	fputc('\n', f);
}

static void line_time(FILE *f, const char *label, int64_t realtime_ns)
{
	fprintf(f, "%s: ", label);
	out_time(f, realtime_ns);
	fputc('\n', f);
}

static void text_details(FILE *f, const Amp__CliVaultEntry *e)
{
	fprintf(f, "Owner: %u:%u\nMode: %04o\n", e->uid, e->gid, e->mode & 07777);
	line_time(f, "Modified", e->mtime_ns);
	fprintf(f, "Links: %u\n", e->nlink);
	for (size_t i = 0; i < e->n_names; i++)
		line_bytes(f, "Taken from", &e->names[i]);
	for (size_t i = 0; i < e->n_xattrs; i++)
		line_bytes(f, "Attribute", &e->xattrs[i]);
	for (size_t i = 0; i < e->n_detection_ids; i++)
		line_text(f, "Detection id", e->detection_ids[i]);
	if (e->until_ns)
		line_time(f, "Kept until", e->until_ns);
	else
		fputs("Kept until: no end\n", f);
	line_bytes(f, "Restored to", &e->restored_to);
	line_text(f, "Note", e->note);
}

void vault_entry_text(FILE *f, const Amp__CliVaultEntry *e)
{
	line_text(f, "Id", e->id);
	line_text(f, "State", e->state);
	if (has_failed(e))
		line_text(f, "Reason", e->reason);
	line_text(f, "Detection", e->detection);
	fputs("Path: ", f);
	text_path(f, e);
	fputc('\n', f);
	line_time(f, "Found", e->time_ns);
	fputs("SHA-256: ", f);
	out_hex(f, e->sha256.data, e->sha256.len);
	fprintf(f, "\nSize: %llu bytes\n", (unsigned long long)e->size);
	text_details(f, e);
}
