/*
 * ampcli/cli.h - one command from its arguments to its exit code.
 *
 * Owns: options, the table of commands, exit codes.
 * Must not own: talking to services (client.h), the form of the output
 * (out.h and the cmd_*.c).
 */
#ifndef AMPCLI_CLI_H
#define AMPCLI_CLI_H

#include "client.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum cli_exit {
	CLI_EXIT_DONE = 0,
	CLI_EXIT_ERROR = 2,	  /* wrong usage, or refused */
	CLI_EXIT_UNREACHABLE = 3, /* a service did not answer; the rest is shown */
	CLI_EXIT_NOT_PERMITTED = 4,
};

/* What the user wants, and where it goes. */
struct cli {
	FILE *out, *err;
	bool json;
	const char *run_dir;
	const char *type;      /* history; NULL: all */
	const char *detection; /* likewise */
	int64_t since_ns;
	bool has_limit;
	uint64_t limit; /* entries shown; 0: all */
	const char *to; /* of `quarantine restore`; NULL: where it was */
	bool keep_privileges;
	bool yes;	      /* nothing is asked */
	const char *argument; /* of the commands that take one */
	int exit;	      /* the worst so far */
};

/* The program. out and err: stdout and stderr but in tests. */
int cli_main(int argc, char **argv, FILE *out, FILE *err);

/*
 * Says on err why `service` gave no answer and notes the exit code. With
 * `whole` nothing of the command can be shown: the JSON document is the error.
 */
void cli_failed(struct cli *cli, const struct client *c, enum client_outcome outcome, bool whole);

/* The same for what is no service's fault. */
void cli_error(struct cli *cli, bool whole, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Connects, asks, and reports a failure. NULL: it failed; else free with client_free(). */
struct client *cli_ask(struct cli *cli, const char *service, const struct client_request *request);

/* The commands. */
void cmd_status(struct cli *cli);
void cmd_faults(struct cli *cli);
void cmd_about(struct cli *cli);
void cmd_history(struct cli *cli);
void cmd_policy(struct cli *cli);
void cmd_policy_list(struct cli *cli);
void cmd_policy_use(struct cli *cli);
void cmd_policy_lists(struct cli *cli);
void cmd_exclusions(struct cli *cli);
void cmd_posture(struct cli *cli);
void cmd_quarantine_list(struct cli *cli);
void cmd_quarantine_show(struct cli *cli);
void cmd_quarantine_restore(struct cli *cli);
void cmd_quarantine_delete(struct cli *cli);
void cmd_quarantine_revoke(struct cli *cli);
void cmd_help(struct cli *cli);

#endif
