/*
 * lib/cliserver.h - the service's side of its CLI socket.
 *
 * Owns: accepting (SO_PEERCRED root, or SO_PEERGROUPS the group `amp`), the
 * limits (clients, output per client, idle time 30 s), one channel a client,
 * disconnecting who sends anything the table does not permit. Clients may not pass fds.
 * Must not own: what the requests mean.
 */
#ifndef AMP_CLISERVER_H
#define AMP_CLISERVER_H

#include "channel.h"

#include <stdbool.h>
#include <sys/types.h>

#define AMP_CLI_MAX_CLIENTS  32
#define AMP_CLI_ROOT_RESERVE 8 /* of them: a member of the group cannot lock root out */

struct amp_cliserver;

struct amp_cliserver_config {
	const struct amp_dispatch *table; /* handlers get the amp_channel of the client and `arg` */
	size_t rows;
	gid_t group; /* may ask; (gid_t)-1: root only */
	void *arg;
};

/* listen_fd: already listening (AMP_FD_CLI). Taken over. NULL and errno on failure. */
struct amp_cliserver *amp_cliserver_new(struct event_base *base, int listen_fd,
					const struct amp_cliserver_config *c);
void amp_cliserver_free(struct amp_cliserver *s);

/* Who the client of this channel is, from SO_PEERCRED. */
uid_t amp_cli_client_uid(const struct amp_channel *client);
pid_t amp_cli_client_pid(const struct amp_channel *client);
/* An id that no two clients of this process share: for answers that come later. */
uint64_t amp_cli_client_serial(const struct amp_channel *client);
/* The client with that serial, if it is still there; else NULL. */
struct amp_channel *amp_cli_client_find(struct amp_cliserver *s, uint64_t serial);

/*
 * Logs who asks for a change, and whether it was refused. False: it was, and the client was told
 * (what: for the log; refusal: the sentence for the client).
 */
bool amp_cli_is_root(struct amp_channel *client, uint64_t id, const char *what, const char *refusal);

/* Sends a CliError as the last answer to request id. */
void amp_cli_error(struct amp_channel *client, uint64_t id, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Fills Counter messages for a status reply from the registry; returns how
 * many. *list is malloc'd in one block: free(*list).
 */
#include "proto/common.pb-c.h"
size_t amp_cli_counters(Amp__Counter ***list);

#endif
