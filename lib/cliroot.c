/*
 * lib/cliroot.c - who may change something (cliserver.h).
 *
 * Owns: that question, its line in the log and its refusal. Must not own: clients.
 */
#include "cliserver.h"

#include "log.h"

#include "proto/cli.pb-c.h"

bool amp_cli_is_root(struct amp_channel *client, uint64_t id, const char *what, const char *refusal)
{
	uid_t uid = amp_cli_client_uid(client);

	amp_info("uid %u pid %d: %s%s", (unsigned)uid, (int)amp_cli_client_pid(client), what,
		 uid == 0 ? "" : ": refused");
	if (uid != 0)
		amp_cli_error(client, id, AMP__CLI_ERROR__CODE__NOT_PERMITTED, "%s", refusal);
	return uid == 0;
}
