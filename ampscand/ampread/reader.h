/*
 * ampscand/ampread/reader.h - the link to ampscand: items come in, results
 * go out in batches.
 *
 * Owns: the channel, the checking of every message of read.proto, the jobs in
 * hand, the gathering of results, back-pressure (a full channel or too many
 * jobs: no more is read).
 * Must not own: opening and hashing (job.h), the walks (walks.h).
 */
#ifndef AMP_READER_H
#define AMP_READER_H

#include "iothread.h"

#include <event2/event.h>
#include <stddef.h>

struct amp_reader;

/* on_hostile: the peer broke the protocol; its link is gone already. NULL and errno. */
struct amp_reader *amp_reader_new(struct event_base *base, struct amp_iothread *io,
				  void (*on_hostile)(const char *why, void *arg), void *arg);
/* The I/O thread must be idle. */
void amp_reader_free(struct amp_reader *r);

/*
 * A link (again). Takes fd over. Whatever came by the old one is dropped: its
 * results are not sent. 0, or -1 and errno.
 */
int amp_reader_link(struct amp_reader *r, int fd);
void amp_reader_unlink(struct amp_reader *r);

/* Jobs and walks not yet finished, those of old links too. */
size_t amp_reader_in_hand(const struct amp_reader *r);

#endif
