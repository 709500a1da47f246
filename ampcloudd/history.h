/*
 * ampcloudd/history.h - the question `ampcli history` and its answer.
 * Owns: checking the question, the job that looks, finding the client again.
 * Must not own: SQL (query.c). One reply a question; the client pages.
 */
#ifndef AMPCLOUDD_HISTORY_H
#define AMPCLOUDD_HISTORY_H

#include "cliserver.h"
#include "iothread.h"
#include "store.h"

struct history;

/* NULL and errno. */
struct history *history_new(struct amp_iothread *io, struct store *store);
void history_free(struct history *h);
/* Answers to whom the server still has. NULL: to nobody any more. */
void history_serve(struct history *h, struct amp_cliserver *server);
/* Answers at once if the question is bad or too many wait, else later. */
void history_ask(struct history *h, struct amp_channel *client, uint64_t id, const Amp__CliHistory *q);

#endif
