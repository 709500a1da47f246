/*
 * ampquard/quard.h - what the files of this folder share.
 *
 *   event loop:  room.c (links, requests in, effects out), ask.c (ampcli's requests)
 *   I/O thread:  keeper.c (rounds, transactions), waiting.c, say.c, retain.c, taking.c and copy.c (the way of
 * one file into the vault), restore.c (and out of it), list.c, report.c, hands.c (who works on users' files)
 *   processes:   hand.c (that work), one a hand
 *
 * The two meet in jobs only: a request goes in with what it needs, effects
 * come out with what is to be said. What is said about a state is said after
 * that state is committed.
 *
 * Private to ampquard/.
 */
#ifndef AMPQUARD_QUARD_H
#define AMPQUARD_QUARD_H

#include "channel.h"
#include "hand.h"
#include "iothread.h"
#include "layers.h"
#include "names.h"
#include "neutral.h"
#include "store.h"
#include "vault.h"

#include "fault.h"

#include <sys/queue.h>

#define KEEPER_ACTIVE	    16U		     /* files in hand at once */
#define KEEPER_FDS	    64U		     /* descriptors that came with a TAKE */
#define KEEPER_SLICE	    (4ULL << 20)     /* bytes given back a step */
#define KEEPER_CHANGES_MAX  3U		     /* copies of a file that changes under it */
#define KEEPER_RETRY_MAX_NS (300000000000LL) /* a failed one is tried again after so long at most */
#define HANDS_MAX	    8U
#define KEEPER_LOOK_NS	    (5000000000LL)    /* failed ones are looked at so often */
#define KEEPER_PRUNE_NS	    (3600000000000LL) /* and old ones */

struct keeper;
struct taking;
struct hand;
struct hands;
struct restoring;

/* --- what the I/O thread wants done in the loop --- */

/* EFFECT_END: ampquard ends, and a new one begins. */
enum effect_to { EFFECT_SCAND, EFFECT_CLIENT, EFFECT_ERROR, EFFECT_REPORT, EFFECT_FAULT, EFFECT_END };

struct effect {
	STAILQ_ENTRY(effect) link;
	enum effect_to to;
	uint16_t type;
	uint64_t id;		/* of the message; of a report its number */
	uint64_t serial;	/* of the link to ampscand, or of the client; else it is dropped */
	ProtobufCMessage *body; /* owned; NULL for errors and faults */
	/* errors: */
	int code;
	/* faults: */
	enum amp_fault_number fault;
	bool raised;
	char text[400];
};
STAILQ_HEAD(effects, effect);

/* --- requests: what the loop wants done on the I/O thread --- */

struct request;
typedef void request_work(struct keeper *k, struct request *r);

struct request {
	request_work *work;
	uint64_t id, serial;
	ProtobufCMessage *body; /* owned, a copy; may be NULL */
	int fds[2];		/* owned; -1 */
};

request_work keeper_link;   /* serial: of the new link to ampscand; 0: it is gone */
request_work keeper_take;   /* Amp__Take */
request_work keeper_opened; /* Amp__Opened */
request_work keeper_killed;
request_work keeper_allow_ack;
request_work keeper_reported; /* id: the report's number; serial: it was set aside */
request_work list_ask;	      /* Amp__CliQuarantine */
request_work restore_ask;     /* Amp__CliRestore */
request_work keeper_delete;   /* Amp__CliDelete */
request_work keeper_revoke;   /* Amp__CliRevoke */

/* --- keeper.c --- */

struct keeper_config {
	char *data_dir; /* owned */
	char *host_id;	/* owned; for people */
	uint64_t max_size;
	unsigned days;
	unsigned hands; /* processes; 0: what they do is done at once (tests) */
	int log;	/* descriptor of theirs; -1 */
};

struct keeper_fd {
	char id[VAULT_ID_SIZE];
	int fd;
};

/* A TAKE that is not committed yet. */
struct waiting {
	STAILQ_ENTRY(waiting) link;
	uint64_t id, serial;
	Amp__Take *take;
	int fd;	      /* -1 */
	bool entered; /* in the transaction in hand */
};
STAILQ_HEAD(waitings, waiting);

