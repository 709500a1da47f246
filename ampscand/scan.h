/*
 * ampscand/scan.h - what engine.c, workers.c, scan.c, turns.c and witness.c
 * share: workers, scans, and who calls whom.
 *
 *   scan.c -> turns.c (whose turn) -> workers.c -> scan.c (answers) -> witness.c -> judge
 *
 * Private to these five.
 */
#ifndef AMPSCAND_SCAN_H
#define AMPSCAND_SCAN_H

#include "scand.h"

#include "proto/engine.pb-c.h"

#define OPINIONS_MAX 3U
#define SAMPLE	     64U		  /* one clean word in so many is looked at by another worker too */
#define WORKER_FILES 256U		  /* then it is retired */
#define WORKER_BYTES (64ULL << 20)	  /* of copies: likewise; one file may be larger */
#define WORKERS_MAX  256U		  /* that ampengine may tell of */
#define LEAVE_NS     (5 * AMP_NS_PER_SEC) /* from the end of a worker's pair to WORKER_GONE */
#define GRACE_NS     (2 * AMP_NS_PER_SEC) /* an engine that went may be back by then */

/* What a worker called clean: looked at again when its word is void. */
struct judged_file {
	struct judged_file *next;
	struct amp_fileid file;
	char *path; /* NULL: not known */
};

enum worker_state {
	WORKER_FRESH, /* never used */
	WORKER_IDLE,
	WORKER_BUSY,
	WORKER_LEAVING, /* its pair is closed, it is not reaped yet */
	WORKER_GONE	/* kept while a case rests on its word */
};

/* Who ended its pair. */
enum worker_end {
	END_NONE,
	END_RETIRED,
	END_KILLED, /* it took too long: no doubt of its other words */
	END_LIAR,   /* it broke the protocol, or disagreed: its words are void already */
	END_LOST    /* it did */
};

struct worker {
	struct worker *next;
	struct scand *scand;
	uint64_t serial;     /* never used again */
	uint64_t generation; /* of its signatures, ours; 0: not those in use */
	uint64_t wire_serial, wire_generation;
	struct amp_channel *channel;
	enum worker_state state;
	enum worker_end end;
	bool killed;   /* asked for, at least */
	bool for_root; /* once it is used */
	unsigned files;
	uint64_t given; /* bytes of copies, all of which it may have kept */
	unsigned cases; /* not decided, in which its word counts */
	struct scan *scan;
	int64_t since_ns;    /* in this state */
	int64_t deadline_ns; /* BUSY, LEAVING; 0: told */
	struct judged_file *judged;
	unsigned noted; /* of them */
};

struct opinion {
	struct worker *worker;
	enum content_result result;
	char *name; /* as of a struct content */
};

/* Who may take it. */
enum scan_need {
	NEED_ANY,
	NEED_OTHER, /* whose word of it is not known */
	NEED_FRESH  /* never used before */
};

/* Content that waits for a worker, or that one has. */
struct scan {
	struct cache_node node;	  /* of scans.by_sha */
	struct scan *next, *prev; /* in its queue, while no worker has it */
	bool queued;
	uint64_t serial; /* id of its SCAN */
	uint8_t sha256[AMP_SHA256_SIZE];
	int snapshot;
	uint64_t size;
	struct copy_hold hold;
	bool for_root, demand;
	enum scan_need need;
	struct job *jobs; /* that wait for it */
	struct worker *worker;
	unsigned failures, interrupted, links_lost;
	struct opinion opinion[OPINIONS_MAX];
	unsigned opinions;
};

struct queue {
	struct scan *first, *last;
};

/* What some copies take. */
struct copy_use {
	uint64_t bytes[2], asked[2]; /* small, large; of them, not there yet */
	size_t copies, copies_asked;
};

/* Of files. Others than root are known while they have copies, or used more than their part. */
struct owner {
	struct owner *next; /* others: who used less comes first */
	uid_t uid;
	struct copy_use use;   /* others */
	struct queue queue[2]; /* of events, of scans on demand */
	int64_t used_ns;       /* others: time of workers, and what was given for the time before they came */
};

/* Zeroed: nothing waits. */
struct turns {
	struct owner root, *others;
	bool others_next;
	int64_t used_ns; /* by that one of the others who was served last, or the most of any such */
};

/* scan.c's. */
struct scans {
	struct cache by_sha;
	struct turns turns;
	uint64_t serial;
	struct copy_use all, of_class[2], of_demand; /* others' files, root's */
	int64_t read_ns; /* monotonic: a reading for a copy ended, or the first one began */
	bool away;	 /* the engine is not there, and work waits for it a little */
	struct event *timer;
};

