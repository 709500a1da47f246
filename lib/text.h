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
 * backslash and bytes that are not UTF-8 become \xNN. Returns buf.
 */
const char *amp_text_escape(const void *bytes, size_t n, char *buf, size_t size);

#endif
