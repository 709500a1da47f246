/*
 * ampscand/demand.h - scans on demand: what demand*.c, schedule.c, gentle.c and
 * walk.c share.
 *
 * A scan is a list of tasks, each a path that the walker of such scans (the last
 * ampread) walks in order. Counters are taken at marks, when everything before
 * them is concluded: what is lost in a crash is looked at again from the last
 * mark on, with the counters of that mark, so every file is counted once.
 * Private to ampscand/.
 */
#ifndef AMPSCAND_DEMAND_H
#define AMPSCAND_DEMAND_H

#include "scand.h"

#include "proto/cli.pb-c.h"

#define DEMAND_LIST	 1000U /* of files not clean, in memory */
#define DEMAND_LIST_KEPT 200U  /* ... and in the record */
#define DEMAND_SINCE	 800U  /* threats since the last mark that are known one by one */
#define DEMAND_MOUNTS	 64U
#define DEMAND_MAPPED	 50000U
#define DEMAND_KEEP_NS	 (2 * AMP_NS_PER_SEC) /* between two records of a scan that goes on */

/* What a scan counts: outcomes of files, then what is no file to be judged. */
enum demand_kind {
	DEMAND_SYMLINK = OUTCOME_COUNT,
	DEMAND_MOUNT,
	DEMAND_TOO_DEEP,
	DEMAND_DIRECTORY,
	DEMAND_KINDS
};

enum demand_state {
	DEMAND_WAITING,
	DEMAND_RUNNING,
	DEMAND_PAUSED,
	DEMAND_DONE, /* this and what follows: it is over */
	DEMAND_STOPPED,
	DEMAND_FAILED,
	DEMAND_STATES
};

struct demand_tally {
	uint64_t files, bytes, threats, cached;
	uint64_t listed; /* not clean, whether kept in the list or not */
	uint64_t kinds[DEMAND_KINDS];
};

struct demand_file {
	unsigned kind;
	char *path;
	char *detail; /* NULL: none */
};

/*
 * A threat that may be gone, or found once more, when the walk that found it is
 * resumed. It is known until a later mark shows that it has been passed.
 */
struct demand_known {
	uint64_t hash; /* of its path */
	bool kept;     /* in the counters of the last mark */
	bool behind;   /* of an earlier walk: it may lie behind the next mark */
	bool met;      /* by the walk in hand */
};

struct demand_since {
	struct demand_known known[DEMAND_SINCE];
	size_t count;
	/* Those that the counters of the last mark do not have. */
	uint64_t threats, bytes, cached;
};

struct demand_paths {
	char **path;
	size_t count;
};

struct demand_scan {
	struct demand_scan *next; /* older */
	struct scand *scand;
	uint64_t id, request;
	Amp__CliScanStart__Kind kind;
	enum demand_state state;
	struct demand_paths paths; /* as asked for */
	struct demand_paths tasks; /* "": what processes run and map */
	bool one_file_system;
	char *schedule; /* NULL: a client started it */
	uint32_t schedule_day;
	int64_t started_ns, ended_ns; /* realtime */
	int64_t worked_ns;
	int64_t since_ns; /* monotonic, of the work in hand; 0: none */
	uint64_t expected;
	char error[256];
	unsigned failed; /* tasks */
	bool broken;	 /* not for what was asked: a fault */

	/* Everything before is concluded. */
	size_t task;
	char *at; /* NULL: at the task's start */
	struct demand_tally kept;
	size_t kept_list; /* files in the list then */
	struct demand_since since;

	struct demand_tally now;
	struct demand_file *list;
	size_t list_count;
	char *look; /* directory in hand, for people; NULL: none */

	/* The walk in hand. */
	struct walk *walk;
	bool moved;		   /* it found something: its next mark is beyond where it began */
	uint64_t base_directories; /* before it */
	uint64_t fsid;		   /* that the walker told for this task; 0: none */
	bool by_names;		   /* what is in it has no handle */
	unsigned tries;		   /* to find out which it is on */
	unsigned deaths;	   /* of the walker, since the last mark */
	struct demand_paths mapped;
	struct demand_paths mounts; /* that it came to, and of which nothing was known then */
	int64_t mounts_until_ns;    /* monotonic: they are waited for */
	bool mapped_asked, mapped_here;
	size_t mapped_next;

	/* Its record. */
	bool putting, dirty, urgent, unkept;
	uint64_t version, putting_version; /* grows with each change */
	int64_t put_ns;			   /* monotonic */
};

struct schedule;
struct gentle;

struct demand {
	struct demand_scan *scans; /* the newest first */
	unsigned count;
	uint64_t last_id;
	struct event *pump, *tick;
	struct demand_answer *answers; /* owed to clients (demandcli.c) */
	struct demand_request *early;  /* asked before START */
	struct demand_paths homes;     /* directories of users */
	struct schedule *schedule;
	struct gentle *gentle;
};

/* demand.c */
struct demand_scan *demand_find(const struct scand *s, uint64_t id);
struct demand_scan *demand_add(struct scand *s, uint64_t id); /* a new one, waiting; NULL: no memory */
void demand_remove(struct scand *s, struct demand_scan *d);
bool demand_is_over(const struct demand_scan *d);
/* NULL: it stays as it was; else an error for the client. */
const char *demand_control(struct demand_scan *d, Amp__CliScanControl__What what);
/* Takes schedule over (NULL: a client's). NULL: *why says why not. */
struct demand_scan *demand_start(struct scand *s, Amp__CliScanStart__Kind kind, struct demand_paths *paths,
				 bool one_file_system, const char **why);
