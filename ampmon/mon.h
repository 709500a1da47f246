/*
 * ampmon/mon.h - the supervisor's own shared header (private to ampmon/).
 *
 * Owns: struct mon, which ties ampmon's parts together, and the calls from
 * one part to another. Each part's state is its own file's. Everything runs
 * in one event loop; what may wait for a disk runs on the I/O thread.
 */
#ifndef AMPMON_MON_H
#define AMPMON_MON_H

#include "ampmon/child.h"
#include "ampmon/conf.h"
#include "ampmon/faults.h"
#include "ampmon/keep.h"
#include "ampmon/kill.h"
#include "ampmon/logs.h"
#include "ampmon/policy.h"
#include "ampmon/repair.h"
#include "ampmon/watch.h"
#include "iothread.h"

#include "proto/event.pb-c.h"

#include <event2/event.h>

/* exit(3) codes; the guard does not start again after MON_EXIT_REFUSED. */
#define MON_EXIT_OK	 0
#define MON_EXIT_FAILED	 1
#define MON_EXIT_REFUSED 2

struct mon_user {
	bool known;
	uid_t uid;
	gid_t gid;
};

struct mon {
	struct event_base *base;
	struct mon_conf *conf;
	struct mon_user users[AMP_ROLE_COUNT];
	gid_t cli_gid;
	struct mon_dir_id
		engine_dirs[MON_DEFINITIONS_MAX]; /* of signatures, that the running ampengine was given */
	pid_t guard;				  /* 0: none */
	unsigned restarts;			  /* of ampmon itself, by its guard */
	int64_t since_ns;			  /* realtime of its start */
	struct mon_state state;
	bool first_start; /* there was no state: what lay there before is not looked through */
	struct amp_iothread *io;
	struct mon_logs *logs;
	struct mon_faults *faults;
	struct mon_events *events;
	struct mon_children *children;
	struct mon_watch *watch;
	struct mon_repair *repair;
	struct mon_kill *kill;
	struct mon_inforce *inforce;
	struct mon_sources *sources;
	struct mon_foundation *foundation;
	struct mon_definitions *definitions;
	struct mon_keep *keep;
	struct mon_cli *cli;
	struct event *tick, *feed, *sig_term, *sig_int, *sig_hup, *guard_gone;
	struct child_heart io_heart;
	int ready_fd; /* who started ampmon waits for a byte; -1 */
	int64_t last_tick_ns;
	int64_t born_ns; /* monotonic */
	bool started;	 /* START was sent once */
	bool stopping;
};

/* What start.c found out before the loop. */
struct mon_start {
	const char *conf_path;
	struct mon_conf *conf; /* taken over */
	pid_t guard;	       /* the parent, if it is a guard; 0 */
	unsigned restarts;     /* times the guard started ampmon again */
	char refused[1024]; /* then: why the configuration is the one of the guard's start; "": it is not */
	int ready_fd;	    /* a byte is written when the suite runs; -1 */
};

/* --- mon.c: the life of ampmon. Returns the exit code. */
int mon_run(const struct mon_start *s);
/* SIG_BLOCK, SIG_UNBLOCK (sigprocmask(2)): until mon_run() can act on it it waits. */
void mon_mask_sighup(int how);
void mon_ready_check(struct mon *m); /* START to who is ready and has not had it, if it is time */
/* events.json to an ampcloudd that is ready: at its start and after a rotation. */
void mon_events_file_send(struct mon *m, struct mon_proc *cloud);
void mon_stopped_check(struct mon *m);	/* a room is gone: leave if it was the last */
int mon_heartbeat(struct mon *m);	/* the tick, by the configuration. 0 or -1 */
bool mon_well(const struct mon *m);	/* every room that can run is ready */
bool mon_tended(const struct mon *m);	/* each of them runs, or is about to */
bool mon_complete(const struct mon *m); /* every room of the table is ready */
/* Stores m->state on the I/O thread. done may be NULL; error: errno or 0. */
void mon_store_state(struct mon *m, void (*done)(struct mon *m, int error, void *arg), void *arg);

/* --- start.c */
int mon_main(int argc, char **argv);
/* A sentence for whoever starts ampmon: the log and standard error. */
void mon_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- dirs.c: the places ampmon makes. 0, or -1 (a sentence in err). */
int mon_dir_make(const char *path, mode_t mode, uid_t uid, gid_t gid, char *err, size_t size);
/* name in dir becomes a new file with these bytes, durably; new_name: what it is called
 * meanwhile. 0, or -1 and errno. */
int mon_file_replace(int dir, const char *new_name, const char *name, const void *data, size_t n);
int mon_lock_run_dir(const struct mon_conf *c, char *err, size_t size); /* fd or -1 */
int mon_pid_file_write(const struct mon_conf *c, pid_t pid);
void mon_pid_file_remove(const struct mon_conf *c);
int mon_listen(const struct mon_conf *c, const char *name, gid_t cli_gid, char *err,
	       size_t size);				       /* fd or -1 */
