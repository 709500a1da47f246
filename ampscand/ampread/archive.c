/*
 * ampscand/ampread/archive.c - what archives begin with (see archive.h).
 *
 * Containers of files and compressed streams that the engine unpacks. Documents
 * (OLE2, PDF) and programs are none, whatever is in them.
 */
#include "archive.h"

#include <string.h>

struct magic {
	size_t offset;
	const char *bytes;
	size_t length;
};

/* The text without its NUL. */
#define AT(offset, text)                                                                                     \
	{                                                                                                    \
		(offset), (text), sizeof(text) - 1                                                           \
	}

static const struct magic table[] = {
	AT(0, "PK\3\4"),  /* zip */
	AT(0, "PK\5\6"),  /* ... without a member */
	AT(0, "PK\7\10"), /* ... the first of several */
	AT(0, "PK00PK\3\4"),
	AT(0, "\x1f\x8b"), /* gzip */
	AT(0, "BZh"),
	AT(0, "\xfd"
	      "7zXZ"),
	AT(0, "\x28\xb5\x2f\xfd"), /* zstd */
	AT(0, "\x04\x22\x4d\x18"), /* lz4 */
	AT(0, "LZIP"),
	AT(0, "\x5d\0\0"), /* lzma alone, as its program writes it */
	AT(0, "\x1f\x9d"), /* compress */
	AT(0, "7z\xbc\xaf\x27\x1c"),
	AT(0, "Rar!\x1a\x07"),
	AT(257, "ustar"),
	AT(0, "MSCF"),		   /* cab */
	AT(0, "ISc("),		   /* cab of InstallShield */
	AT(0, "SZDD"),		   /* compress.exe */
	AT(0, "!<arch>\n"),	   /* ar, deb */
	AT(0, "\xed\xab\xee\xdb"), /* rpm */
	AT(0, "xar!"),
	AT(0, "ITSF"), /* chm */
	AT(0, "EGGA"),
	AT(0, "ALZ\1"),
	AT(0, "\x60\xea"), /* arj */
	AT(0, "070701"),   /* cpio, as text */
	AT(0, "070702"),
	AT(0, "070707"),
	AT(0, "\xc7\x71"), /* cpio, binary, either order */
	AT(0, "\x71\xc7"),
	AT(32769, "CD001"), /* iso 9660 */
	AT(32769, "BEA01"), /* udf */
	AT(0, "hsqs"),	    /* squashfs */
};

static bool has(const uint8_t *head, size_t n, const struct magic *m)
{
	return n >= m->offset + m->length && memcmp(head + m->offset, m->bytes, m->length) == 0;
}

/* lha: "-lh5-" and its like after two bytes of any value. */
static bool is_lha(const uint8_t *head, size_t n)
{
	return n >= 7 && head[2] == '-' && head[3] == 'l' && (head[4] == 'h' || head[4] == 'z') &&
	       head[6] == '-';
}

#define TAR_BLOCK    512U
#define TAR_SUM	     148U
#define TAR_SUM_SIZE 8U

/* A tar older than "ustar" has its header's sum alone, in octal. */
static bool is_old_tar(const uint8_t *head, size_t n)
{
	unsigned long sum = 0, said = 0;
	size_t at = TAR_SUM;

	if (n < TAR_BLOCK || head[0] == 0)
		return false;
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= TAR_SUM && i < TAR_SUM + TAR_SUM_SIZE ? ' ' : head[i];
	while (at < TAR_SUM + TAR_SUM_SIZE && head[at] == ' ')
		at++;
	for (; at < TAR_SUM + TAR_SUM_SIZE && head[at] >= '0' && head[at] <= '7'; at++)
		said = said * 8 + (head[at] - (unsigned long)'0');
	return said == sum;
}

bool amp_archive_begins(const uint8_t *head, size_t n)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (has(head, n, &table[i]))
			return true;
	return is_lha(head, n) || is_old_tar(head, n);
}
