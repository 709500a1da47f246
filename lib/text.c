/*
 * lib/text.c - bytes for people.
 * Owns: the reading of UTF-8 and the escaping of what could deceive a reader
 * or a terminal. Must not own: any locale: what is printable is decided here,
 * not by the C library.
 */
#include "text.h"

#include <stdint.h>

#define MAX_CODE_POINT 0x10ffffU

/* A lead byte: its fixed bits, the bytes that follow, the least code point
 * that needs so many (below it the form is overlong). */
static const struct {
	uint8_t mask, bits, follow;
	uint32_t least;
} leads[] = {
	{0x80, 0x00, 0, 0x01},
	{0xe0, 0xc0, 1, 0x80},
	{0xf0, 0xe0, 2, 0x800},
	{0xf8, 0xf0, 3, 0x10000},
};

/* What may not be shown as it is though it is valid: it moves, hides or turns
 * round the text about it (controls, separators of lines, directions). */
static const struct {
	uint32_t first, last;
} unsafe[] = {
	{0x00, 0x1f},	  {'\\', '\\'},	    {0x7f, 0x9f},     {0x61c, 0x61c},
	{0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069},
};

/* Length of the code point at p, its value in *cp; 0: not valid UTF-8. */
static size_t decode(const uint8_t *p, size_t n, uint32_t *cp)
{
	size_t i = 0, len;

	while (i < sizeof(leads) / sizeof(leads[0]) && (p[0] & leads[i].mask) != leads[i].bits)
		i++;
	if (i == sizeof(leads) / sizeof(leads[0]) || leads[i].follow >= n)
		return 0;
	len = leads[i].follow + 1U;
	*cp = p[0] & (uint8_t)~leads[i].mask;
	for (size_t k = 1; k < len; k++) {
		if ((p[k] & 0xc0) != 0x80)
			return 0;
		*cp = *cp << 6 | (p[k] & 0x3f);
	}
	if (*cp < leads[i].least || *cp > MAX_CODE_POINT || (*cp >= 0xd800 && *cp <= 0xdfff))
		return 0;
	return len;
}

static bool is_safe(uint32_t cp)
{
	for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++) {
		if (cp >= unsafe[i].first && cp <= unsafe[i].last)
			return false;
	}
	return true;
}

bool amp_text_is_utf8(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	uint32_t cp;

	for (size_t i = 0, len; i < n; i += len) {
		len = decode(p + i, n - i, &cp);
		if (!len)
			return false;
	}
	return true;
}

static void put_hex(char *out, const uint8_t *p, size_t n)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*out++ = '\\';
		*out++ = 'x';
		*out++ = hex[p[i] >> 4];
		*out++ = hex[p[i] & 15];
	}
}

size_t amp_text_escape_some(const void *bytes, size_t n, char *buf, size_t size, size_t *taken)
{
	const uint8_t *p = bytes;
	size_t i = 0, out = 0;

	while (i < n) {
		uint32_t cp = 0;
		size_t len = decode(p + i, n - i, &cp);
		bool plain = len && is_safe(cp);
		size_t src = len ? len : 1;
		size_t dst = plain ? src : 4 * src;

		/* Whole code points and whole escapes only. */
		if (size - out <= dst)
			break;
		if (plain)
			for (size_t k = 0; k < src; k++)
				buf[out + k] = (char)p[i + k];
		else
			put_hex(buf + out, p + i, src);
		i += src;
		out += dst;
	}
	buf[out] = '\0';
	*taken = i;
	return out;
}

const char *amp_text_escape(const void *bytes, size_t n, char *buf, size_t size)
{
	size_t taken;

	if (size)
		amp_text_escape_some(bytes, n, buf, size, &taken);
	return buf;
}
