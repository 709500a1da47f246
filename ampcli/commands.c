/*
 * ampcli/commands.c - the table of commands and that of options (see commands.h).
 */
#include "commands.h"

#include "cli.h"

#include <string.h>

static const struct command commands[] = {
	{"status", NULL, NULL, ARG_NONE, 0, cmd_status, "what runs, what is watched, what stands in the way"},
	{"faults", NULL, NULL, ARG_NONE, 0, cmd_faults, "faults that stand, with their remedies"},
	{"faults", NULL, "NUMBER", ARG_FAULT, 0, cmd_faults, "one of them"},
	{"history", NULL, NULL, ARG_NONE, OPT_TYPE | OPT_SINCE | OPT_LIMIT | OPT_DETECTION, cmd_history,
	 "events, newest first [--type T] [--since TIME] [--limit N] [--detection ID]"},
	{"scan", "start", "PATH...", ARG_PATHS, OPT_WAIT | OPT_ONE_FS, cmd_scan_start,
	 "scan files and trees now (root) [--wait] [--one-file-system]"},
	{"scan", "flash", NULL, ARG_NONE, OPT_WAIT, cmd_scan_flash,
	 "scan what runs, its libraries and start-up places (root) [--wait]"},
	{"scan", "full", NULL, ARG_NONE, OPT_WAIT, cmd_scan_full,
	 "scan every watched file system (root) [--wait]"},
	{"scan", "list", NULL, ARG_NONE, 0, cmd_scan_list, "scans, newest first"},
	{"scan", "show", "ID", ARG_SCAN, OPT_FILES, cmd_scan_show,
	 "all of one scan; with --files what was not judged clean"},
	{"scan", "pause", "ID", ARG_SCAN, 0, cmd_scan_pause, "let a scan rest (root)"},
	{"scan", "resume", "ID", ARG_SCAN, 0, cmd_scan_resume, "let it go on (root)"},
	{"scan", "stop", "ID", ARG_SCAN, 0, cmd_scan_stop, "end a scan (root)"},
	{"definitions", NULL, NULL, ARG_NONE, 0, cmd_definitions, "the offline engine and its signatures"},
	{"brake", "show", NULL, ARG_NONE, 0, cmd_brake_show,
	 "signatures that are held because they convict many old files"},
	{"brake", "release", "SIGNATURE", ARG_SIGNATURE, 0, cmd_brake_release,
	 "it is right: what it convicts is dealt with (root)"},
	{"policy", NULL, NULL, ARG_NONE, 0, cmd_policy, "the policy in force"},
	{"policy", "list", NULL, ARG_NONE, 0, cmd_policy_list, "every policy there is"},
	{"policy", "use", "ID", ARG_POLICY, 0, cmd_policy_use, "put another policy in force (root)"},
	{"policy", "lists", NULL, ARG_NONE, 0, cmd_policy_lists, "hashes of the policy in force, with hits"},
	{"exclusions", NULL, NULL, ARG_NONE, 0, cmd_exclusions,
	 "exclusions of the policy in force, with hits"},
	{"posture", NULL, NULL, ARG_NONE, 0, cmd_posture,
	 "each process's walls: as they have to be, and as they are"},
	{"quarantine", "list", NULL, ARG_NONE, OPT_LIMIT, cmd_quarantine_list,
	 "what was taken away, newest first [--limit N]"},
	{"quarantine", "show", "ID", ARG_VAULT, 0, cmd_quarantine_show, "all of one entry"},
	{"quarantine", "restore", "ID", ARG_VAULT, OPT_TO | OPT_KEEP, cmd_quarantine_restore,
	 "give a file back (root) [--to DIR] [--keep-privileges]"},
	{"quarantine", "delete", "ID", ARG_VAULT, OPT_YES, cmd_quarantine_delete,
	 "delete an entry for good (root) [--yes]"},
	{"quarantine", "revoke", "SHA256", ARG_SHA256, 0, cmd_quarantine_revoke,
	 "judge restored content again from now on (root)"},
	{"about", NULL, NULL, ARG_NONE, 0, cmd_about, "version and identity"},
	{"help", NULL, NULL, ARG_NONE, 0, cmd_help, "this list"},
	{"exit", NULL, NULL, ARG_NONE, 0, cmd_exit, "leave the shell"},
	{"quit", NULL, NULL, ARG_NONE, 0, cmd_exit, "likewise"},
};

static const struct command_option_row options[] = {
	{"json", 'j', true, VALUE_NONE, 0},
	{"run-dir", 'r', true, VALUE_DIRECTORY, 0},
	{"help", 'h', true, VALUE_NONE, 0},
	{"version", 'V', true, VALUE_NONE, 0},
	{"keep-going", 'K', false, VALUE_NONE, OPT_KEEP_GOING},
	{"type", 't', false, VALUE_TEXT, OPT_TYPE},
	{"since", 's', false, VALUE_TEXT, OPT_SINCE},
	{"limit", 'n', false, VALUE_TEXT, OPT_LIMIT},
	{"detection", 'd', false, VALUE_TEXT, OPT_DETECTION},
	{"to", 'o', false, VALUE_DIRECTORY, OPT_TO},
	{"keep-privileges", 'k', false, VALUE_NONE, OPT_KEEP},
	{"yes", 'y', false, VALUE_NONE, OPT_YES},
	{"wait", 'w', false, VALUE_NONE, OPT_WAIT},
	{"one-file-system", 'x', false, VALUE_NONE, OPT_ONE_FS},
	{"files", 'f', false, VALUE_NONE, OPT_FILES},
};

const struct command *command_row(size_t i)
{
	return i < sizeof(commands) / sizeof(commands[0]) ? &commands[i] : NULL;
}

const struct command_option_row *command_option_row(size_t i)
{
	return i < sizeof(options) / sizeof(options[0]) ? &options[i] : NULL;
}

static bool takes(const struct command *c, size_t words, char *const *word)
{
	size_t used = 1U + (c->sub != NULL) + (c->argument != NULL);

	if (words != used && !(c->kind == ARG_PATHS && words > used))
		return false;
	return strcmp(c->name, word[0]) == 0 && (!c->sub || strcmp(c->sub, word[1]) == 0);
}

const struct command *command_find(size_t words, char *const *word)
{
	const struct command *c;

	for (size_t i = 0; words > 0 && (c = command_row(i)); i++)
		if (takes(c, words, word))
			return c;
	return NULL;
}
