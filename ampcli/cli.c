/*
 * ampcli/cli.c - one command from its arguments to its exit code (see cli.h).
 */
#include "cli.h"

#include "clock.h"
#include "out.h"
#include "text.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum option_bit {
	OPT_TYPE = 1 << 0,
	OPT_SINCE = 1 << 1,
	OPT_LIMIT = 1 << 2,
	OPT_DETECTION = 1 << 3,
	OPT_TO = 1 << 4,
	OPT_KEEP = 1 << 5,
	OPT_YES = 1 << 6,
};

static const struct command {
	const char *name, *sub; /* sub NULL: none */
	const char *argument;	/* what one argument is called; NULL: there is none */
	unsigned options;	/* enum option_bit */
	void (*run)(struct cli *cli);
	const char *help;
} commands[] = {
	{"status", NULL, NULL, 0, cmd_status, "what runs, what is watched, what stands in the way"},
	{"faults", NULL, NULL, 0, cmd_faults, "faults that stand, with their remedies"},
	{"history", NULL, NULL, OPT_TYPE | OPT_SINCE | OPT_LIMIT | OPT_DETECTION, cmd_history,
	 "events, newest first [--type T] [--since TIME] [--limit N] [--detection ID]"},
	{"policy", NULL, NULL, 0, cmd_policy, "the policy in force"},
	{"policy", "list", NULL, 0, cmd_policy_list, "every policy there is"},
	{"policy", "use", "ID", 0, cmd_policy_use, "put another policy in force (root)"},
	{"policy", "lists", NULL, 0, cmd_policy_lists, "hashes of the policy in force, with hits"},
	{"exclusions", NULL, NULL, 0, cmd_exclusions, "exclusions of the policy in force, with hits"},
	{"posture", NULL, NULL, 0, cmd_posture, "each process's walls: as they have to be, and as they are"},
	{"quarantine", "list", NULL, OPT_LIMIT, cmd_quarantine_list,
	 "what was taken away, newest first [--limit N]"},
	{"quarantine", "show", "ID", 0, cmd_quarantine_show, "all of one entry"},
	{"quarantine", "restore", "ID", OPT_TO | OPT_KEEP, cmd_quarantine_restore,
	 "give a file back (root) [--to DIR] [--keep-privileges]"},
	{"quarantine", "delete", "ID", OPT_YES, cmd_quarantine_delete,
	 "delete an entry for good (root) [--yes]"},
	{"quarantine", "revoke", "SHA256", 0, cmd_quarantine_revoke,
	 "judge restored content again from now on (root)"},
	{"about", NULL, NULL, 0, cmd_about, "version and identity"},
	{"help", NULL, NULL, 0, cmd_help, "this list"},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

void cmd_help(struct cli *cli)
{
	json_object *list = json_object_new_array();
	char usage[64];

	if (!cli->json)
		fputs("Usage: ampcli [--json] [--run-dir DIR] COMMAND\n\n", cli->out);
	for (size_t i = 0; i < COMMANDS; i++) {
		const struct command *c = &commands[i];
		json_object *o = json_object_new_object();

		snprintf(usage, sizeof(usage), "%s%s%s%s%s", c->name, c->sub ? " " : "", c->sub ? c->sub : "",
			 c->argument ? " " : "", c->argument ? c->argument : "");
		out_json_text(o, "command", usage);
		out_json_text(o, "help", c->help);
		json_object_array_add(list, o);
		if (!cli->json)
			fprintf(cli->out, "  %-24s %s\n", usage, c->help);
	}
	if (cli->json) {
		out_json_print(cli->out, list);
		return;
	}
	json_object_put(list);
	fputs("\nThe ID of a quarantine entry may be cut to its beginning, at least 4 digits, that no other "
	      "has.\n"
	      "TIME is RFC 3339, \"YYYY-MM-DD[ HH:MM[:SS]]\" (UTC) or a span back: 90s, 15m, 2h, 7d.\n"
	      "Exit: 0 done, 2 usage or error, 3 a service could not be reached, 4 not permitted.\n",
	      cli->out);
}

/* Exit codes in the order in which a worse one replaces another. */
static const int by_weight[] = {CLI_EXIT_DONE, CLI_EXIT_UNREACHABLE, CLI_EXIT_ERROR, CLI_EXIT_NOT_PERMITTED};

static int weight(int code)
{
	int w = 0;

	while (by_weight[w] != code)
		w++;
	return w;
}

static void note(struct cli *cli, int code)
{
	if (weight(code) > weight(cli->exit))
		cli->exit = code;
}

/* Nothing else is printed: the document says why. */
static void error_document(struct cli *cli, const char *service, const char *text)
{
	json_object *o = json_object_new_object();

	if (service)
		out_json_text(o, "service", service);
	out_json_text(o, "error", text);
	out_json_print(cli->out, o);
}

void cli_failed(struct cli *cli, const struct client *c, enum client_outcome outcome, bool whole)
{
	static const int codes[] = {
		[CLIENT_OK] = CLI_EXIT_DONE,
		[CLIENT_UNREACHABLE] = CLI_EXIT_UNREACHABLE,
		[CLIENT_NOT_PERMITTED] = CLI_EXIT_NOT_PERMITTED,
		[CLIENT_REFUSED] = CLI_EXIT_ERROR,
		[CLIENT_BROKEN] = CLI_EXIT_ERROR,
	};

	fprintf(cli->err, "ampcli: %s: ", client_service(c));
	out_text(cli->err, client_why(c));
	fputc('\n', cli->err);
	note(cli, codes[outcome]);
	if (whole && cli->json)
		error_document(cli, client_service(c), client_why(c));
}

void cli_error(struct cli *cli, bool whole, const char *fmt, ...)
{
	char text[512], shown[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	amp_text_escape(text, strlen(text), shown, sizeof(shown));
	fprintf(cli->err, "ampcli: %s\n", shown);
	note(cli, CLI_EXIT_ERROR);
	if (whole && cli->json)
		error_document(cli, NULL, shown);
}

struct client *cli_ask(struct cli *cli, const char *service, const struct client_request *request)
{
	struct client *c = client_new(cli->run_dir, service);
	enum client_outcome outcome;

	if (!c) {
		cli_error(cli, true, "out of memory");
		return NULL;
	}
	outcome = client_ask(c, request);
	if (outcome == CLIENT_OK)
		return c;
	cli_failed(cli, c, outcome, true);
	client_free(c);
	return NULL;
}

static const struct option long_options[] = {
	{"json", no_argument, NULL, 'j'},	 {"run-dir", required_argument, NULL, 'r'},
	{"type", required_argument, NULL, 't'},	 {"since", required_argument, NULL, 's'},
	{"limit", required_argument, NULL, 'n'}, {"detection", required_argument, NULL, 'd'},
	{"to", required_argument, NULL, 'o'},	 {"keep-privileges", no_argument, NULL, 'k'},
	{"yes", no_argument, NULL, 'y'},	 {"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},	 {NULL, 0, NULL, 0},
};

static const struct {
	int letter;
	unsigned bit;
	const char *name;
} command_options[] = {
	{'t', OPT_TYPE, "--type"},   {'s', OPT_SINCE, "--since"},
	{'n', OPT_LIMIT, "--limit"}, {'d', OPT_DETECTION, "--detection"},
	{'o', OPT_TO, "--to"},	     {'k', OPT_KEEP, "--keep-privileges"},
	{'y', OPT_YES, "--yes"},
};

struct parsed {
	unsigned options;
	bool help, version;
};

static int parse_limit(struct cli *cli, const char *text)
{
	char *end;

	errno = 0;
	cli->has_limit = true;
	cli->limit = strtoull(text, &end, 10);
	return errno || *end || text[0] < '0' || text[0] > '9' ? -1 : 0;
}

static int take_value(struct cli *cli, int letter, const char *value)
{
	if (letter == 's')
		return amp_clock_parse(value, &cli->since_ns);
	if (letter == 'n')
		return parse_limit(cli, value);
	if (letter == 't')
		cli->type = value;
	else if (letter == 'd')
		cli->detection = value;
	else if (letter == 'o')
		cli->to = value;
	else if (letter == 'k')
		cli->keep_privileges = true;
	else
		cli->yes = true;
	return 0;
}

/* One option. 0, or -1: it is wrong, and it was said. */
static int take_option(struct cli *cli, struct parsed *p, int letter, const char *value)
{
	for (size_t i = 0; i < sizeof(command_options) / sizeof(command_options[0]); i++) {
		if (letter != command_options[i].letter)
			continue;
		p->options |= command_options[i].bit;
		if (take_value(cli, letter, value) == 0)
			return 0;
		cli_error(cli, false, "%s %s is not understood; see `ampcli help`", command_options[i].name,
			  value);
		return -1;
	}
	if (letter == 'j')
		cli->json = true;
	else if (letter == 'r')
		cli->run_dir = value;
	else if (letter == 'h')
		p->help = true;
	else if (letter == 'V')
		p->version = true;
	else
		return -1;
	return 0;
}

static int take_options(struct cli *cli, struct parsed *p, int argc, char **argv)
{
	int letter;

	optind = 0; /* glibc: from the beginning, for tests too */
	opterr = 0;
	while ((letter = getopt_long(argc, argv, "jr:hV", long_options, NULL)) != -1) {
		if (letter == '?') {
			cli_error(cli, false, "option %s is not known or lacks its value; see `ampcli help`",
				  argv[optind > 1 ? optind - 1 : 1]);
			return -1;
		}
		if (take_option(cli, p, letter, optarg) < 0)
			return -1;
	}
	return 0;
}

/* The row for the words, or NULL. */
static const struct command *find(int words, char **word)
{
	const struct command *found = NULL;

	for (size_t i = 0; i < COMMANDS && words > 0; i++) {
		const struct command *c = &commands[i];
		int used = 1 + (c->sub != NULL) + (c->argument != NULL);

		if (strcmp(c->name, word[0]) == 0 && words == used &&
		    (!c->sub || strcmp(c->sub, word[1]) == 0))
			found = c;
	}
	return found;
}

static void run(struct cli *cli, const struct parsed *p, int words, char **word)
{
	const struct command *c = find(words, word);

	if (p->help || p->version) {
		(p->help ? cmd_help : cmd_about)(cli);
		return;
	}
	if (!c) {
		cli_error(cli, false,
			  words ? "%s: no such command, or too many or too few words; see `ampcli help`"
				: "%sa command is missing; see `ampcli help`",
			  words ? word[0] : "");
		return;
	}
	if (p->options & ~c->options) {
		cli_error(cli, false, "%s%s%s does not take that option; see `ampcli help`", c->name,
			  c->sub ? " " : "", c->sub ? c->sub : "");
		return;
	}
	if (c->argument)
		cli->argument = word[words - 1];
	c->run(cli);
}

int cli_main(int argc, char **argv, FILE *out, FILE *err)
{
	const char *env = secure_getenv("AMP_RUN_DIR");
	struct cli cli = {
		.out = out,
		.err = err,
		.run_dir = env && env[0] ? env : AMP_RUNDIR,
	};
	struct parsed parsed = {0};

	if (take_options(&cli, &parsed, argc, argv) == 0)
		run(&cli, &parsed, argc - optind, argv + optind);
	if (fflush(out) != 0 || ferror(out)) {
		cli_error(&cli, false, "the output could not be written: %s", strerror(errno));
		return CLI_EXIT_ERROR;
	}
	return cli.exit;
}