void demand_later(struct scand *s); /* the pump runs soon */
const char *demand_kind_name(unsigned kind);
const char *demand_state_name(enum demand_state state);
const char *demand_scan_kind_name(Amp__CliScanStart__Kind kind);
int64_t demand_worked_ns(const struct demand_scan *d);

/* demandtask.c: which paths a scan walks */
int demand_tasks(struct demand_scan *d); /* 0, or -1: d->error says why */
const struct filesystem *demand_filesystem(const struct scand *s, const char *path);
/* Adds a copy. 0, or -1. */
int demand_paths_add(struct demand_paths *p, const char *path, size_t n);
void demand_paths_sort(struct demand_paths *p); /* each once */
void demand_paths_free(struct demand_paths *p);
bool demand_paths_equal(const struct demand_paths *a, const struct demand_paths *b);
size_t demand_paths_bytes(const struct demand_paths *p); /* in a record */
/* As a path is kept: absolute, nothing doubled. NULL: it is none. */
char *demand_path_clean(const uint8_t *path, size_t n);
/* What a flash scan walks, beside what is in d->mapped already. 0, or -1: no memory. */
int demand_flash(struct demand_scan *d);
int demand_homes(struct demand *dm, const char *passwd); /* before the drop */
/* The walk came to a mount there: if ampmon has not told of it yet, it is waited for a moment. */
void demand_mount_met(struct demand_scan *d, const char *path);
bool demand_mounts_known(const struct demand_scan *d);
/* Watched file systems below what was asked for that no task has. 1: there are tasks more now; 0. */
int demand_late_tasks(struct demand_scan *d);
uint64_t demand_expected(const struct demand_scan *d);

/* demandlist.c: counting */
void demand_count(struct demand_scan *d, const struct occurrence *o);
void demand_count_odd(struct demand_scan *d, unsigned kind, const char *path);
/* Known by its path until the next checkpoint: counted once. */
void demand_threat(struct demand_scan *d, const struct occurrence *o, const char *detail);
bool demand_is_known(struct demand_scan *d, const struct occurrence *o);
void demand_checkpoint(struct demand_scan *d); /* all is concluded up to here */
void demand_rollback(struct demand_scan *d);   /* to the last checkpoint */
void demand_list_free(struct demand_scan *d);
uint64_t demand_path_hash(const char *path);

/* demandkeep.c: records */
#define DEMAND_PATHS_BYTES 10000U /* of a request; of its tasks: */
#define DEMAND_TASKS_BYTES 18000U
#define DEMAND_AT_BYTES	   8192U
void demand_changed(struct demand_scan *d, bool urgent); /* it is to be kept */
void demand_keep_pump(struct demand_scan *d);
void demand_forget(struct demand_scan *d);
/* Packed, in *out (malloc'd); 0: no memory. */
size_t demand_pack(const struct demand_scan *d, uint8_t **out);

/* demandcli.c: rows of status.c's table */
int demand_cli(struct amp_channel *ch, struct amp_message *m, void *arg);
void demand_cli_began(struct scand *s); /* START: answers what was asked before */
/* That version of it is on disk, or could not be (error: an errno). */
void demand_answer(struct demand_scan *d, uint64_t version, int error);
void demand_answers_free(struct demand *dm);

/* schedule.c: scans that the policy wants at times */
struct schedule_rule {
	Amp__CliScanStart__Kind kind;
	uint8_t weekdays; /* bit 0: Sunday */
	unsigned minute;  /* of the day, local time */
};
/* 0, or -1: no such form. */
int schedule_parse(const char *text, struct schedule_rule *r);
/* Is it due after `from` and up to `to` (realtime)? *day: its local day, YYYYMMDD. */
bool schedule_due(const struct schedule_rule *r, int64_t from_ns, int64_t to_ns, uint32_t *day);
int schedule_init(struct scand *s); /* before the drop: it reads the time zone */
void schedule_free(struct scand *s);
void schedule_policy_changed(struct scand *s);
void schedule_began(struct scand *s);

/* gentle.c: load and share of the processors */
int gentle_init(struct scand *s); /* before the drop */
void gentle_free(struct scand *s);
bool gentle_may_go_on(struct scand *s);

/* walk.c: walks of scans on demand */
struct walk_end {
	const char *error; /* ""; else the walk could not be done */
	uint64_t fsid;	   /* of the path; 0: not told */
	uint64_t asked;	   /* on which it was taken to be; 0: on none that is watched */
	uint64_t unreadable, too_deep, directories;
};
/* fs NULL: the walker goes by names, and reads. resume may be NULL. NULL: no walker or no memory now. */
struct walk *walk_demand(struct scand *s, struct demand_scan *d, const char *path, const char *resume,
			 const struct filesystem *fs);
bool walk_demand_by_path(const struct walk *w);
/* Nothing of it is counted any more. What nobody has begun to read is dropped by walks_drop(). */
void walk_cancel(struct scand *s, struct walk *w);
bool walks_drop(struct scand *s); /* true: there are such walks */
void walk_go(struct scand *s, struct walk *w);
void walks_forget_scan(struct scand *s, const struct demand_scan *d);
/* What it calls. */
void demand_entered(struct demand_scan *d,
		    const char *directory); /* something was found there; NULL: unknown */
void demand_marked(struct scand *s, struct demand_scan *d, const char *path, uint64_t directories);
void demand_walked(struct scand *s, struct demand_scan *d, const struct walk_end *end);
void demand_walker_died(struct scand *s, struct demand_scan *d);

#endif
