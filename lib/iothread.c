/*
 * lib/iothread.c - jobs for one thread, answers in the event loop.
 * Owns: the two lists (to run, done), the thread, the pair of sockets that
 * wakes the loop. Must not own: jobs (their makers'), deadlines (ampmon looks
 * at the steps). send(2) and recv(2) wake, because a room that reads files has
 * no write(2) in its filter.
 */
#include "iothread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct job_list {
	struct amp_io_job *first;
	struct amp_io_job **end;
};

/*
 * Done jobs of a busy thread are delivered together: the first at once, then
 * those of each millisecond, or GATHER of them, or all that are left. Woken for
 * each, the loop would take the processor from the thread each time.
 */
#define GATHER	    32U
#define GATHER_USEC 1000

struct amp_iothread {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	struct job_list todo; /* lock */
	struct job_list done; /* lock */
	bool started;	      /* loop's */
	bool running;	      /* lock: the thread is in its loop */
	bool stop;	      /* lock */
	bool wake_at_first;   /* lock: no timer runs */
	unsigned done_count;  /* lock */
	int pair[2];	      /* 0: loop's end, 1: thread's end */
	struct event *wake, *timer;
	_Atomic uint64_t steps;
	_Atomic uint64_t unfinished; /* submitted, run() has not returned true */
};

static void list_clear(struct job_list *l)
{
	l->first = NULL;
	l->end = &l->first;
}

static void list_put(struct job_list *l, struct amp_io_job *job)
{
	job->next = NULL;
	*l->end = job;
	l->end = &job->next;
}

static struct amp_io_job *list_take(struct job_list *l)
{
	struct amp_io_job *job = l->first;

	if (job) {
		l->first = job->next;
		if (!l->first)
			l->end = &l->first;
	}
	return job;
}

/* Runs done() of all that ended; returns how many. Without the lock: done() may submit. */
static unsigned deliver(struct amp_iothread *io)
{
	struct amp_io_job *job, *next;
	unsigned n;

	pthread_mutex_lock(&io->lock);
	job = io->done.first;
	n = io->done_count;
	list_clear(&io->done);
	io->done_count = 0;
	pthread_mutex_unlock(&io->lock);
	for (; job; job = next) {
		next = job->next; /* done() may free the job */
		job->done(job);
	}
	return n;
}

