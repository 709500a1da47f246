/*
 * ampquard/vault.h - the directory of taken files: one sealed file an entry.
 *
 * Owns: the directory's descriptor and lock, the vault's key, the format of
 * its files (vaultformat.h), making, reading and removing them. Must not own:
 * the database beside them, where a file came from or goes to.
 * Every call is the I/O thread's but vault_setup().
 *
 * A vault file is neutralised, not secret from root: its key lies beside it.
 * What it does give: nothing detects, executes or parses it by accident, and
 * a changed byte is noticed before anything is given back.
 */
#ifndef AMPQUARD_VAULT_H
#define AMPQUARD_VAULT_H

#include "sha256.h"

#include "proto/vault.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VAULT_CHUNK	65536U	   /* bytes of content in a record at most */
#define VAULT_META_MAX	(4U << 20) /* packed VaultMeta */
#define VAULT_ID_SIZE	37	   /* UUID text with its NUL */
#define VAULT_KEEP_FREE 5U	   /* per cent of the file system that a copy leaves free */

struct vault;
struct vault_writer;
struct vault_reader;

/* Before the drop: fetches the cipher, so that later no file is opened. 0, or -1 ENOTSUP. */
int vault_setup(void);

/*
 * Opens the directory (must be ours, 0700, no link), locks it against a second
 * keeper, reads the key or makes it, removes unfinished files. NULL and a
 * sentence in err with the remedy; errno EWOULDBLOCK: another keeper has it (try again).
 */
struct vault *vault_open(const char *dir, char *err, size_t size);
void vault_close(struct vault *v);

/* Would `more` bytes leave VAULT_KEEP_FREE per cent? False: no, or it cannot be told. */
bool vault_has_room(const struct vault *v, uint64_t more);

/*
 * Begins entry meta->entry_id as ID.part: header and sealed metadata. One writer an id at a time.
 * What is written may wait in memory until vault_finish(). NULL and errno; EINVAL: a field of meta is
 * beyond its bounds (vf_meta_pack()), EMSGSIZE: all of them are.
 */
struct vault_writer *vault_create(struct vault *v, const Amp__VaultMeta *meta);
/* The next n (1 to VAULT_CHUNK) bytes. 0, or -1 and errno. */
int vault_write(struct vault_writer *w, const void *data, size_t n);
/* The next n bytes are a hole. 0, or -1 and errno. */
int vault_hole(struct vault_writer *w, uint64_t n);
/*
 * All of it is there: seals the end and starts writing to the disk, without waiting. What
 * other files are written meanwhile shares the disk's work. Only vault_finish() or vault_abort()
 * may follow. 0, or -1 and errno.
 */
int vault_seal(struct vault_writer *w, const uint8_t sha256[AMP_SHA256_SIZE]);
/*
 * Seals the end if it is not (size and hash of the whole content are in it), syncs, gives it its
 * name ID.q (replacing an older one). The directory is not synced: vault_sync().
 * Frees w in any case. 0 and the bytes stored, or -1 and errno (nothing is left of it).
 */
int vault_finish(struct vault_writer *w, const uint8_t sha256[AMP_SHA256_SIZE], uint64_t *stored);
void vault_abort(struct vault_writer *w);
int vault_sync(struct vault *v);

enum vault_answer {
	VAULT_DATA,	/* n bytes in buf */
	VAULT_HOLE,	/* n bytes of hole */
	VAULT_END,	/* all of it was there, size and order are right; sha256 is what the end says */
	VAULT_TAMPERED, /* also: a link, another owner or mode than we give */
	VAULT_FAILED	/* errno */
};

/* NULL: *why is VAULT_TAMPERED or VAULT_FAILED (errno, ENOENT: there is none). */
struct vault_reader *vault_read(struct vault *v, const char *id, enum vault_answer *why);
const Amp__VaultMeta *vault_reader_meta(const struct vault_reader *r);
/* buf: VAULT_CHUNK bytes. */
enum vault_answer vault_next(struct vault_reader *r, uint8_t *buf, uint64_t *n,
			     uint8_t sha256[AMP_SHA256_SIZE]);
/* From the first byte of the content again. 0, or -1 and errno. */
int vault_rewind(struct vault_reader *r);
void vault_reader_free(struct vault_reader *r);

/* 0, or -1 and errno. ENOENT is no error. */
int vault_remove(struct vault *v, const char *id);
bool vault_exists(const struct vault *v, const char *id);
/* Every ID.q; for the sweep at start. 0, or -1 and errno. */
int vault_each(struct vault *v, void (*found)(const char *id, uint64_t bytes, void *arg), void *arg);

#endif
