/*
 * ampquard/ask.c - requests on ampquard's CLI socket.
 *
 * Owns: who may ask for what, the check of every value, handing it to the
 * I/O thread. Must not own: the answers.
 */
#include "quard.h"

#include "cliserver.h"
#include "log.h"
#include "role.h"

#include "proto/cli.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOT_ONLY "only root may change the quarantine"

#define QUESTION_MAX 256

static int on_status(struct amp_channel *client, struct amp_message *m, void *arg)
{
	Amp__CliStatusReply reply = AMP__CLI_STATUS_REPLY__INIT;
	Amp__Counter **counters = NULL;

	(void)arg;
	reply.service = (char *)(uintptr_t)amp_role(AMP_ROLE_QUARD)->name;
	reply.n_counters = amp_cli_counters(&counters);
	reply.counters = counters;
	if (amp_channel_send(client, AMP_MSG_CLI_STATUS_REPLY, m->id, &reply.base, NULL, 0) != 0)
		amp_info("status not sent: %s", strerror(errno));
	free(counters);
	return 0;
}

static bool is_id(const char *text)
{
	return strlen(text) == VAULT_ID_SIZE - 1 && strspn(text, "0123456789abcdef-") == VAULT_ID_SIZE - 1;
}

static void hand_over(struct quard *q, struct amp_channel *client, const struct amp_message *m,
		      request_work *work)
{
	if (quard_ask(q, work, m->id, amp_cli_client_serial(client), m->body) == 0)
		return;
	if (errno == EAGAIN)
		amp_cli_error(client, m->id, AMP__CLI_ERROR__CODE__NOT_NOW,
			      "too many requests at once; try again in a moment");
	else
		amp_cli_error(client, m->id, AMP__CLI_ERROR__CODE__INTERNAL, "out of memory");
}

static void no_such_id(struct amp_channel *client, const struct amp_message *m)
{
	amp_cli_error(client, m->id, AMP__CLI_ERROR__CODE__BAD_REQUEST,
		      "that is no id of an entry; `ampcli quarantine list` shows them");
}

static int on_list(struct amp_channel *client, struct amp_message *m, void *arg)
{
	const Amp__CliQuarantine *ask = (const Amp__CliQuarantine *)m->body;

	if (ask->id[0] && !is_id(ask->id))
		no_such_id(client, m);
	else
		hand_over(arg, client, m, list_ask);
	return 0;
}

static int on_restore(struct amp_channel *client, struct amp_message *m, void *arg)
{
	const Amp__CliRestore *ask = (const Amp__CliRestore *)m->body;
	const ProtobufCBinaryData *dir = &ask->directory;

	if (!amp_cli_is_root(client, m->id, "quarantine restore", ROOT_ONLY))
		return 0;
	if (!is_id(ask->id))
		no_such_id(client, m);
	else if (dir->len > 0 &&
		 (dir->len >= AMP_PATH_MAX || dir->data[0] != '/' || memchr(dir->data, 0, dir->len)))
		amp_cli_error(client, m->id, AMP__CLI_ERROR__CODE__BAD_REQUEST,
			      "the directory must be an absolute path");
	else {
		quard_keep_waiting(arg, amp_cli_client_serial(client), m->id);
		hand_over(arg, client, m, restore_ask);
	}
	return 0;
}

static int on_delete(struct amp_channel *client, struct amp_message *m, void *arg)
{
	const Amp__CliDelete *ask = (const Amp__CliDelete *)m->body;

	if (!amp_cli_is_root(client, m->id, "quarantine delete", ROOT_ONLY))
		return 0;
	if (!is_id(ask->id))
		no_such_id(client, m);
	else
		hand_over(arg, client, m, keeper_delete);
	return 0;
}

static int on_revoke(struct amp_channel *client, struct amp_message *m, void *arg)
{
	const Amp__CliRevoke *ask = (const Amp__CliRevoke *)m->body;

	if (!amp_cli_is_root(client, m->id, "quarantine revoke", ROOT_ONLY))
		return 0;
	if (ask->sha256.len != AMP_SHA256_SIZE)
		amp_cli_error(client, m->id, AMP__CLI_ERROR__CODE__BAD_REQUEST, "that is no SHA-256");
	else
		hand_over(arg, client, m, keeper_revoke);
	return 0;
}

const struct amp_dispatch quard_cli[QUARD_CLI_ROWS] = {
	{AMP_MSG_CLI_STATUS, &amp__cli_status__descriptor, 0, 0, 0, 0, on_status},
	{AMP_MSG_CLI_QUARANTINE, &amp__cli_quarantine__descriptor, QUESTION_MAX, 0, 0, 0, on_list},
	{AMP_MSG_CLI_RESTORE, &amp__cli_restore__descriptor, AMP_PATH_MAX + QUESTION_MAX, 0, 0, 0,
	 on_restore},
	{AMP_MSG_CLI_DELETE, &amp__cli_delete__descriptor, QUESTION_MAX, 0, 0, 0, on_delete},
	{AMP_MSG_CLI_REVOKE, &amp__cli_revoke__descriptor, QUESTION_MAX, 0, 0, 0, on_revoke},
};
