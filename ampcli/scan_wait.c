/*
 * ampcli/scan_wait.c - `--wait`: stays until a scan is over (see scan_wait.h).
 */
#include "scan_wait.h"

#include "clock.h"
#include "progress.h"
#include "proto/types.h"
#include "scan_view.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>

#define SERVICE	      "ampscand"
#define POLL_MIN_NS   (5 * AMP_NS_PER_MS)
#define POLL_MAX_NS   (500 * AMP_NS_PER_MS)
#define POLL_SHARE    16 /* a scan that is over after so long is seen a part of that later */
#define PATIENCE_NS   (60 * AMP_NS_PER_SEC) /* for a service that is started again */
#define RECALL_NS     (10 * AMP_NS_PER_SEC) /* for it to have what was kept for it */
#define WIDTH_UNKNOWN 80

/* Set by SIGINT; the second one ends the program as ever. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	(void)sig;
	interrupted = 1;
}

enum client_outcome scan_ask(struct client *c, uint64_t id, const Amp__CliScan **s)
{
	Amp__CliScanList ask = AMP__CLI_SCAN_LIST__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_SCAN_LIST,
		.body = &ask.base,
		.reply_type = AMP_MSG_CLI_SCAN_LIST_REPLY,
		.reply = &amp__cli_scan_list_reply__descriptor,
	};
	const Amp__CliScanListReply *r;
	enum client_outcome outcome;

	ask.id = id;
	*s = NULL;
	outcome = client_ask(c, &request);
	if (outcome != CLIENT_OK)
		return outcome;
	r = (const Amp__CliScanListReply *)client_reply(c, 0);
	if (r->n_scans == 1 && !r->more && scan_sound(r->scans[0]) && r->scans[0]->id == id)
		*s = r->scans[0];
	return *s ? CLIENT_OK : client_unsound(c, "not the scan that was asked for");
}

struct waiting {
	struct cli *cli;
	uint64_t id;
	bool draws;
	size_t drawn; /* columns that stand on the line */
	struct progress_rate rate;
	int64_t answered_ns; /* monotonic: the last answer */
};

static size_t terminal_width(FILE *f)
{
	struct winsize size = {0};

	if (ioctl(fileno(f), TIOCGWINSZ, &size) < 0 || size.ws_col < 2)
		return WIDTH_UNKNOWN - 1;
	return size.ws_col - 1U; /* a full line would begin another */
}

/* Over what stands there. */
static void draw(struct waiting *w, const char *line, size_t columns)
{
	fprintf(w->cli->err, "\r%s", line);
	for (size_t i = columns; i < w->drawn; i++)
		fputc(' ', w->cli->err);
	if (columns == 0)
		fputc('\r', w->cli->err);
	fflush(w->cli->err);
	w->drawn = columns;
}

static void wipe(struct waiting *w)
{
	if (w->drawn)
		draw(w, "", 0);
}

static void show(struct waiting *w, const Amp__CliScan *s)
{
	char line[PROGRESS_WIDTH_MAX * 4 + 1];
	size_t columns;

	if (!w->draws)
		return;
	progress_sample(&w->rate, s, amp_clock_monotonic());
	columns = progress_line(s, &w->rate, terminal_width(w->cli->err), line);
	draw(w, line, columns);
}

/* How long it may be so. What is refused otherwise stays refused. */
static int64_t patience(const struct client *c, enum client_outcome outcome)
{
	if (outcome == CLIENT_UNREACHABLE)
		return PATIENCE_NS;
	if (outcome != CLIENT_REFUSED)
		return 0;
	switch (client_refusal(c)) {
	case AMP__CLI_ERROR__CODE__NOT_NOW:
		return PATIENCE_NS;
	case AMP__CLI_ERROR__CODE__NOT_FOUND:
		return RECALL_NS;
	default:
		return 0;
	}
}

/* Is it worth asking once more? */
static bool passes(const struct waiting *w, const struct client *c, enum client_outcome outcome)
{
	return amp_clock_monotonic() - w->answered_ns < patience(c, outcome);
}

static void say_interrupted(struct waiting *w)
{
	unsigned long long id = w->id;

	wipe(w);
	fprintf(w->cli->err,
		"ampcli: scan %llu goes on; see it with `ampcli scan show %llu`, end it with "
		"`ampcli scan stop %llu`\n",
		id, id, id);
	cli_note(w->cli, CLI_EXIT_INTERRUPTED);
}

/* Short at first, so that a short scan does not take longer for being waited for. */
static void pause_poll(int64_t begun_ns)
{
	int64_t ns = (amp_clock_monotonic() - begun_ns) / POLL_SHARE;
	struct timespec pause = {0};

	if (ns < POLL_MIN_NS)
		ns = POLL_MIN_NS;
	pause.tv_nsec = (long)(ns < POLL_MAX_NS ? ns : POLL_MAX_NS);
	nanosleep(&pause, NULL);
}

/* Until it is over. NULL: see scan_wait(). */
static const Amp__CliScan *poll_scan(struct waiting *w, struct client *c)
{
	const int64_t begun = amp_clock_monotonic();
	const Amp__CliScan *s;

	while (!interrupted) {
		enum client_outcome outcome = scan_ask(c, w->id, &s);

		if (s && scan_is_over(s))
			return s;
		if (s) {
			w->answered_ns = amp_clock_monotonic();
			show(w, s);
		} else if (!passes(w, c, outcome)) {
			wipe(w);
			cli_failed(w->cli, c, outcome, true);
			return NULL;
		}
		if (!interrupted)
			pause_poll(begun);
	}
	say_interrupted(w);
	return NULL;
}

struct client *scan_wait(struct cli *cli, uint64_t id, const Amp__CliScan **s)
{
	struct sigaction act = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND}, old;
	struct waiting w = {.cli = cli, .id = id, .draws = cli_on_terminal(cli)};
	struct client *c = client_new(cli->run_dir, SERVICE);

	*s = NULL;
	if (!c) {
		cli_error(cli, true, "out of memory");
		return NULL;
	}
	interrupted = 0;
	w.answered_ns = amp_clock_monotonic();
	sigaction(SIGINT, &act, &old);
	*s = poll_scan(&w, c);
	sigaction(SIGINT, &old, NULL);
	wipe(&w);
	if (*s)
		return c;
	client_free(c);
	return NULL;
}
