/*
 * lib/sha256.c - SHA-256 through one prefetched EVP_MD.
 * Owns: that method and the only calls of libcrypto's digests. Must not own:
 * reading of files. OpenSSL's configuration file is never read and its
 * clean-up at exit is off: exit() in one thread must not pull the tables from
 * under another that is hashing.
 */
#include "sha256.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct amp_sha256 {
	EVP_MD_CTX *ctx;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *method; /* lives as long as the process */

/* A digest made and thrown away: what is loaded lazily is loaded now. */
static bool warm_up(void)
{
	uint8_t out[AMP_SHA256_SIZE];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestInit_ex2(ctx, method, NULL) == 1 && EVP_DigestUpdate(ctx, "", 1) == 1 &&
		  EVP_DigestFinal_ex(ctx, out, NULL) == 1;

	EVP_MD_CTX_free(ctx);
	return ok;
}

static void load(void)
{
	if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL) != 1)
		return;
	method = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (method && !warm_up()) {
		EVP_MD_free(method);
		method = NULL;
	}
}

int amp_sha256_setup(void)
{
	pthread_once(&once, load);
	if (!method) {
		errno = ENOTSUP;
		return -1;
	}
	return 0;
}

struct amp_sha256 *amp_sha256_new(void)
{
	struct amp_sha256 *s;

	if (amp_sha256_setup())
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->ctx = EVP_MD_CTX_new();
	/* The first begin allocates the provider's state: here, so that later none fails. */
	if (!s->ctx || amp_sha256_begin(s)) {
		amp_sha256_free(s);
		errno = ENOMEM;
		return NULL;
	}
	return s;
}

static int answer(int openssl_result)
{
	if (openssl_result == 1)
		return 0;
	errno = EIO;
	return -1;
}

int amp_sha256_begin(struct amp_sha256 *s)
{
	return answer(EVP_DigestInit_ex2(s->ctx, method, NULL));
}

int amp_sha256_add(struct amp_sha256 *s, const void *data, size_t n)
{
	return answer(EVP_DigestUpdate(s->ctx, data, n));
}

int amp_sha256_end(struct amp_sha256 *s, uint8_t out[AMP_SHA256_SIZE])
{
	return answer(EVP_DigestFinal_ex(s->ctx, out, NULL));
}

void amp_sha256_free(struct amp_sha256 *s)
{
	if (!s)
		return;
	EVP_MD_CTX_free(s->ctx);
	free(s);
}

static void put_hex(const uint8_t *bytes, size_t n, char *out)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = hex[bytes[i] >> 4];
		out[2 * i + 1] = hex[bytes[i] & 15];
	}
}

const char *amp_sha256_hex(const uint8_t sha[AMP_SHA256_SIZE], char *buf)
{
	put_hex(sha, AMP_SHA256_SIZE, buf);
	buf[AMP_SHA256_HEX - 1] = '\0';
	return buf;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int amp_sha256_parse(const char *hex, uint8_t out[AMP_SHA256_SIZE])
{
	uint8_t bytes[AMP_SHA256_SIZE];

	/* A NUL is no digit, so nothing behind the end is read. */
	for (size_t i = 0; i < AMP_SHA256_SIZE; i++) {
		int high = nibble(hex[2 * i]);
		int low = high < 0 ? -1 : nibble(hex[2 * i + 1]);

		if (low < 0) {
			errno = EINVAL;
			return -1;
		}
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	if (hex[AMP_SHA256_HEX - 1]) {
		errno = EINVAL;
		return -1;
	}
	for (size_t i = 0; i < AMP_SHA256_SIZE; i++)
		out[i] = bytes[i];
	return 0;
}

static int digest_of(const void *data, size_t n, uint8_t out[AMP_SHA256_SIZE])
{
	struct amp_sha256 *s = amp_sha256_new();
	int rc = s && !amp_sha256_add(s, data, n) ? amp_sha256_end(s, out) : -1;

	amp_sha256_free(s);
	return rc;
}

const char *amp_uuid_of(const void *data, size_t n, char *buf)
{
	static const uint8_t groups[] = {4, 2, 2, 2, 6}; /* bytes between the dashes */
	uint8_t sha[AMP_SHA256_SIZE];
	const uint8_t *p = sha;
	char *out = buf;

	if (digest_of(data, n, sha)) {
		buf[0] = '\0';
		errno = ENOMEM;
		return NULL;
	}
	sha[6] = (uint8_t)((sha[6] & 0x0f) | 0x80); /* version 8: made as its maker likes */
	sha[8] = (uint8_t)((sha[8] & 0x3f) | 0x80); /* variant of RFC 9562 */
	for (size_t i = 0; i < sizeof(groups); i++) {
		put_hex(p, groups[i], out);
		p += groups[i];
		out += 2 * groups[i];
		*out++ = '-';
	}
	out[-1] = '\0';
	return buf;
}
