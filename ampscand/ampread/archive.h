/*
 * ampscand/ampread/archive.h - does content begin like an archive?
 *
 * Owns: the table of what archives begin with. Must not own: any parsing. It
 * decides which of two limits of size holds for the content, nothing else: who
 * dresses a file up as an archive gets the larger one.
 */
#ifndef AMP_ARCHIVE_H
#define AMP_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* head: the first n bytes of the content, as many as were read at once. */
bool amp_archive_begins(const uint8_t *head, size_t n);

#endif
