/*
 * ampcli/shell_edit.c - the shell on a terminal (see shell_edit.h).
 *
 * Signals are ours while a line is typed: libedit's own way of dealing with
 * them sends them to the whole process group.
 */
#include "shell_edit.h"

#include "complete.h"
#include "lines_file.h"
#include "out.h"
#include "shell.h"
#include "words.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define SHOWN_MAX 100 /* candidates listed */

struct editor {
	struct cli *cli;
	EditLine *el;
	History *history;
	struct lines lines;
	const char *home;
	mbstate_t state; /* of a character that is half read */
};

/* The newest signal of each; taken by the reader of characters. */
static volatile sig_atomic_t interrupted, resized, ended;

static void on_signal(int sig)
{
	if (sig == SIGINT)
		interrupted = 1;
	else if (sig == SIGWINCH)
		resized = 1;
	else
		ended = sig;
}

static const int ours[] = {SIGINT, SIGWINCH, SIGTERM, SIGHUP};
#define OURS (sizeof(ours) / sizeof(ours[0]))

static void take_signals(struct sigaction old[OURS])
{
	const struct sigaction act = {.sa_handler = on_signal}; /* read(2) is to end */

	for (size_t i = 0; i < OURS; i++)
		sigaction(ours[i], &act, &old[i]);
}

static void give_signals(const struct sigaction old[OURS])
{
	for (size_t i = 0; i < OURS; i++)
		sigaction(ours[i], &old[i], NULL);
}

static char *prompt(EditLine *el)
{
	static char text[] = "ampcli> ";

	(void)el;
	return text;
}

static struct editor *editor_of(EditLine *el)
{
	void *e = NULL;

	el_get(el, EL_CLIENTDATA, &e);
	return e;
}

/* One byte. 1, 0 at the end, -1 to leave the line. */
static int read_byte(struct editor *e, char *byte)
{
	for (;;) {
		ssize_t n;

		if (interrupted || ended)
			return -1;
		if (resized) {
			resized = 0;
			el_resize(e->el);
			el_set(e->el, EL_REFRESH);
		}
		n = read(fileno(e->cli->in), byte, 1);
		if (n >= 0)
			return (int)n;
		if (errno != EINTR)
			return -1;
	}
}

/* For libedit: the next character. Bytes that are none are left out. */
static int read_character(EditLine *el, wchar_t *to)
{
	struct editor *e = editor_of(el);
	char byte;

	for (;;) {
		int rc = read_byte(e, &byte);
		size_t n;

		if (rc <= 0)
			return rc;
		n = mbrtowc(to, &byte, 1, &e->state);
		if (n == (size_t)-1)
			memset(&e->state, 0, sizeof(e->state));
		else if (n != (size_t)-2)
			return 1;
	}
}

/* ---- completion ---- */

static void show_candidates(FILE *f, const struct completion *c)
{
	size_t shown = c->n < SHOWN_MAX ? c->n : SHOWN_MAX;

	fputc('\n', f);
	for (size_t i = 0; i < shown; i++) {
		fputs("  ", f);
		out_text(f, c->word[i]);
		fputc('\n', f);
	}
	if (shown < c->n)
		fprintf(f, "  and %zu more\n", c->n - shown);
	fflush(f);
}

static void insert(EditLine *el, const char *text, char quote)
{
	char *quoted = words_quote(text, quote);

	if (quoted)
		el_insertstr(el, quoted);
	free(quoted);
}

static void insert_end(EditLine *el, char quote)
{
	const char end[] = {quote, ' ', '\0'};

	el_insertstr(el, quote == '\'' || quote == '"' ? end : " ");
}

/* What the candidates have in common goes into the line. */
static unsigned char advance(struct editor *e, const struct completion *c, size_t typed, char quote)
{
	size_t common = completion_common(c);
	bool whole = c->n == 1 && (common == 0 || c->word[0][common - 1] != '/');
	char *text;

	if (c->n == 0)
		return CC_REFRESH_BEEP;
	if (common <= typed && !whole) {
		show_candidates(e->cli->out, c);
		return CC_REDISPLAY;
	}
	text = strndup(c->word[0] + typed, common - typed);
	if (text)
		insert(e->el, text, quote);
	free(text);
	if (whole)
		insert_end(e->el, quote);
	return CC_REFRESH;
}

