/*
 * tests/system/zygote_seam.c - zygotes that go wrong once they are sealed, as a file beside
 * the signatures says: it makes no workers, hangs when it is to make one, or has forked what
 * is no worker (linked with --wrap, so the seal and forks pass by here).
 */
#include "role.h"
#include "seccomp_table.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <unistd.h>

#define PREFIX "/sig/0/seam."
#define FORKS  24

static bool fails, hangs;

int __real_amp_seccomp_seal(unsigned sets);
int __wrap_amp_seccomp_seal(unsigned sets);
pid_t __real_fork(void);
pid_t __wrap_fork(void);

static void wait_for_ever(void) __attribute__((noreturn));
static void wait_for_ever(void)
{
	for (;;)
		(void)poll(NULL, 0, 1000);
}

/* Not all that there may be: other tests have processes of the same user. */
static void fork_many(void)
{
	for (int i = 0; i < FORKS; i++)
		if (__real_fork() == 0)
			wait_for_ever();
}

int __wrap_amp_seccomp_seal(unsigned sets)
{
	bool zygote = sets & AMP_SYS_ZYGOTE;
	bool no_fork = zygote && access(PREFIX "nofork", F_OK) == 0;
	bool hang = zygote && access(PREFIX "hang", F_OK) == 0;
	bool many = zygote && access(PREFIX "many", F_OK) == 0;
	int rc = __real_amp_seccomp_seal(sets);

	fails = no_fork;
	hangs = hang;
	if (rc == 0 && many)
		fork_many();
	return rc;
}

pid_t __wrap_fork(void)
{
	if (hangs)
		wait_for_ever();
	if (!fails)
		return __real_fork();
	errno = ENOMEM;
	return -1;
}
