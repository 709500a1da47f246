/*
 * lib/text.h - bytes for people: escaping of paths that need not be UTF-8.
 */
#ifndef AMP_TEXT_H
#define AMP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* True if the n bytes are valid UTF-8 without NUL. */
bool amp_text_is_utf8(const void *bytes, size_t n);
/*
 * Printable form in buf (NUL-terminated, cut at size): control bytes, DEL,
 * backslash, bytes that are not UTF-8, and code points that turn or break a
 * line (C1 controls, bidirectional marks, U+2028, U+2029) become \xNN. A code
 * point or an escape is never cut in half. Returns buf.
 */
const char *amp_text_escape(const void *bytes, size_t n, char *buf, size_t size);
/*
 * The same for who must know about the cut: bytes used of the input in *taken,
 * length of buf as the answer. size is not 0.
 */
size_t amp_text_escape_some(const void *bytes, size_t n, char *buf, size_t size, size_t *taken);

#endif
