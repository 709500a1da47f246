/*
 * ampcli/cli.c - one command from its arguments to its exit code (see cli.h).
 */
#include "cli.h"

#include "clock.h"
#include "commands.h"
#include "complete.h"
#include "out.h"
#include "shell.h"
#include "text.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cmd_help(struct cli *cli)
{
	json_object *list = json_object_new_array();
	const struct command *c;
	char usage[64];

	if (!cli->json)
		fputs("Usage: ampcli [--json] [--run-dir DIR] [COMMAND]\n\n", cli->out);
	for (size_t i = 0; (c = command_row(i)); i++) {
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
	fputs("\nWithout COMMAND: a shell on a terminal, else a command on each line of the standard input.\n"
	      "The ID of a quarantine entry may be cut to its beginning, at least 4 digits, that no other "
	      "has.\n"
	      "TIME is RFC 3339, \"YYYY-MM-DD[ HH:MM[:SS]]\" (UTC) or a span back: 90s, 15m, 2h, 7d.\n"
	      "--help is `help`, --version is `about`; --keep-going, without COMMAND: goes on after a line "
	      "that failed.\n"
	      "Exit: 0 done, 1 threats (scan --wait), 2 usage or error, 3 a service could not be reached,\n"
	      "4 not permitted, 130 SIGINT ended the waiting for a scan.\n",
	      cli->out);
}

void cmd_exit(struct cli *cli)
{
	cli->leave = true;
}

/* Exit codes in the order in which a worse one replaces another. */
static const int by_weight[] = {CLI_EXIT_DONE,		CLI_EXIT_UNREACHABLE, CLI_EXIT_ERROR,
				CLI_EXIT_NOT_PERMITTED, CLI_EXIT_INTERRUPTED, CLI_EXIT_THREATS};

static int weight(int code)
{
	int w = 0;

	while (by_weight[w] != code)
		w++;
	return w;
}

void cli_note(struct cli *cli, int code)
{
	if (weight(code) > weight(cli->exit))
		cli->exit = code;
}

bool cli_on_terminal(const struct cli *cli)
{
	int fd = fileno(cli->err);

	return fd >= 0 && isatty(fd);
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
	cli_note(cli, codes[outcome]);
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
	cli_note(cli, CLI_EXIT_ERROR);
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
	const struct {
		int letter;
		bool *is;
	} flags[] = {
		{'k', &cli->keep_privileges},
		{'y', &cli->yes},
		{'w', &cli->wait},
		{'x', &cli->one_file_system},
		{'f', &cli->files},
		{'K', &cli->keep_going},
		{'j', &cli->json},
	};
	const struct {
		int letter;
		const char **is;
	} texts[] = {{'t', &cli->type}, {'d', &cli->detection}, {'o', &cli->to}, {'r', &cli->run_dir}};

	if (letter == 's')
		return amp_clock_parse(value, &cli->since_ns);
	if (letter == 'n')
		return parse_limit(cli, value);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (flags[i].letter == letter)
			*flags[i].is = true;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].letter == letter)
			*texts[i].is = value;
	return 0;
}

/* One option. 0, or -1: it is wrong, and it was said. */
static int take_option(struct cli *cli, struct parsed *p, const struct command_option_row *o,
		       const char *value)
{
	p->options |= o->bit;
	p->help = p->help || o->letter == 'h';
	p->version = p->version || o->letter == 'V';
	if (take_value(cli, o->letter, value) == 0)
		return 0;
	cli_error(cli, false, "--%s %s is not understood; see `ampcli help`", o->name, value);
	return -1;
}

/* The tables in getopt_long(3)'s form. */
struct getopt_form {
	char letters[32];
	struct option options[32];
};

static void make_form(struct getopt_form *form)
{
	const struct command_option_row *o;
	size_t to = 0;

	memset(form, 0, sizeof(*form));
	for (size_t i = 0; (o = command_option_row(i)) && i + 1 < 32 && to + 3 < sizeof(form->letters); i++) {
		form->options[i].name = o->name;
		form->options[i].has_arg = o->value == VALUE_NONE ? no_argument : required_argument;
		form->options[i].val = o->letter;
		if (!o->is_short)
			continue;
		form->letters[to++] = (char)o->letter;
		if (o->value != VALUE_NONE)
			form->letters[to++] = ':';
	}
}

static const struct command_option_row *option_of(int letter)
{
	const struct command_option_row *o;

	for (size_t i = 0; (o = command_option_row(i)); i++)
		if (o->letter == letter)
			return o;
	return NULL;
}

static int take_options(struct cli *cli, struct parsed *p, int argc, char **argv)
{
	struct getopt_form form;
	int letter;

	make_form(&form);
	optind = 0; /* glibc: from the beginning, for several commands too */
	opterr = 0;
	while ((letter = getopt_long(argc, argv, form.letters, form.options, NULL)) != -1) {
		const struct command_option_row *o = option_of(letter);

		if (!o) {
			cli_error(cli, false, "option %s is not known or lacks its value; see `ampcli help`",
				  argv[optind > 1 ? optind - 1 : 1]);
			return -1;
		}
		if (take_option(cli, p, o, optarg) < 0)
			return -1;
	}
	return 0;
}

static void take_words(struct cli *cli, const struct command *c, size_t words, char *const *word)
{
	size_t before = 1U + (c->sub != NULL);

	if (!c->argument)
		return;
	cli->argument = word[before];
	cli->argument_list = word + before;
	cli->arguments = words - before;
}

/* No command: several. */
static void no_command(struct cli *cli, const struct parsed *p)
{
	if (p->options & ~(unsigned)OPT_KEEP_GOING)
		cli_error(cli, false, "that option goes with a command; see `ampcli help`");
	else if (cli->in_shell)
		cli_error(cli, false, "a command is missing; see `help`");
	else
		shell_run(cli);
}

static void run(struct cli *cli, const struct parsed *p, size_t words, char *const *word)
{
	const struct command *c = command_find(words, word);

	if (p->help || p->version) {
		(p->help ? cmd_help : cmd_about)(cli);
	} else if (words == 0) {
		no_command(cli, p);
	} else if (!c) {
		cli_error(cli, false, "%s: no such command, or too many or too few words; see `ampcli help`",
			  word[0]);
	} else if (p->options & ~c->options) {
		cli_error(cli, false, "%s%s%s does not take that option; see `ampcli help`", c->name,
			  c->sub ? " " : "", c->sub ? c->sub : "");
	} else {
		take_words(cli, c, words, word);
		c->run(cli);
	}
}

int cli_command(struct cli *base, int argc, char **argv)
{
	struct parsed parsed = {0};
	struct cli cli = *base;

	if (take_options(&cli, &parsed, argc, argv) == 0)
		run(&cli, &parsed, (size_t)(argc - optind), argv + optind);
	base->leave = cli.leave;
	if (fflush(cli.out) != 0 || ferror(cli.out)) {
		cli_error(&cli, false, "the output could not be written: %s", strerror(errno));
		return CLI_EXIT_ERROR;
	}
	return cli.exit;
}

int cli_main(int argc, char **argv, FILE *out, FILE *err)
{
	const char *env = secure_getenv("AMP_RUN_DIR");
	struct cli cli = {
		.in = stdin,
		.out = out,
		.err = err,
		.run_dir = env && env[0] ? env : AMP_RUNDIR,
	};

	if (argc > 1 && strcmp(argv[1], COMPLETE_OPTION) == 0)
		return complete_print(&cli, (size_t)(argc - 2), argv + 2);
	return cli_command(&cli, argc, argv);
}