enum taking_step {
	TAKING_BEGIN,
	TAKING_OPEN,	/* waits for the file and the directory of a name */
	TAKING_COPY,	/* content is on its way into the vault */
	TAKING_COPIED,	/* waits for its commit */
	TAKING_NAMES,	/* the next name is to be captured */
	TAKING_NAME,	/* waits for its directory */
	TAKING_EMPTY,	/* names are captured: they go, the inode is emptied if it must be */
	TAKING_RUNNING, /* it could not: it runs. Killed again first */
	TAKING_KILL,	/* harmless: waits for the last kill pass */
	TAKING_OVER,	/* waits for its commit */
	TAKING_HAND,	/* waits for its hand, which does op */
	TAKING_PAUSE	/* tried again soon, without letting go */
};

/* One entry in hand. */
struct taking {
	LIST_ENTRY(taking) link;
	struct entry *entry;
	enum taking_step step, after_pause;
	int64_t due_ns;	 /* monotonic; 0: none */
	uint64_t asked;	 /* id of the message that waits for an answer; 0: none */
	bool committing; /* its transition is in the transaction in hand */
	bool over;
	int file, directory; /* -1 */
	bool layer, nameless, reread;
	bool learned_path;	/* of its first name: committed with the copy */
	bool joined;		/* by a name that came after they were taken, and may be one of them again */
	size_t name;		/* next to capture */
	size_t removed;		/* names, by us */
	size_t captured;	/* names, now */
	uint64_t links;		/* to the inode, before it was emptied */
	uint64_t room;		/* that its copy was promised in the vault */
	uint64_t stored_before; /* by the copy that this one replaces */
	unsigned changes, kills, busy, refused_names;
	struct copy *copy;
	struct hand *hand; /* NULL: none, or it was lost */
	unsigned slot;	   /* there */
	uint32_t op;
	bool answered;
	struct hand_answer answer;
	enum neutral_outcome not_emptied; /* why; NEUTRAL_DONE: it was, or need not be */
	int not_emptied_error;
	char note[512];
};
LIST_HEAD(takings, taking);

struct keeper {
	struct keeper_config config;
	struct amp_iothread *io; /* for steps of the heartbeat only */
	struct store *store;
	struct vault *vault;
	struct layers *layers;
	struct effects effects;	     /* said when this job is over */
	struct effects after_commit; /* said when the transaction in hand is committed */
	struct waitings waiting;
	struct takings active;
	unsigned active_count;
	uint64_t cursor; /* entries up to this number were looked at */
	bool more;	 /* there may be some to look at */
	bool in_transaction;
	bool spoiled;	  /* it cannot be committed */
	bool sync_vault;  /* before the commit */
	bool recovering;  /* the database was lost: what the vault holds is entered anew */
	uint64_t link;	  /* serial of ampscand's; 0: none */
	uint64_t serials; /* ids of OPEN, KILL_AGAIN, ALLOW */
	int64_t look_ns, prune_ns, try_open_ns; /* monotonic: next */
	uint64_t stored;			/* bytes in the vault */
	uint64_t failed;			/* entries seen failed in this pass, for the fault */
	bool fault_failed, fault_vault, fault_aside, reports_loaded;
	char first_failed[300];
	struct keeper_fd fds[KEEPER_FDS];
	struct hands *hands;
	bool ended;	    /* EFFECT_END was said */
	uint64_t *reported; /* reports that ampcloudd has; their rows go with the next commit */
	size_t reported_count, reported_room, reported_entered;
	struct restoring *restoring;
	bool cut_short; /* a restore may have been: restore_conclude() is due */
};

struct keeper *keeper_new(const struct keeper_config *c, struct amp_iothread *io);
void keeper_free(struct keeper *k);
/* Before the I/O thread: its hands, as in hands.c below. */
int keeper_fork(struct keeper *k);
void keeper_be_hand(struct keeper *k);
int keeper_hand_fd(const struct keeper *k, unsigned i);
pid_t keeper_hand_pid(const struct keeper *k, unsigned i);
/* One round of work. True: there is more at once; else *due_ns (monotonic) is when. */
bool keeper_round(struct keeper *k, int64_t *due_ns);
/* Commits what is in hand (at the end of each job). True: it did, and what waited for it can go on. */
bool keeper_settle(struct keeper *k);
/* The database can be used; opens a transaction. */
bool keeper_begin(struct keeper *k);
/* Of a call on the store within it: true if it went well, else the transaction is spoiled. */
bool keeper_did(struct keeper *k, enum amp_db_error error);
bool keeper_ready(const struct keeper *k); /* vault and database are open */

