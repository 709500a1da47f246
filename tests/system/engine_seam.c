/*
 * tests/system/engine_seam.c - workers that go wrong over contents that say how
 * (ampscand/engine/seam.h): a file that begins with one of the words below.
 *
 * A liar lies from then on, to its end: about everything, and never about the word itself.
 */
#include "ampscand/engine/seam.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PREFIX	   "AMP-TEST-"
#define STEP	   ((size_t)1 << 20)
#define CONTENT_FD 4 /* the copy in hand: the pair is 3, and it is closed after each scan */

static enum { HONEST, ALL_CLEAN, ALL_BAD } liar;
static bool hoards;

static void crash(void)
{
	raise(SIGSEGV);
	abort();
}

static void loop(void)
{
	for (volatile unsigned n = 0;; n++)
		;
}

/* All that it may have, and then some. */
static void memory(void)
{
	char *at;

	while ((at = malloc(STEP)) != NULL)
		memset(at, 1, STEP);
	abort();
}

static void syscall_not_let_through(void)
{
	(void)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
}

/* Refused, not killed: it says so by its end. */
static void fork_one(void)
{
	_exit(fork() < 0 ? 77 : 0);
}

/* --- what is left in a slot, and done to those of others ------------------------------- */

static int make_directory(int at, const char *name)
{
	if (mkdirat(at, name, S_IRWXU) != 0)
		return -1;
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* A directory in another, in the slot, each with a file and then of mode 0. */
static void leave_closed(void)
{
	int dirs[3] = {open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};

	for (int i = 0; i < 3; i++) {
		int file = openat(dirs[i], "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0);

		if (file < 0 || close(file) != 0 ||
		    (i < 2 && (dirs[i + 1] = make_directory(dirs[i], "dir")) < 0))
			_exit(78);
	}
	for (int i = 0; i < 3; i++)
		if (fchmod(dirs[i], 0) != 0)
			_exit(79);
	crash();
}

/* As deep as inodes and time allow. */
static void leave_deep(void)
{
	time_t until = time(NULL) + 8;
	int at = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), below;

	while (time(NULL) < until && (below = make_directory(at, "d")) >= 0) {
		close(at);
		at = below;
	}
	crash();
}

static void shut_slots(void)
{
	for (int i = 0; i < 64; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/slot/%d", i);
		(void)chmod(path, 0);
	}
	crash();
}

static void turn_clean(void)
{
	liar = ALL_CLEAN;
}

static void turn_bad(void)
{
	liar = ALL_BAD;
}

/* Every copy that it is handed from then on, as many as there may be descriptors. */
static void turn_hoarder(void)
{
	hoards = true;
}

static void leave(void)
{
	_exit(0);
}

static const struct {
	const char *word;
	void (*act)(void);
} acts[] = {
	{PREFIX "CRASH", crash},
	{PREFIX "LOOP", loop},
	{PREFIX "MEMORY", memory},
	{PREFIX "SYSCALL", syscall_not_let_through},
	{PREFIX "FORK", fork_one},
	{PREFIX "TURN-LIAR-CLEAN", turn_clean},
	{PREFIX "TURN-LIAR-BAD", turn_bad},
	{PREFIX "HOARD", turn_hoarder},
	{PREFIX "EXIT", leave},
	{PREFIX "CLOSED", leave_closed},
	{PREFIX "DEEP", leave_deep},
	{PREFIX "SHUT", shut_slots},
};

static bool begins_with(const uint8_t *data, size_t size, const char *word)
{
	return size >= strlen(word) && memcmp(data, word, strlen(word)) == 0;
}

void seam_before_scan(const uint8_t *data, size_t size)
{
	if (hoards)
		(void)fcntl(CONTENT_FD, F_DUPFD_CLOEXEC, CONTENT_FD);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		if (begins_with(data, size, acts[i].word)) {
			acts[i].act();
			return;
		}
}

void seam_after_scan(const uint8_t *data, size_t size, struct adapter_verdict *v)
{
	if (liar == HONEST || begins_with(data, size, PREFIX "TURN-LIAR"))
		return;
	*v = (struct adapter_verdict){.result = liar == ALL_CLEAN ? ADAPTER_CLEAN : ADAPTER_INFECTED};
	if (liar == ALL_BAD)
		snprintf(v->name, sizeof(v->name), "Lie.Everything.Is.Bad");
}
