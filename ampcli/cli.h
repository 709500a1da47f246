/*
 * ampcli/cli.h - one command from its arguments to its exit code.
 *
 * Owns: options and their values, exit codes.
 * Must not own: which commands there are (commands.h), talking to services
 * (client.h), the form of the output (out.h and the cmd_*.c), several commands
 * after each other (shell.h).
 */
#ifndef AMPCLI_CLI_H
#define AMPCLI_CLI_H

#include "client.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum cli_exit {
	CLI_EXIT_DONE = 0,
	CLI_EXIT_THREATS = 1,	  /* of a scan that was waited for */
	CLI_EXIT_ERROR = 2,	  /* wrong usage, or refused */
	CLI_EXIT_UNREACHABLE = 3, /* a service did not answer; the rest is shown */
	CLI_EXIT_NOT_PERMITTED = 4,
	CLI_EXIT_INTERRUPTED = 130, /* SIGINT while it waited; what it waited for goes on */
};

/* What the user wants, and where it goes. */
struct cli {
	FILE *in, *out, *err; /* in: of the shell */
	bool json;
	const char *run_dir;
	const char *type;      /* history; NULL: all */
	const char *detection; /* likewise */
	int64_t since_ns;
	bool has_limit;
	uint64_t limit; /* entries shown; 0: all */
	const char *to; /* of `quarantine restore`; NULL: where it was */
	bool keep_privileges;
	bool yes; /* nothing is asked */
	bool wait, one_file_system, files, keep_going;
	const char *argument;	    /* of the commands that take one; NULL: none was given */
	char *const *argument_list; /* of those that take several */
	size_t arguments;
	bool in_shell, leave; /* leave: the shell ends */
	int exit;	      /* the worst so far */
};

/* The program. out and err: stdout and stderr but in tests. */
int cli_main(int argc, char **argv, FILE *out, FILE *err);

/* One command: argv[0] is not looked at. With the options of `base` unless it has its own. Its exit code. */
int cli_command(struct cli *base, int argc, char **argv);

/* Notes an exit code: the worst is the command's. */
void cli_note(struct cli *cli, int code);

/* Does a person see what is written to err? */
bool cli_on_terminal(const struct cli *cli);

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
void cmd_scan_start(struct cli *cli);
void cmd_scan_flash(struct cli *cli);
void cmd_scan_full(struct cli *cli);
void cmd_scan_list(struct cli *cli);
void cmd_scan_show(struct cli *cli);
void cmd_scan_pause(struct cli *cli);
void cmd_scan_resume(struct cli *cli);
void cmd_scan_stop(struct cli *cli);
void cmd_definitions(struct cli *cli);
void cmd_brake_show(struct cli *cli);
void cmd_brake_release(struct cli *cli);
void cmd_help(struct cli *cli);
void cmd_exit(struct cli *cli);

#endif