static unsigned char complete_line(struct editor *e, struct words *w)
{
	static char empty[] = "";
	struct completion c = {0};
	unsigned char rc;

	if (w->comment || (!w->unfinished && w->n == WORDS_MAX))
		return CC_REFRESH_BEEP;
	if (!w->unfinished)
		w->word[w->n++] = empty;
	complete_words(&c, e->cli, w->n, w->word);
	if (c.also != COMPLETE_NOTHING)
		complete_paths(&c, w->word[w->n - 1], c.also == COMPLETE_DIRECTORIES);
	rc = advance(e, &c, strlen(w->word[w->n - 1]), w->quote);
	completion_free(&c);
	return rc;
}

/* For libedit: the tabulator. What is before the cursor counts. */
static unsigned char on_tabulator(EditLine *el, wint_t ch)
{
	const LineInfo *line = el_line(el);
	struct words *w = malloc(sizeof(*w));
	char *text = strndup(line->buffer, (size_t)(line->cursor - line->buffer));
	unsigned char rc = CC_REFRESH_BEEP;

	(void)ch;
	if (w && text && words_split(w, text) == 0)
		rc = complete_line(editor_of(el), w);
	free(text);
	free(w);
	return rc;
}

/* ---- lines ---- */

static void enter(struct editor *e, const char *line)
{
	HistEvent ev;
	size_t before = e->lines.n;

	lines_add(&e->lines, line);
	if (e->lines.n == 0 || (e->lines.n == before && before < LINES_MAX))
		return;
	history(e->history, &ev, H_ENTER, e->lines.line[e->lines.n - 1]);
}

static void load(struct editor *e)
{
	HistEvent ev;

	lines_load(&e->lines, e->home);
	for (size_t i = 0; i < e->lines.n; i++)
		history(e->history, &ev, H_ENTER, e->lines.line[i]);
}

/* False: it did not come up. */
static bool begin(struct editor *e)
{
	HistEvent ev;

	e->el = el_init("ampcli", e->cli->in, e->cli->out, e->cli->err);
	e->history = history_init();
	if (!e->el || !e->history)
		return false;
	history(e->history, &ev, H_SETSIZE, LINES_MAX);
	history(e->history, &ev, H_SETUNIQUE, 1);
	el_set(e->el, EL_CLIENTDATA, e);
	el_set(e->el, EL_SIGNAL, 0);
	el_set(e->el, EL_EDITOR, "emacs");
	el_set(e->el, EL_PROMPT, prompt);
	el_set(e->el, EL_HIST, history, e->history);
	el_set(e->el, EL_GETCFN, read_character);
	/* Not el_set(): it copies both texts and frees neither. */
	el_wset(e->el, EL_ADDFN, L"ampcli-complete", L"complete a word", on_tabulator);
	el_set(e->el, EL_BIND, "\t", "ampcli-complete", NULL);
	el_set(e->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
	load(e);
	return true;
}

static void end(struct editor *e)
{
	if (e->el)
		el_end(e->el);
	if (e->history)
		history_end(e->history);
	lines_free(&e->lines);
}

/* The next line, as long as no other is read. NULL: there is none. */
static const char *next_line(struct editor *e)
{
	struct sigaction old[OURS];
	const char *line;
	int n = 0;

	memset(&e->state, 0, sizeof(e->state));
	el_resize(e->el);
	take_signals(old);
	line = el_gets(e->el, &n);
	give_signals(old);
	return n > 0 ? line : NULL;
}

/* Each line until one leaves, or there is none. */
static int type_and_run(struct editor *e)
{
	int code = CLI_EXIT_DONE;

	while (!e->cli->leave && !ended) {
		const char *line = next_line(e);
		char *copy = line ? strdup(line) : NULL;

		if (!line && !interrupted)
			break;
		if (!line)
			fputs("^C\n", e->cli->out);
		interrupted = 0;
		if (!copy)
			continue;
		enter(e, copy);
		/* At once: the command may be what ends us. */
		lines_save(&e->lines, e->home);
		shell_line(e->cli, copy, &code);
		free(copy);
	}
	if (!e->cli->leave)
		fputc('\n', e->cli->out);
	return code;
}

int shell_edit(struct cli *cli)
{
	struct editor e = {.cli = cli, .home = getenv("HOME")};
	int code = CLI_EXIT_ERROR;

	interrupted = resized = ended = 0;
	setlocale(LC_CTYPE, "");
	if (begin(&e))
		code = type_and_run(&e);
	else
		fputs("ampcli: the terminal cannot be used; pipe commands instead\n", cli->err);
	end(&e);
	if (ended)
		raise((int)ended); /* the terminal is as it was */
	return code;
}
