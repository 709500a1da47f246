/*
 * tests/unit/clifake.h - services that answer ampcli as a test wants: threads
 * with a script, and ampcli run against them.
 */
#ifndef TESTS_UNIT_CLIFAKE_H
#define TESTS_UNIT_CLIFAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ampcli/cli.h"
#include "channel.h"
#include "proto/cli.pb-c.h"
#include "proto/types.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

extern char dir[64]; /* the run directory */

struct service;
/* Answers one request; false: closes the connection. */
typedef bool answerer(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		      size_t length);

struct service {
	const char *name;
	answerer *answer;
	int listener;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic unsigned requests;
	bool running;
	bool leaves_unread; /* what was asked is not taken out of the socket */
};

extern struct service mon, scan, cloud, quard;

void reply(int fd, uint16_t type, uint64_t id, const ProtobufCMessage *body);
void start(struct service *s, answerer *answer);
void stop(struct service *s);
int stop_all(void **state);

/* What ampcli printed last. */
extern char *out, *err;
/* Its standard error instead, if it is a terminal's. */
extern FILE *terminal;

/* A terminal: what is typed on it; back to none, and what was seen. */
void open_terminal(const char *typed);
const char *close_terminal(void);

/* Of the group of tests: makes and removes `dir`. */
int make_dir(void **state);
int remove_dir(void **state);

int ampcli(int first, ...);
#define RUN(...) ampcli(0, __VA_ARGS__, NULL)

/* Exactly one document, of this type. */
json_object *document(enum json_type type);
json_object *member(json_object *o, const char *key);
const char *text_of(json_object *o, const char *key);

#define TEST(f) cmocka_unit_test_teardown(f, stop_all)
#define T(s)	((char *)(uintptr_t)(s))

#endif