/* The link to ampengine and what came over it. */
struct engine {
	struct amp_channel *channel; /* NULL: there is none now */
	unsigned link_generation;
	int64_t lost_ns;	 /* as of a reader */
	Amp__EngineState *state; /* as it came over this link; NULL: nothing yet */
	uint64_t generation;	 /* ours, of the signatures in use or last in use; 0: never any */
	uint8_t *sets;		 /* what they were, as one record */
	size_t sets_size;
	int64_t missed_ns;	/* realtime; 0: nothing */
	int64_t missed_told_ns; /* to ampmon, lest it goes with us */
	int64_t trouble_ns;	/* monotonic: the fault was raised; 0: it is not */
	struct worker *workers;
	uint64_t serial;	       /* of the last worker */
	uint64_t asked, came;	       /* workers; what did not come in time is not awaited any more */
	int64_t asked_ns[WORKERS_MAX]; /* when each was, by its number */
	unsigned may_come;	       /* those that are late with them */
	bool none_came;		       /* in time, of the last that was awaited */
	int64_t looked_ns;	       /* content waited then, and more could be at work; 0: it does not */
	int64_t waited_ns;	       /* so long, since a worker took something */
	int64_t waited_on_ns;	       /* of that, since it said that it is ready */
	bool starved;		       /* no worker takes anything: the lists alone judge until one comes */
	int64_t starved_trouble_ns;    /* trouble_ns as it was raised for that; 0: one serves */
	struct event *timer;	       /* of deadlines, while there are any */
	uint64_t scans, deaths;
	unsigned sample; /* one clean word in so many is looked at by another; 0: none */
};

/* engine.c */
void engine_trouble(struct scand *s, const char *what); /* the fault */
void engine_tick_later(struct scand *s);		/* workers_tick() is called soon */
void engine_starved(struct scand *s, bool accuse);	/* nothing it has takes what waits */
void engine_revived(struct scand *s);			/* a worker came */
void engine_served(struct scand *s);			/* it answered */
bool engine_says_ready(const struct scand *s);		/* starved or not */

/* workers.c */
unsigned workers_max(const struct scand *s);
/* How many more may be begun with at once, were there workers: of root's files or others', of this owner. */
unsigned workers_left(const struct scand *s, bool root, bool demand);
unsigned workers_left_for(const struct scand *s, const struct owner *o);
/* One that may take it now; NULL. */
struct worker *workers_find(struct scand *s, const struct scan *c);
void workers_send(struct worker *w, struct scan *c);
/* Fresh ones are wanted for so many scans; makes room for one if there is none. */
void workers_want(struct scand *s, unsigned waiting);
/* What it had in hand is nobody's again, and its owner has used the time. NULL: nothing. */
struct scan *worker_take_back(struct worker *w);
void worker_retire(struct worker *w);
void worker_kill(struct worker *w, enum worker_end end);
void worker_put_case(struct worker *w);			     /* a case no longer rests on its word */
int workers_came(struct scand *s, struct amp_message *m);    /* WORKER; -1: breaks the protocol */
int workers_gone(struct scand *s, const Amp__WorkerGone *g); /* WORKER_GONE, likewise */
void workers_signatures_changed(struct scand *s);	     /* others are in use now */
void workers_rest(struct scand *s);	       /* every 10 s: those that have had nothing to do */
void workers_free(struct scand *s);	       /* the link ended, or all ends */
void workers_tick(struct scand *s);	       /* deadlines */
unsigned workers_count(const struct scand *s); /* alive */

/* scan.c */
void scans_used(struct scand *s, const struct scan *c, int64_t ns); /* a worker had it so long */
/* -1: that is no answer to what it was asked. */
int scans_answered(struct scand *s, struct worker *w, uint64_t id, const Amp__ScanVerdict *v);
void scans_worker_failed(struct scand *s, struct scan *c, const char *why);
void scans_interrupted(struct scand *s, struct scan *c); /* its worker was killed by somebody else */
void scans_link_lost(struct scand *s);			 /* with all workers */
void scans_engine_changed(struct scand *s);
struct cache_node *scans_oldest(const struct scand *s); /* of all; follow ->newer */
/* Before all others of its owner. */
void scans_again(struct scand *s, struct scan *c, enum scan_need need);
/* Its end: what is known now goes to all jobs that wait. */
void scans_finish(struct scand *s, struct scan *c, enum content_result result, uint64_t generation,
		  uint64_t worker, const char *name);

/* turns.c */
/* NULL: he has nothing here. Not for root. */
struct owner *turns_find(const struct turns *t, uid_t uid);
struct owner *turns_get(struct turns *t, uid_t uid);	       /* NULL: no memory */
void turns_put(struct turns *t, struct owner *o);	       /* he has no copies any more, perhaps */
void turns_used(struct turns *t, struct owner *o, int64_t ns); /* a worker was his for so long */
void turns_push(struct turns *t, struct scan *c, bool front);
void turns_pull(struct turns *t, struct scan *c); /* not queued: nothing */
/* Gives one content to a worker. false: there is none that may be. */
bool turns_serve(struct scand *s, struct turns *t, bool demand);
/* How many workers what waits could have in hand beside those that are busy. */
unsigned turns_waiting(struct scand *s, const struct turns *t);
struct scan *turns_any(const struct turns *t); /* that waits; NULL: nothing does */
void turns_free(struct turns *t);	       /* no scan is left */

/* witness.c */
/* A word more; decides the case or asks for another witness. */
void witness_says(struct scand *s, struct scan *c, struct worker *w, enum content_result result,
		  const char *name);
void witness_drop(struct scan *c); /* all words of it */
/* What it called clean is judged again. */
void witness_void(struct scand *s, struct worker *w);
void witness_note(struct scan *c, struct worker *w); /* the files, for that */
void witness_forget(struct worker *w);

#endif
