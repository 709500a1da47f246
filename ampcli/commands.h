/*
 * ampcli/commands.h - the table of commands and that of options.
 *
 * Owns: which words there are, what follows them, and what they do in a
 * sentence: usage, help and completion come from here.
 * Must not own: parsing (cli.c), completing (complete.h).
 */
#ifndef AMPCLI_COMMANDS_H
#define AMPCLI_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>

struct cli;

/* Options that belong to some commands only. */
enum command_option {
	OPT_TYPE = 1 << 0,
	OPT_SINCE = 1 << 1,
	OPT_LIMIT = 1 << 2,
	OPT_DETECTION = 1 << 3,
	OPT_TO = 1 << 4,
	OPT_KEEP = 1 << 5,
	OPT_YES = 1 << 6,
	OPT_WAIT = 1 << 7,
	OPT_ONE_FS = 1 << 8,
	OPT_FILES = 1 << 9,
	OPT_KEEP_GOING = 1 << 10, /* of the shell, in front of no command */
};

/* What an argument stands for: who completes it asks there. */
enum argument_kind {
	ARG_NONE,
	ARG_PATHS, /* one or more */
	ARG_POLICY,
	ARG_VAULT,
	ARG_SHA256,
	ARG_SCAN,
	ARG_SIGNATURE,
	ARG_FAULT,
};

struct command {
	const char *name, *sub; /* sub NULL: none */
	const char *argument;	/* what one argument is called; NULL: there is none */
	enum argument_kind kind;
	unsigned options; /* enum command_option */
	void (*run)(struct cli *cli);
	const char *help;
};

/* What the value of an option is. */
enum value_kind { VALUE_NONE, VALUE_TEXT, VALUE_DIRECTORY };

struct command_option_row {
	const char *name; /* without the two dashes */
	int letter;	  /* of getopt_long(3); also of a short option if `is_short` */
	bool is_short;
	enum value_kind value;
	unsigned bit; /* enum command_option; 0: goes with every command */
};

/* The row `i`, or NULL behind the last. */
const struct command *command_row(size_t i);
const struct command_option_row *command_option_row(size_t i);

/* The row for these words: all of them. NULL: there is none. */
const struct command *command_find(size_t words, char *const *word);

#endif
