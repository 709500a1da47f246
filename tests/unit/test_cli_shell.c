/*
 * tests/unit/test_cli_shell.c - words, the table of commands, completion, piped
 * commands, the shell on a terminal and its history.
 */
#include "clifake.h"

#include "ampcli/commands.h"
#include "ampcli/complete.h"
#include "ampcli/lines_file.h"
#include "ampcli/shell.h"
#include "ampcli/words.h"

static struct words w;

/* The words joined by '|', then '~' if the last may grow, and the open quote. */
static const char *split(const char *line)
{
	static char text[1024];
	size_t at = 0;

	assert_int_equal(words_split(&w, line), 0);
	assert_null(w.word[w.n]);
	text[0] = '\0';
	for (size_t i = 0; i < w.n; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s|", w.word[i]);
	snprintf(text + at, sizeof(text) - at, "%s%.1s", w.unfinished ? "~" : "", w.quote ? &w.quote : "");
	return text;
}

static void test_words(void **state)
{
	static const struct {
		const char *line, *words;
	} cases[] = {
		{"", ""},
		{"   \t ", ""},
		{"status", "status|~"},
		{"status ", "status|"},
		{" scan  start\t/a ", "scan|start|/a|"},
		{"a\\ b c", "a b|c|~"},
		{"a\\ ", "a |~"},
		{"'a b'\"c d\"e", "a bc de|~"},
		{"''", "|~"},
		{"'a\\b'", "a\\b|~"},
		{"\"a\\b\\\"\\\\\\$\\`\"", "a\\b\"\\$`|~"},
		{"\"it's\"", "it's|~"},
		{"a # b", "a|"},
		{"# a", ""},
		{"a#b", "a#b|~"},
		{"'#'", "#|~"},
		{"a * $HOME ; | & <x >y", "a|*|$HOME|;|||&|<x|>y|~"},
		{"'a b", "a b|~'"},
		{"x \"a b ", "x|a b |~\""},
		{"a\\", "a|~\\"},
		{"a\r", "a|"},
		{"h\xc3\xa9 \xff", "h\xc3\xa9|\xff|~"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(split(cases[i].line), cases[i].words);
	split("a # b");
	assert_true(w.comment);
	split("a b");
	assert_false(w.comment);
}

static void test_words_bounds(void **state)
{
	char *line = malloc(WORDS_LINE_MAX + 2);

	(void)state;
	memset(line, 'a', WORDS_LINE_MAX + 1);
	line[WORDS_LINE_MAX] = '\0';
	assert_int_equal(words_split(&w, line), -1);
	line[WORDS_LINE_MAX - 1] = '\0';
	assert_int_equal(words_split(&w, line), 0);
	assert_int_equal(strlen(w.word[0]), WORDS_LINE_MAX - 1);
	for (size_t i = 0; i <= WORDS_MAX; i++)
		memcpy(line + 2 * i, "a ", 3);
	assert_int_equal(words_split(&w, line), -1);
	line[2 * WORDS_MAX] = '\0';
	assert_int_equal(words_split(&w, line), 0);
	assert_int_equal(w.n, WORDS_MAX);
	/* The most that can be: each byte a word's. */
	memset(line, '\'', WORDS_LINE_MAX - 1);
	line[WORDS_LINE_MAX - 1] = '\0';
	assert_int_equal(words_split(&w, line), 0);
	free(line);
}

/* What was quoted comes back, wherever it is put. */
static void test_words_quote(void **state)
{
	static const char hostile[] = " it's \"$HOME\" \\ `x` *#~;&|<>()[]{}?! \xff";
	static const char *const open[] = {"x", "x'", "x\"", "x\\"};
	char line[512];

	(void)state;
	for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
		char quote = i ? open[i][1] : '\0', *quoted = words_quote(hostile, quote);

		assert_non_null(quoted);
		snprintf(line, sizeof(line), "%s%s%s", open[i], quoted,
			 quote == '\'' || quote == '"' ? open[i] + 1 : "");
		free(quoted);
		assert_int_equal(words_split(&w, line), 0);
		assert_int_equal(w.n, 1);
		assert_int_equal(w.quote, 0);
		assert_int_equal(w.word[0][0], 'x');
		assert_string_equal(w.word[0] + 1, hostile);
	}
}

static void test_table(void **state)
{
	const struct command *c, *d;
	const struct command_option_row *o, *p;
	char *one[] = {T("scan"), T("start"), T("/a"), T("/b"), T("/c"), NULL};
	char *list[] = {T("scan"), T("list"), T("x"), NULL};
	unsigned bits = 0;

	(void)state;
	for (size_t i = 0; (c = command_row(i)); i++) {
		assert_non_null(c->run);
		assert_true(c->help[0]);
		assert_int_equal(c->argument != NULL, c->kind != ARG_NONE);
		bits |= c->options;
		for (size_t k = i + 1; (d = command_row(k)); k++)
			assert_false(strcmp(c->name, d->name) == 0 &&
				     strcmp(c->sub ? c->sub : "", d->sub ? d->sub : "") == 0 &&
				     (c->argument != NULL) == (d->argument != NULL));
	}
	for (size_t i = 0; (o = command_option_row(i)); i++) {
		assert_true(o->bit == 0 || o->bit == OPT_KEEP_GOING || (o->bit & bits));
		bits &= ~o->bit;
		for (size_t k = i + 1; (p = command_option_row(k)); k++)
			assert_false(o->letter == p->letter || strcmp(o->name, p->name) == 0);
	}
	assert_int_equal(bits, 0);
	assert_null(command_find(2, one));
	assert_ptr_equal(command_find(3, one), command_find(5, one));
	assert_non_null(command_find(3, one));
	assert_non_null(command_find(2, list));
	assert_null(command_find(3, list));
	assert_null(command_find(0, list));
}

/* ---- completion ---- */

static struct completion found;
static struct cli base;

static void complete_free(void)
{
	completion_free(&found);
}

/* Candidates for the last word, joined by spaces. */
static const char *complete(bool in_shell, const char *line)
{
	static char text[8192];
	size_t at = 0;

	complete_free();
	base.run_dir = dir;
	base.in_shell = in_shell;
	assert_int_equal(words_split(&w, line), 0);
	if (!w.unfinished)
		w.word[w.n++] = T("");
	complete_words(&found, &base, w.n, w.word);
	text[0] = '\0';
	for (size_t i = 0; i < found.n; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", i ? " " : "", found.word[i]);
	return text;
}

static void test_complete_words(void **state)
{
	(void)state;
	assert_string_equal(complete(false, "st"), "status");
	assert_string_equal(complete(true, "ex"), "exclusions exit");
	assert_string_equal(complete(false, "ex"), "exclusions");
	assert_string_equal(complete(false, "scan "), "start flash full list show pause resume stop");
	assert_string_equal(complete(false, "scan st"), "start stop");
	assert_int_equal(completion_common(&found), 2);
	assert_string_equal(complete(false, "--json scan st"), "start stop");
	assert_string_equal(complete(false, "-r scan br"), "brake");
	assert_string_equal(complete(false, "scan start --"),
			    "--json --run-dir --help --version --wait --one-file-system");
	assert_string_equal(complete(false, "scan show 1 --f"), "--files");
	assert_string_equal(complete(false, "--k"), "--keep-going");
	assert_string_equal(complete(false, "quarantine restore --keep"), "--keep-privileges");
	assert_string_equal(complete(false, "scan start -- --"), "");
	assert_int_equal(found.also, COMPLETE_FILES);
	assert_string_equal(complete(false, "scan start /a "), "");
	assert_int_equal(found.also, COMPLETE_FILES);
	assert_string_equal(complete(false, "quarantine restore --to "), "");
	assert_int_equal(found.also, COMPLETE_DIRECTORIES);
	assert_string_equal(complete(false, "history --type th"), "");
	assert_int_equal(found.also, COMPLETE_NOTHING);
	assert_string_equal(complete(false, "status x"), "");
	assert_string_equal(complete(false, "nothing "), "");
	/* Nobody answers: no ids, and no error. */
	assert_string_equal(complete(false, "scan show "), "");
	complete_free();
}

static bool ids(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		size_t length)
{
	Amp__CliScanListReply list = AMP__CLI_SCAN_LIST_REPLY__INIT;
	Amp__CliScan a = AMP__CLI_SCAN__INIT, b = AMP__CLI_SCAN__INIT, *scans[] = {&a, &b};
	Amp__CliBrakeReply brake = AMP__CLI_BRAKE_REPLY__INIT;
	Amp__CliBrakeEntry held = AMP__CLI_BRAKE_ENTRY__INIT, free_one = AMP__CLI_BRAKE_ENTRY__INIT,
			   *entries[] = {&held, &free_one};
	Amp__CliStatusReply status = AMP__CLI_STATUS_REPLY__INIT;
	Amp__CliFault fault = AMP__CLI_FAULT__INIT, *faults[] = {&fault};

	(void)s;
	(void)body;
	(void)length;
	a.id = 12;
	b.id = 7;
	list.scans = scans;
	list.n_scans = 2;
	held.signature = T("Win.Test-1");
	held.holds = true;
	free_one.signature = T("Win.Free-1");
	brake.entries = entries;
	brake.n_entries = 2;
	fault.number = 19;
	status.faults = faults;
	status.n_faults = 1;
	if (h->type == AMP_MSG_CLI_SCAN_LIST)
		reply(fd, AMP_MSG_CLI_SCAN_LIST_REPLY, h->id, &list.base);
	else if (h->type == AMP_MSG_CLI_BRAKE)
		reply(fd, AMP_MSG_CLI_BRAKE_REPLY, h->id, &brake.base);
	else
		reply(fd, AMP_MSG_CLI_STATUS_REPLY, h->id, &status.base);
	return true;
}

static void test_complete_ids(void **state)
{
	char *argv[] = {T("ampcli"), T("--completion-words"), T("-r"), dir, T("scan"), T("pause"), T(""),
			NULL};
	char *text = NULL;
	size_t n;
	FILE *f;

	(void)state;
	start(&scan, ids);
	start(&mon, ids);
	assert_string_equal(complete(false, "scan show "), "12 7");
	assert_string_equal(complete(false, "scan stop 1"), "12");
	assert_string_equal(complete(false, "brake release W"), "Win.Test-1");
	assert_string_equal(complete(true, "faults "), "19");
	complete_free();
	f = open_memstream(&text, &n);
	assert_int_equal(cli_main(7, argv, f, f), 0);
	fclose(f);
	assert_string_equal(text, "12\n7\n");
	free(text);
	argv[5] = T("start");
	f = open_memstream(&text, &n);
	assert_int_equal(cli_main(7, argv, f, f), 0);
	fclose(f);
	assert_string_equal(text, ":files\n");
	free(text);
}

static void touch(const char *name, bool directory)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (directory) {
		assert_int_equal(mkdir(path, 0700), 0);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void gone(const char *name, bool directory)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(directory ? rmdir(path) : unlink(path), 0);
}

static void test_complete_paths(void **state)
{
	char beginning[128], wanted[128];

	(void)state;
	touch("data one", false);
	touch("data\ntwo", false);
	touch(".hidden", false);
	touch("data.d", true);
	snprintf(beginning, sizeof(beginning), "%s/da", dir);
	complete_paths(&found, beginning, false);
	assert_int_equal(found.n, 2);
	assert_int_equal(completion_common(&found), strlen(beginning) + 2);
	complete_free();
	complete_paths(&found, beginning, true);
	assert_int_equal(found.n, 1);
	snprintf(wanted, sizeof(wanted), "%s/data.d/", dir);
	assert_string_equal(found.word[0], wanted);
	complete_free();
	snprintf(beginning, sizeof(beginning), "%s/", dir);
	complete_paths(&found, beginning, false);
	assert_int_equal(found.n, 2);
	complete_free();
	snprintf(beginning, sizeof(beginning), "%s/.", dir);
	complete_paths(&found, beginning, false);
	assert_int_equal(found.n, 1);
	complete_free();
	complete_paths(&found, "/no/such/place", false);
	assert_int_equal(found.n, 0);
	gone("data one", false);
	gone("data\ntwo", false);
	gone(".hidden", false);
	gone("data.d", true);
}

/* ---- piped commands ---- */

/* What was printed; freed by the next. */
static char *shown, *said;

static int pipe_lines(bool keep_going, const char *lines, size_t length)
{
	struct cli cli = {.run_dir = dir, .keep_going = keep_going};
	size_t n;

	free(shown);
	free(said);
	cli.in = fmemopen((void *)(uintptr_t)lines, length, "r");
	cli.out = open_memstream(&shown, &n);
	cli.err = open_memstream(&said, &n);
	shell_run(&cli);
	fclose(cli.in);
	fclose(cli.out);
	fclose(cli.err);
	return cli.exit;
}

#define PIPE(keep, lines) pipe_lines(keep, lines, sizeof(lines) - 1)

static void test_piped(void **state)
{
	(void)state;
	start(&mon, ids);
	assert_int_equal(PIPE(false, "# nothing\n\n  \n--json faults # those that stand\n"), 0);
	assert_non_null(strstr(shown, "\"number\": 19"));
	assert_string_equal(said, "");
	/* Without an end of line too. */
	assert_int_equal(PIPE(false, "faults 19"), 0);
	assert_non_null(strstr(shown, "#19"));
	/* The options of one line are not the next one's. */
	assert_int_equal(PIPE(false, "--json faults 19\nfaults 19\n"), 0);
	assert_non_null(strstr(shown, "\"number\": 19"));
	assert_non_null(strstr(shown, "#19"));
	/* It stops at the first error... */
	assert_int_equal(PIPE(false, "frob\nfaults\n"), 2);
	assert_string_equal(shown, "");
	assert_non_null(strstr(said, "frob"));
	/* ... unless it is to go on, and then has the first one's code. */
	assert_int_equal(PIPE(true, "frob\nposture\nfaults\nquit\nfrob2\n"), 2);
	assert_non_null(strstr(shown, "#19"));
	assert_null(strstr(said, "frob2"));
	assert_int_equal(PIPE(true, "definitions\nfrob\n"), 3);
	assert_int_equal(PIPE(false, "exit\nfrob\n"), 0);
	assert_int_equal(PIPE(false, "faults 'x\n"), 2);
	assert_non_null(strstr(said, "quotes"));
	assert_int_equal(PIPE(false, "faults \\"), 2);
	assert_non_null(strstr(said, "backslash"));
	assert_int_equal(PIPE(false, "fau\0lts\nfaults\n"), 2);
	assert_string_equal(shown, "");
	assert_int_equal(PIPE(false, "--json\n"), 2);
	assert_int_equal(PIPE(false, ""), 0);
}

static void test_piped_long(void **state)
{
	size_t size = (size_t)2 * WORDS_LINE_MAX;
	char *lines = malloc(size);

	(void)state;
	memset(lines, 'x', size);
	memcpy(lines + size - 6, "\nhelp\n", 6);
	assert_int_equal(pipe_lines(false, lines, size), 2);
	assert_string_equal(shown, "");
	assert_int_equal(pipe_lines(true, lines, size), 2);
	assert_non_null(strstr(said, "too long"));
	assert_non_null(strstr(shown, "Usage: ampcli"));
	free(lines);
}

/* ---- the history's file ---- */

static void history_path(char path[128])
{
	snprintf(path, 128, "%s/%s", dir, LINES_FILE);
}

static void test_lines(void **state)
{
	struct lines l = {0}, again = {0};
	char path[128], line[LINE_KEPT + 8];
	struct stat st;

	(void)state;
	history_path(path);
	lines_add(&l, "");
	lines_add(&l, "status\n");
	lines_add(&l, "status");
	memset(line, 'x', LINE_KEPT + 1);
	line[LINE_KEPT + 1] = '\0';
	lines_add(&l, line);
	assert_int_equal(l.n, 1);
	assert_string_equal(l.line[0], "status");
	for (unsigned i = 0; i < LINES_MAX + 10; i++) {
		snprintf(line, sizeof(line), "scan show %u", i);
		lines_add(&l, line);
	}
	assert_int_equal(l.n, LINES_MAX);
	assert_string_equal(l.line[0], "scan show 10");
	assert_int_equal(lines_save(&l, dir), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(lines_save(&l, dir), 0);
	assert_int_equal(lines_load(&again, dir), 0);
	assert_int_equal(again.n, LINES_MAX);
	assert_string_equal(again.line[LINES_MAX - 1], l.line[LINES_MAX - 1]);
	lines_free(&again);
	lines_free(&l);
	gone(LINES_FILE, false);
}

static void test_lines_long(void **state)
{
	struct lines l = {0};
	char path[128];
	FILE *f;

	(void)state;
	history_path(path);
	f = fopen(path, "w");
	fprintf(f, "one\n%09000d\ntwo\nwithout an end", 1);
	fclose(f);
	assert_int_equal(lines_load(&l, dir), 0);
	assert_int_equal(l.n, 2);
	assert_string_equal(l.line[1], "two");
	lines_free(&l);
	gone(LINES_FILE, false);
}

static void test_lines_not_his(void **state)
{
	struct lines l = {0};
	char path[128], target[128];

	(void)state;
	history_path(path);
	lines_add(&l, "status");
	assert_int_equal(lines_save(&l, NULL), -1);
	assert_int_equal(lines_save(&l, ""), -1);
	assert_int_equal(lines_save(&l, "relative"), -1);
	assert_int_equal(lines_save(&l, "/no/such"), -1);
	/* Others may write there. */
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(lines_save(&l, dir), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(chmod(dir, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(dir, 65534, 65534), 0);
		assert_int_equal(lines_save(&l, dir), -1);
		assert_int_equal(lines_load(&l, dir), -1);
		assert_int_equal(chown(dir, 0, 0), 0);
	}
	/* A link leads elsewhere. */
	snprintf(target, sizeof(target), "%s/target", dir);
	touch("target", false);
	assert_int_equal(symlink(target, path), 0);
	assert_int_equal(lines_save(&l, dir), -1);
	assert_int_equal(lines_load(&l, dir), -1);
	gone(LINES_FILE, false);
	assert_int_equal(link(target, path), 0);
	assert_int_equal(lines_save(&l, dir), -1);
	assert_int_equal(lines_load(&l, dir), -1);
	gone(LINES_FILE, false);
	gone("target", false);
	lines_free(&l);
}

/* ---- a terminal ---- */

/* Types on one, and what is seen on it. */
static const char *type(const char *typed, int *code)
{
	struct cli cli = {.run_dir = dir};

	open_terminal(typed);
	cli.in = stdin;
	cli.out = cli.err = terminal;
	shell_run(&cli);
	*code = cli.exit;
	return close_terminal();
}

static void test_terminal(void **state)
{
	struct lines l = {0};
	const char *seen;
	int code;

	(void)state;
	assert_int_equal(setenv("TERM", "dumb", 1), 0);
	assert_int_equal(setenv("HOME", dir, 1), 0);
	start(&mon, ids);
	start(&scan, ids);
	seen = type("fau\t19\nscan s\tfrob\nexit\n", &code);
	assert_non_null(strstr(seen, "ampcli> "));
	assert_non_null(strstr(seen, "#19"));
	assert_non_null(strstr(seen, "start"));
	assert_int_equal(code, 0);
	assert_int_equal(lines_load(&l, dir), 0);
	assert_int_equal(l.n, 3);
	assert_string_equal(l.line[0], "faults 19");
	assert_string_equal(l.line[1], "scan sfrob");
	lines_free(&l);
	/* Up, and it runs again; the last command's code is the shell's. */
	seen = type("\x10\x10\x10\nfrob\nquit\n", &code);
	assert_non_null(strstr(seen, "#19"));
	gone(LINES_FILE, false);
}

static int remove_all(void **state)
{
	free(shown);
	free(said);
	return remove_dir(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_words),	   TEST(test_words_bounds),   TEST(test_words_quote),
		TEST(test_table),	   TEST(test_complete_words), TEST(test_complete_ids),
		TEST(test_complete_paths), TEST(test_piped),	      TEST(test_piped_long),
		TEST(test_lines),	   TEST(test_lines_long),     TEST(test_lines_not_his),
		TEST(test_terminal),
	};

	return cmocka_run_group_tests_name("cli shell", tests, make_dir, remove_all);
}
