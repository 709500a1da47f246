/*
 * ampcli/client.h - one connection to one service's socket.
 *
 * Owns: connecting, sending a request, waiting at most 5 s for each answer
 * (anew, once, if we were not there at their end), asking a read again once
 * after the service went away in between (a change is asked once), checking
 * every reply as strictly as a service checks a request: the service may have
 * been taken over.
 * Must not own: what the replies mean.
 */
#ifndef AMPCLI_CLIENT_H
#define AMPCLI_CLIENT_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_WAIT_MS	   5000
#define CLIENT_REPLIES_MAX 256 /* to one request */

enum client_outcome {
	CLIENT_OK,
	CLIENT_UNREACHABLE,   /* no socket, nobody there, no answer in time */
	CLIENT_NOT_PERMITTED, /* by the socket's mode or the service */
	CLIENT_REFUSED,	      /* the service says why */
	CLIENT_BROKEN	      /* what came is no answer */
};

/* The body is kept by pointer until the answer is there (it may be sent twice). */
struct client_request {
	uint16_t type;
	const ProtobufCMessage *body;
	uint16_t reply_type;
	const ProtobufCMessageDescriptor *reply;
	bool change; /* changes something: never sent twice */
	/* True if more replies follow this one; NULL: there is one reply. */
	bool (*more)(const ProtobufCMessage *reply);
	/* Is given each reply that more follow, which is then dropped: news of work in hand, however
	 * many, count against no bound and take no memory. NULL: they are kept, parts of the answer. */
	void (*progress)(const ProtobufCMessage *reply, void *arg);
	void *arg; /* of progress */
};

struct client;

/* No connection yet. NULL: ENOMEM. */
struct client *client_new(const char *run_dir, const char *service);
void client_free(struct client *c);

/* Sends; replies of an earlier request are gone. A failure is told by client_receive(). */
void client_send(struct client *c, const struct client_request *request);
enum client_outcome client_receive(struct client *c);
enum client_outcome client_ask(struct client *c, const struct client_request *request);

size_t client_replies(const struct client *c);
const ProtobufCMessage *client_reply(const struct client *c, size_t i);

const char *client_service(const struct client *c);
/* An answer that is whole but not believable: why it is not; the connection ends. CLIENT_BROKEN. */
enum client_outcome client_unsound(struct client *c, const char *what);
/* The code of the last refusal, an Amp__CliError__Code; NONE: it was none. */
int client_refusal(const struct client *c);

/* Why there is no answer; may hold the service's words, so escape it. */
const char *client_why(const struct client *c);

#endif