void mon_unlisten(const struct mon_conf *c, const char *name); /* the socket's name goes */

/* --- guard.c: daemonizes and guards; returns only in a child that is to be
 * ampmon, with s filled; or an exit code in *code and false. */
bool mon_guard(struct mon_start *s, int lock_fd, int *code);

/* --- control.c: what rooms say on fd 3. */
/* The rows a role may send. Built once. */
const struct amp_dispatch *mon_control_table(enum amp_role_id role, size_t *rows);

/* --- links.c */
/* New pairs between this slot and every ready slot that is linked to it. */
void mon_links_make(struct mon *m, struct mon_slot *slot);

/* --- events.c: ampmon's own durable events, to ampcloudd. 0 or -1. */
int mon_events_new(struct mon *m);
void mon_events_free(struct mon *m);
void mon_events_attach(struct mon *m, struct amp_channel *cloud, bool died);
void mon_events_ack(struct mon *m, const Amp__EventAck *ack);
void mon_events_pump(struct mon *m);
void mon_events_fault(const struct mon_fault *f, bool raised, void *mon);
void mon_events_policy(struct mon *m); /* m->state's unrecorded change */

/* --- sources.c: what ampscand lives on: groups, buffers, file systems, repairs. 0 or -1. */
int mon_sources_new(struct mon *m, char *err, size_t size);
void mon_sources_start(struct mon *m);
void mon_sources_free(struct mon *m);
void mon_sources_scand_ready(struct mon *m, struct mon_proc *scand);
void mon_sources_scand_detach(struct mon *m); /* its channel is about to go */
void mon_sources_scand_gone(struct mon *m);   /* it is dead */
void mon_sources_concluded(struct mon *m, const Amp__Concluded *c);
void mon_sources_tick(struct mon *m);
int mon_sources_keep(struct mon *m, struct mon_proc *scand, uint64_t id, const Amp__Keep *k);
int mon_sources_repair_wanted(struct mon *m, const Amp__RepairWanted *w);
int mon_sources_repair_state(struct mon *m, const Amp__RepairState *s);
int mon_sources_kill(struct mon *m, struct mon_proc *scand, uint64_t id, const Amp__Kill *k);
uint64_t mon_sources_jobs(const struct mon *m);
const char *mon_sources_scan(const struct mon *m);	/* what is scanned on demand; "": nothing */
const char *mon_sources_last_scan(const struct mon *m); /* "": none yet */
void mon_sources_scan_state(struct mon *m, const Amp__ScanState *s);

/* --- foundation.c: what runs and is mapped. */
int mon_foundation_new(struct mon *m);
void mon_foundation_free(struct mon *m);
void mon_foundation_look(struct mon *m); /* again */
void mon_foundation_scand_ready(struct mon *m);
bool mon_foundation_told(const struct mon *m); /* to the ampscand that runs */
/* 0, or -1: the request breaks the protocol. */
int mon_mapped_request(struct mon *m, struct mon_proc *scand, uint64_t id);

/* --- inforce.c: which policy is in force. */
int mon_inforce_new(struct mon *m);
void mon_inforce_free(struct mon *m);
/* Tells the outcome of a change. p NULL: failed, text says why. */
typedef void mon_inforce_done(struct mon *m, const struct mon_policy *p, int code, const char *text,
			      void *arg);
void mon_inforce_use(struct mon *m, const char *id, uid_t by, mon_inforce_done *done, void *arg);
void mon_inforce_reload(struct mon *m);
void mon_inforce_send(struct mon *m);
void mon_inforce_pump(struct mon *m); /* ampscand's queue is shorter */
bool mon_inforce_sending(const struct mon *m);
void mon_inforce_scand_gone(struct mon *m);
void mon_inforce_ack(struct mon *m, uint64_t epoch);
const struct mon_policy *mon_inforce_policy(const struct mon *m); /* NULL: the built-in list */

/* --- cli.c */
int mon_cli_new(struct mon *m, int listen_fd);
void mon_cli_free(struct mon *m);

/* --- definitions.c: directories of signatures that are there later, or are others */
int mon_definitions_new(struct mon *m);
void mon_definitions_free(struct mon *m);
/* Is one of them there now that was not given, or was another then? */
bool mon_definitions_differ(const struct mon_dir_id *now, const struct mon_dir_id *given);

/* --- reload.c */
void mon_reload(struct mon *m);

/* --- notify.c or notify_none.c */
void mon_notify_ready(void);
int64_t mon_notify_watchdog(void); /* ns until it bites; 0: there is none */
void mon_notify_well(void);	   /* feeds it */
void mon_notify_reloading(void);
void mon_notify_stopping(void);

#endif