struct effect *effect_new(enum effect_to to);
void effect_free(struct effect *e);
/* body is taken over. Said to ampscand on the link there is now; dropped without one. */
void say_scand(struct keeper *k, uint16_t type, uint64_t id, ProtobufCMessage *body, bool after_commit);
void say_client(struct keeper *k, const struct request *r, uint16_t type, ProtobufCMessage *body,
		bool after_commit);
void say_error(struct keeper *k, const struct request *r, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void say_fault(struct keeper *k, enum amp_fault_number n, bool raised, const char *text);
/* A packed copy of a message, unpacked: owned by the caller. NULL: ENOMEM. */
ProtobufCMessage *message_copy(const ProtobufCMessage *m);

/* The descriptor that came with this entry's TAKE, if there is one (-1): the caller's then. */
int keeper_fd_take(struct keeper *k, const char *entry_id);

/* The vault or its database cannot be used, until it can. */
void vault_fault(struct keeper *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- waiting.c --- */

void waiting_enter(struct keeper *k); /* all that came since the last round, in one transaction */
void waiting_enter_reported(struct keeper *k);
void waiting_committed(struct keeper *k, bool done);
void waiting_reported(struct keeper *k, bool done);
void waiting_drop(struct keeper *k, uint64_t link); /* but those of that link */

/* --- retain.c --- */

void retain_sweep(const char *id, uint64_t bytes, void *keeper); /* of vault_each() */
void retain_totals(struct keeper *k);
void retain_expired(struct keeper *k);
void retain_row(struct keeper *k, struct entry *e); /* of a copied one: as its vault file says */

/* --- say.c has the calls above --- */

void effects_drop(struct effects *list);

/* --- taking.c: one step as far as it goes. --- */

struct taking *taking_new(struct keeper *k, struct entry *e); /* e taken over. NULL: ENOMEM, e freed */
void taking_free(struct keeper *k, struct taking *t);	      /* captured names go back */
bool taking_has(const struct keeper *k, const char *entry_id);
/* True: it can go on at once (in the next round). */
bool taking_run(struct keeper *k, struct taking *t);
/* The transaction with its last transition was (not) committed. */
void taking_committed(struct keeper *k, struct taking *t);
void taking_link_changed(struct taking *t);
/* A further name or detection of that entry was entered. */
void taking_joined(struct keeper *k, const char *entry_id);
bool taking_opened(struct keeper *k, struct taking *t, struct request *r); /* false: it did not ask */
bool taking_killed(struct taking *t, uint64_t id);

/* --- hands.c --- */

struct hands *hands_new(unsigned count, int log); /* NULL: ENOMEM */
/* Starts them: ids are the room's, walls are not sealed. 0, or -1 and errno; 1: this is one of them, and
 * goes on to the same walls, and then to hands_be_one(). */
int hands_fork(struct hands *h);
void hands_be_one(struct hands *h);		    /* does not return in a hand, does nothing elsewhere */
int hands_fd(const struct hands *h, unsigned i);    /* to be read; -1: there is none */
pid_t hands_pid(const struct hands *h, unsigned i); /* 0: there is none */
void hands_free(struct hands *h);

/* A hand for the entry, whose file is that user's. STUCK: it is in the hand that a file of theirs hangs. */
enum hands_got { HANDS_GOT, HANDS_BUSY, HANDS_STUCK };
enum hands_got hands_take(struct hands *h, struct taking *t, uid_t owner);
bool hands_stuck(const struct hands *h, const char *entry_id); /* one hangs in its file */
/* t->hand is asked; t->answered when t->answer came. -1: hands_broken(). */
int hands_ask(struct hands *h, struct taking *t, struct hand_ask *a, int fd);
void hands_let_go(struct hands *h, struct taking *t); /* what was captured goes back */
const uint8_t *hands_data(const struct taking *t); /* of READ: answer.data bytes, not to be believed twice */
void hands_look(struct hands *h);		   /* for answers, and those that do not come */
int64_t hands_due_ns(const struct hands *h);
const char *hands_broken(const struct hands *h); /* why it cannot go on with them; NULL */

/* --- copy.c: content into the vault --- */

struct copy;
enum copy_outcome {
	COPY_GOES_ON,
	COPY_DONE,
	COPY_OTHER, /* it is (no longer) what was convicted; unstable: it changes right now */
	COPY_UNSTABLE,
	COPY_FAILED /* errno */
};
/* fd stays the caller's; its content is not read by it. NULL and errno. */
struct copy *copy_new(struct vault *v, int fd, const struct entry *e);
/* What is to be read next. False: nothing, copy_finish() is due. */
bool copy_wants(const struct copy *c, uint64_t *at, uint64_t *end);
/* What was read there: a hole, then n bytes; neither: it is shorter than it was. */
enum copy_outcome copy_add(struct copy *c, uint64_t hole, const uint8_t *data, size_t n);
enum copy_outcome copy_finish(struct copy *c);
/* After COPY_DONE: what the entry is to know of it (size, stored, owner, ...). */
void copy_result(const struct copy *c, struct entry *e);
void copy_free(struct copy *c);

/* --- restore.c --- */

/* One restore at a time. True: it can go on at once. */
bool restoring_run(struct keeper *k);
bool restoring_has(const struct keeper *k, const char *entry_id);
void restoring_committed(struct keeper *k);
void restoring_ack(struct keeper *k, uint64_t id);
void restoring_link_changed(struct keeper *k);
void restoring_free(struct keeper *k);
int64_t restoring_due_ns(const struct keeper *k);
/* The whole list of restored content to ampscand. */
void restore_tell_all(struct keeper *k);
/* One piece of content to ampscand: allowed, or no longer. The id of the message; 0: no memory. */
uint64_t restore_tell_one(struct keeper *k, const uint8_t *sha256, bool revoke);
/* The row beside the vault file says what is sealed in it. */
bool restore_row_matches(const struct entry *e, const Amp__VaultMeta *m);
void restore_report(struct keeper *k, const struct entry *e, const char *path, size_t path_size);

/* --- conclude.c: restores that a death or a full disk cut short --- */

/* Not while one is in hand. In transactions of its own. */
void restore_conclude(struct keeper *k);

/* --- report.c: events about entries, into the store's list of reports --- */

/* type: see proto/event.proto. t: of which detection; NULL: of the entry's first. */
void report_detection(struct keeper *k, const struct entry *e, const char *detection_id, const char *type,
		      const char *uid_suffix, unsigned severity, const char *detail);
/* threat_detected, by the same uid as ampscand's. */
void report_found(struct keeper *k, const Amp__Take *t);
/* For every detection of the entry: the first was quarantined, the others neutralised. */
void report_done(struct keeper *k, const struct entry *e, const char *detail);
/* To the loop: reports of earlier lives. */
void report_load(struct keeper *k);

/* --- ask.c (the loop): rows of the CLI socket --- */

struct quard;
extern const struct amp_dispatch quard_cli[];
#define QUARD_CLI_ROWS 5

/* --- room.c --- */

int quard_main(void);
/* Hands a request to the I/O thread; body is copied, fds are taken over. 0, or -1
 * ENOMEM (also when too many are in hand: no peer that keeps to the protocol has so many). */
int quard_submit(struct quard *q, request_work *work, uint64_t id, uint64_t serial,
		 const ProtobufCMessage *body, const int fds[2]);
/* The same for a client: -1 EAGAIN if too many of theirs are in hand, so that ampscand's have room. */
int quard_ask(struct quard *q, request_work *work, uint64_t id, uint64_t client,
	      const ProtobufCMessage *body);
/* A client's request takes long: it is told every 2 s until it has its answer. */
void quard_keep_waiting(struct quard *q, uint64_t client, uint64_t id);

#endif