/* A full socket means that the loop is awake anyway. */
static void wake_loop(struct amp_iothread *io)
{
	while (send(io->pair[1], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* While the thread is busy and gets something done, it is left alone for a while. */
static void deliver_and_wait(struct amp_iothread *io)
{
	const struct timeval tv = {.tv_usec = GATHER_USEC};
	bool busy = deliver(io) > 0 && atomic_load(&io->unfinished) > 0 && evtimer_add(io->timer, &tv) == 0;

	pthread_mutex_lock(&io->lock);
	io->wake_at_first = !busy;
	if (io->wake_at_first && io->done.first)
		wake_loop(io);
	pthread_mutex_unlock(&io->lock);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	char byte;

	(void)what;
	while (recv(fd, &byte, sizeof(byte), MSG_DONTWAIT) > 0)
		;
	deliver_and_wait(arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	deliver_and_wait(arg);
}

/* Runs one job; the lock is held at entry and at return. */
static void run_one(struct amp_iothread *io, struct amp_io_job *job)
{
	bool finished;

	pthread_mutex_unlock(&io->lock);
	finished = job->run(job);
	atomic_fetch_add(&io->steps, 1);
	pthread_mutex_lock(&io->lock);
	if (!finished) {
		list_put(&io->todo, job);
		return;
	}
	atomic_fetch_sub(&io->unfinished, 1);
	list_put(&io->done, job);
	io->done_count++;
	if ((io->wake_at_first && io->done_count == 1) || io->done_count == GATHER || !io->todo.first)
		wake_loop(io);
}

static void run_all(struct amp_iothread *io)
{
	struct amp_io_job *job;

	while ((job = list_take(&io->todo)))
		run_one(io, job);
}

static void *thread_main(void *arg)
{
	struct amp_iothread *io = arg;

	pthread_mutex_lock(&io->lock);
	io->running = true;
	pthread_cond_broadcast(&io->changed);
	while (!io->stop || io->todo.first) {
		if (!io->todo.first)
			pthread_cond_wait(&io->changed, &io->lock);
		run_all(io);
	}
	pthread_mutex_unlock(&io->lock);
	return NULL;
}

static int make_wake(struct amp_iothread *io, struct event_base *base)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, io->pair))
		return -1;
	io->wake = event_new(base, io->pair[0], EV_READ | EV_PERSIST, on_wake, io);
	io->timer = evtimer_new(base, on_timer, io);
	if (!io->wake || !io->timer || event_add(io->wake, NULL)) {
		errno = ENOMEM;
		return -1;
	}
	return 0;
}

static void destroy(struct amp_iothread *io)
{
	int saved = errno;

	if (io->wake)
		event_free(io->wake);
	if (io->timer)
		event_free(io->timer);
	for (int i = 0; i < 2; i++)
		if (io->pair[i] >= 0)
			close(io->pair[i]);
	pthread_cond_destroy(&io->changed);
	pthread_mutex_destroy(&io->lock);
	free(io);
	errno = saved;
}

struct amp_iothread *amp_iothread_new(struct event_base *base)
{
	struct amp_iothread *io = calloc(1, sizeof(*io));

	if (!io)
		return NULL;
	pthread_mutex_init(&io->lock, NULL);
	pthread_cond_init(&io->changed, NULL);
	list_clear(&io->todo);
	list_clear(&io->done);
	io->wake_at_first = true;
	io->pair[0] = io->pair[1] = -1;
	if (make_wake(io, base)) {
		destroy(io);
		return NULL;
	}
	return io;
}

/*
 * Returns when the thread is in its loop: what a thread's start asks of the
 * kernel (rseq, robust list) is not in a room's filter.
 */
int amp_iothread_start(struct amp_iothread *io)
{
	sigset_t all, before;
	pthread_t thread;
	int rc;

	if (io->started) {
		errno = EALREADY;
		return -1;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, NULL, thread_main, io);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc) {
		errno = rc;
		return -1;
	}
	io->thread = thread;
	io->started = true;
	pthread_mutex_lock(&io->lock);
	while (!io->running)
		pthread_cond_wait(&io->changed, &io->lock);
	pthread_mutex_unlock(&io->lock);
	return 0;
}

void amp_iothread_submit(struct amp_iothread *io, struct amp_io_job *job)
{
	atomic_fetch_add(&io->unfinished, 1);
	pthread_mutex_lock(&io->lock);
	list_put(&io->todo, job);
	pthread_cond_signal(&io->changed);
	pthread_mutex_unlock(&io->lock);
}

void amp_io_step(struct amp_iothread *io)
{
	atomic_fetch_add_explicit(&io->steps, 1, memory_order_relaxed);
}

uint64_t amp_iothread_steps(const struct amp_iothread *io)
{
	return atomic_load_explicit(&io->steps, memory_order_relaxed);
}

bool amp_iothread_busy(const struct amp_iothread *io)
{
	return atomic_load(&io->unfinished) > 0;
}

/* Jobs that nobody ran, or that a done() submitted, run here: none is lost. */
static void finish_here(struct amp_iothread *io)
{
	bool more = true;

	while (more) {
		deliver(io);
		pthread_mutex_lock(&io->lock);
		run_all(io);
		more = io->done.first != NULL;
		pthread_mutex_unlock(&io->lock);
	}
}

void amp_iothread_free(struct amp_iothread *io)
{
	if (!io)
		return;
	if (io->started) {
		pthread_mutex_lock(&io->lock);
		io->stop = true;
		pthread_cond_broadcast(&io->changed);
		pthread_mutex_unlock(&io->lock);
		pthread_join(io->thread, NULL);
	}
	finish_here(io);
	destroy(io);
}
