/*
 * ampcli/vault_entry.h - an entry of the quarantine as ampquard tells of it.
 *
 * Owns: what makes an entry, a page and an id believable; the form of an entry
 * in text and in JSON. Must not own: asking, what is done with an entry.
 */
#ifndef AMPCLI_VAULT_ENTRY_H
#define AMPCLI_VAULT_ENTRY_H

#include "proto/cli.pb-c.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define VAULT_ID_LENGTH 36 /* of a UUID's text */

/* Is text the beginning of a UUID, at least `least` characters of it? Any case. */
bool vault_id_begins(const char *text, size_t least);
/* A path as bytes: not too long, no NUL. */
bool vault_path_sound(const ProtobufCBinaryData *path);
bool vault_entry_sound(const Amp__CliVaultEntry *e);
/* A page of entries below `before` (0: the first page) that leads further down, or ends. */
bool vault_page_sound(const Amp__CliQuarantineReply *r, uint64_t before);

/* With `whole`: the details of one entry too. */
json_object *vault_entry_json(const Amp__CliVaultEntry *e, bool whole);

void vault_table_head(FILE *f);
void vault_table_row(FILE *f, const Amp__CliVaultEntry *e);
void vault_entry_text(FILE *f, const Amp__CliVaultEntry *e);
/* In a sentence: detection and path. */
void vault_entry_words(FILE *f, const Amp__CliVaultEntry *e);

#endif
