/*
 * tests/unit/iohold.h - an I/O thread that is held until it is let go, so that
 * what is asked meanwhile is in hand for sure.
 */
#ifndef AMP_IOHOLD_H
#define AMP_IOHOLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "iothread.h"

#include <semaphore.h>

struct io_hold {
	struct amp_io_job job; /* first: a job is its hold */
	sem_t let_go;
};

static bool io_hold_run(struct amp_io_job *job)
{
	sem_wait(&((struct io_hold *)job)->let_go);
	return true;
}

static void io_hold_done(struct amp_io_job *job)
{
	sem_destroy(&((struct io_hold *)job)->let_go);
}

static void io_hold(struct amp_iothread *io, struct io_hold *h)
{
	*h = (struct io_hold){.job = {.run = io_hold_run, .done = io_hold_done}};
	assert_int_equal(sem_init(&h->let_go, 0, 0), 0);
	amp_iothread_submit(io, &h->job);
}

static void io_let_go(struct io_hold *h)
{
	sem_post(&h->let_go);
}

#endif
