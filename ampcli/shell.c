/*
 * ampcli/shell.c - several commands after each other (see shell.h).
 */
#include "shell.h"

#include "shell_edit.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_failure(int code)
{
	return code != CLI_EXIT_DONE && code != CLI_EXIT_THREATS;
}

static int bad_line(struct cli *cli, const char *what)
{
	fprintf(cli->err, "ampcli: %s\n", what);
	return CLI_EXIT_ERROR;
}

/* argv: a name in front, as for main(). */
static int run_words(struct cli *cli, struct words *w)
{
	static char name[] = "ampcli";
	char *argv[WORDS_MAX + 2] = {name};

	if (w->n == 0)
		return CLI_EXIT_DONE;
	memcpy(argv + 1, w->word, (w->n + 1) * sizeof(w->word[0]));
	return cli_command(cli, (int)w->n + 1, argv);
}

bool shell_line(struct cli *cli, const char *line, int *code)
{
	struct words *w = malloc(sizeof(*w));

	if (!w)
		*code = bad_line(cli, "out of memory");
	else if (words_split(w, line) < 0)
		*code = bad_line(cli, "the line is too long, or has too many words");
	else if (w->quote)
		*code = bad_line(cli, w->quote == '\\' ? "the line ends with a backslash"
						       : "the line ends within quotes");
	else
		*code = run_words(cli, w);
	free(w);
	return !is_failure(*code);
}

/* The first failure stays; before one, threats do. */
static void keep(int *kept, int code)
{
	if (!is_failure(*kept) && code != CLI_EXIT_DONE)
		*kept = code;
}

enum line_end { LINE_WHOLE, LINE_BAD, LINE_NONE };

/* The next line, without its end, in line[WORDS_LINE_MAX]. */
static enum line_end read_line(FILE *in, char *line)
{
	size_t n = 0;
	bool bad = false;
	int c;

	while ((c = getc(in)) != EOF && c != '\n') {
		bad = bad || c == '\0' || n + 1 == WORDS_LINE_MAX;
		if (!bad)
			line[n++] = (char)c;
	}
	line[n] = '\0';
	if (bad)
		return LINE_BAD;
	return c == EOF && n == 0 ? LINE_NONE : LINE_WHOLE;
}

static int run_lines(struct cli *cli, char *line)
{
	enum line_end end;
	int kept = CLI_EXIT_DONE, code;

	while (!cli->leave && (cli->keep_going || !is_failure(kept)) &&
	       (end = read_line(cli->in, line)) != LINE_NONE) {
		if (end == LINE_BAD)
			code = bad_line(cli, "a line is too long, or has a byte 0 in it");
		else
			shell_line(cli, line, &code);
		keep(&kept, code);
	}
	if (ferror(cli->in))
		keep(&kept, bad_line(cli, "the commands could not be read"));
	return kept;
}

static bool is_terminal(FILE *f)
{
	int fd = fileno(f);

	return fd >= 0 && isatty(fd);
}

void shell_run(struct cli *cli)
{
	struct cli base = *cli;
	char *line;

	base.in_shell = true;
	if (is_terminal(cli->in) && is_terminal(cli->out)) {
		cli_note(cli, shell_edit(&base));
		return;
	}
	line = malloc(WORDS_LINE_MAX);
	if (line)
		cli_note(cli, run_lines(&base, line));
	else
		cli_error(cli, false, "out of memory");
	free(line);
}
