/*
 * ampquard/vaultformat.h - the format of a vault file: sealing and opening it
 * in memory.
 *
 * Owns: the layout, the cipher, what order of records is one. Must not own:
 * any descriptor: who reads and writes files is vault.c, so that a fuzzer can
 * call all of this.
 *
 *   file    header, META, any number of DATA and HOLE, END, and not a byte more
 *
 *   header   0  8  magic \x89 A M P Q \r \n \x1a (no other program's)
 *            8  4  version, 1
 *           12  4  VAULT_CHUNK
 *           16 36  the entry's id, text
 *           52 12  nonce, random
 *           64 32  the entry's key, sealed under the vault's key;
 *                  authenticated with it: bytes 0 to 63
 *           96 16  tag of that
 *
 *   record   0  4  type
 *            4  4  n, bytes of ciphertext
 *            8  8  offset in the content
 *           16  8  bytes of content that it stands for
 *           24  n  ciphertext, under the entry's key; authenticated with it: the
 *                  whole header and the 24 bytes before
 *         24+n 16  tag of that
 *
 *   type     META 1: packed VaultMeta, once, first
 *            DATA 2: content, 1 to VAULT_CHUNK bytes
 *            HOLE 3: no ciphertext, any number of bytes of zeroes
 *            END 4:  number of records before it (8), size of the content (8),
 *                    SHA-256 of the content (32)
 *
 * Numbers are little-endian. Everything is AES-256-GCM. The nonce of a record is
 * its number in the file (from 0, four zero bytes and eight big-endian): it is not
 * stored, so a record that was removed, repeated or moved does not open, and one of
 * another file was sealed with another key. A file without END was cut short.
 * An entry's key is random, used for one file; the vault's key seals nothing
 * but those, with random nonces, and so stays far below 2^32 uses.
 */
#ifndef AMPQUARD_VAULTFORMAT_H
#define AMPQUARD_VAULTFORMAT_H

#include "sha256.h"
#include "vault.h"

#include "proto/vault.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VF_KEY_SIZE    32U
#define VF_TAG_SIZE    16U
#define VF_HEADER_SIZE 112U
#define VF_HEAD_SIZE   24U
#define VF_END_SIZE    48U			    /* of END, before it is sealed */
#define VF_AROUND      (VF_HEAD_SIZE + VF_TAG_SIZE) /* what a record is longer than its content */
#define VF_SIZE_MAX    ((uint64_t)INT64_MAX)	    /* of a content, as off_t has it */

enum vf_type { VF_META = 1, VF_DATA, VF_HOLE, VF_END };

struct vf_record {
	enum vf_type type;
	uint32_t sealed; /* bytes of ciphertext; the tag follows them */
	uint64_t offset, length;
};

struct vf_file; /* one file being sealed or opened, record by record */

/* Fetches the cipher and uses it once: later nothing is loaded. 0, or -1 ENOTSUP. */
int vf_setup(void);
/* A UUID as text: 8-4-4-4-12 lower-case hex digits, nothing else. */
bool vf_id_valid(const char *id);
/* getrandom(2), all of it. 0, or -1 and errno. */
int vf_random(void *to, size_t n);

/*
 * A new file: makes its key, writes its header. NULL: EINVAL (the id), or errno.
 */
struct vf_file *vf_new(const uint8_t vault_key[VF_KEY_SIZE], const char *id, uint8_t header[VF_HEADER_SIZE]);
/*
 * Seal a record into out: VF_AROUND and the sealed bytes. META first, END last. 0, or -1:
 * EINVAL (order, or size), EFBIG, EIO (libcrypto).
 */
int vf_seal_meta(struct vf_file *f, const void *packed, size_t n, uint8_t *out);
int vf_seal_data(struct vf_file *f, const void *data, size_t n, uint8_t *out);
int vf_seal_hole(struct vf_file *f, uint64_t length, uint8_t *out);
int vf_seal_end(struct vf_file *f, const uint8_t sha256[AMP_SHA256_SIZE], uint8_t *out);

/*
 * A file that is there: opens its header, which must be of that entry. NULL: EBADMSG
 * (not of this vault, entry or version, or changed), or errno.
 */
struct vf_file *vf_of_header(const uint8_t vault_key[VF_KEY_SIZE], const char *id,
			     const uint8_t header[VF_HEADER_SIZE]);
/*
 * The head of the next record: its type may come here, its sizes are in their bounds. Nothing in
 * it is proven yet. 0, or -1 EBADMSG; after that the file is not opened any further.
 */
int vf_head(struct vf_file *f, const uint8_t head[VF_HEAD_SIZE], struct vf_record *r);
/*
 * Opens the body (r->sealed bytes and the tag) of the record whose head was last; plain: r->sealed
 * bytes. END's numbers are compared here. 0, or -1: EBADMSG (plain is zeroed), EIO.
 */
int vf_open(struct vf_file *f, const uint8_t *body, uint8_t *plain);
/* Where the SHA-256 is in the plain END. */
const uint8_t *vf_end_sha256(const uint8_t plain[VF_END_SIZE]);
/* To the first record after META, which must have been opened. 0, or -1 EINVAL. */
int vf_rewind(struct vf_file *f);
void vf_free(struct vf_file *f);

struct vf_meta; /* metadata that was unpacked, in bounded memory */

/* Checks as vf_meta_open() does and packs. *packed is malloc'd. 0, or -1: EINVAL, EMSGSIZE, ENOMEM. */
int vf_meta_pack(const Amp__VaultMeta *m, uint8_t **packed, size_t *n);
/* Of entry id; every field in its bounds. NULL: EBADMSG, ENOMEM. */
struct vf_meta *vf_meta_open(const uint8_t *packed, size_t n, const char *id);
const Amp__VaultMeta *vf_meta_get(const struct vf_meta *m);
void vf_meta_free(struct vf_meta *m);

#endif
