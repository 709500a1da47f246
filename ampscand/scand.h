/*
 * ampscand/scand.h - what the files of this folder share: the state of the
 * scanner, its jobs, and who calls whom.
 *
 *   source -> intake -> job -> readers (ampread) -> judge -> act -> outbox
 *                                                             |-> ampmon (kill)
 *                                                             \-> take (ampquard)
 *
 * Private to ampscand/.
 */
#ifndef AMPSCAND_SCAND_H
#define AMPSCAND_SCAND_H

#include "buffers.h"
#include "cache.h"
#include "channel.h"
#include "contents.h"
#include "filesystems.h"
#include "outbox.h"
#include "room.h"
#include "rules.h"
#include "source.h"
#include "verdicts.h"
#include "who.h"

#include "proto/quarantine.pb-c.h"
#include "proto/read.pb-c.h"

#define SCAND_OCCURRENCES_MAX 20000U /* events in hand before reading stops */
#define SCAND_NAMES_MAX	      256U   /* ... of one file */
#define SCAND_READERS	      AMP_ROLE_MAX_INSTANCES
/* Instances of ampread, from the end: the last is for scans on demand (it walks and reads for
 * them), the one before walks for repairs, the others read for events. */
#define SCAND_READER_DEMAND (amp_role(AMP_ROLE_READ)->instances - 1)
#define SCAND_READER_WALKER (amp_role(AMP_ROLE_READ)->instances - 2)
#define SCAND_WALKS_MAX	    256U  /* moved directories waiting */
#define SCAND_EMPTIES	    8U	  /* reports: 80 s */
#define SCAND_FDS_MAX	    4096U /* descriptors of events in hand, likewise */
#define SCAND_LARGE_READER  3U	  /* large files that one reader has in hand */
#define SCAND_LARGE_OWNER   3U	  /* ... and those of one owner in all readers */
/* Copies for the engine are memory: what is larger than one of them may be counts as too large,
 * whatever the policy says. In all they take 64 MiB (files up to SCAND_COPY_QUICK) and 128 MiB;
 * who may have how much of that, scan.c says. */
#define SCAND_COPY_QUICK (1ULL << 20) /* up to that a file's first reading brings one */
#define SCAND_COPY_MAX	 (128ULL << 20)

/* Why a file is judged, beyond enum event_bits. */
enum cause_bits {
	CAUSE_REPAIR = 1 << 8,	/* found by a walk of a repair */
	CAUSE_RUNNING = 1 << 9, /* a process runs it */
	CAUSE_MOVE = 1 << 10,	/* found below a moved directory */
	CAUSE_DEMAND = 1 << 11	/* a scan on demand looks at it */
};
#define CAUSE_CONTENT (EVENT_WRITE | EVENT_CREATE | EVENT_RENAME)

struct scand;
struct job;
struct walk;
struct content;
struct scan;
struct owner;

/* How an event ended; a scan on demand counts them. */
enum outcome {
	OUTCOME_NONE, /* not looked at: its file system is gone, no memory */
	OUTCOME_CLEAN,
	OUTCOME_THREAT,
	OUTCOME_NOT_SCANNED, /* on no list, and there is no engine */
	OUTCOME_TOO_LARGE,
	OUTCOME_PARTIAL,
	OUTCOME_UNSCANNABLE,
	OUTCOME_UNREADABLE,
	OUTCOME_VANISHED,
	OUTCOME_SPECIAL,
	OUTCOME_EXCLUDED, /* or out of scope */
	OUTCOME_COUNT
};

/* Why content is convicted. */
struct conviction {
	const char *name; /* of the list's entry or of the signature; may be empty */
	bool by_engine;	  /* else the administrator's own list says so */
};

/* One event in hand: a name that a file was given, or a process that runs it. */
struct occurrence {
	struct occurrence *next;
	struct job *job; /* NULL once it is acted upon */
	unsigned cause;
	struct event_slot slot;
	int64_t time_ns;  /* realtime; of an event: it was read */
	int64_t since_ns; /* it did not happen before */
	struct who *who;
	struct walk *walk; /* found by it; credit goes back */
	int fd;		   /* descriptor source; owned; -1 */
	bool after;	   /* came while the file was read: needs the next reading */
	bool path_unresolved;
	bool path_asked;
	enum outcome outcome; /* once it is known */
	bool cached;	      /* ... without reading the file */
	bool counted;	      /* as a threat, by its scan on demand */
	uint64_t size;	      /* of the file, once known */
	char *path;	      /* host path; NULL: not known yet */
	const char *name;     /* behind the struct */
	size_t name_size;
	struct amp_fileid *directory; /* behind the struct; NULL: none */
};

enum job_state {
	JOB_PATHS,    /* waits for a directory's path, or is new */
	JOB_SETTLING, /* made or linked: waits 100 ms for the close */
	JOB_QUEUED,   /* waits for a reader */
	JOB_READING,  /* a reader has it */
	JOB_SCANNING, /* its content is in scan.c's hands */
	JOB_DEFERRED  /* waits for its timer */
};

/* What a queued job is read for, in the order in which they are served. */
enum job_lane {
	LANE_EXECUTED, /* for a copy, of what is executed */
	LANE_COPY,     /* for a copy: no list knows its content, the engine must */
	LANE_FIRST,    /* for its hash; with a copy, if there is room for one */
	LANES
};

/* Of the memory for copies: what one takes, there or asked for (scan.c). */
struct copy_hold {
	uint64_t size;	     /* 0: nothing */
	struct owner *owner; /* NULL: root, or nobody knows who */
	bool root, demand, asked;
};

/* What a reading brought. */
struct reading {
	uint8_t sha256[AMP_SHA256_SIZE];
	struct amp_identity identity;
	bool script;
	bool archive; /* begins like one */
	bool cached;  /* nothing was read: by the verdict cache */
	int snapshot; /* a sealed copy; owned; -1: none */
	size_t line_size;
	char line[256]; /* of a script: what follows "#!" */
};

/* One inode being judged. */
struct job {
	struct cache_node node; /* of scand.jobs, by id */
	struct scand *scand;
	struct amp_fileid *id; /* behind the struct */
	enum job_state state;
	struct occurrence *first, *last;
	struct job *queue_next, *queue_prev; /* bucket queue, or settling list */
	uid_t bucket;
	int64_t settle_ns;   /* monotonic, JOB_SETTLING */
	struct event *timer; /* JOB_DEFERRED */
	bool dirty;	     /* content may have changed since the reading began */
	bool limited;	     /* this reading was asked with a limit (cool-down) */
	bool large;	     /* found larger than JUDGE_QUICK: waits its turn among those */
	bool confirm;	     /* only whether what is cached still holds is asked */
	bool copy;	     /* its next reading is of use with a copy only */
	enum job_lane lane;  /* JOB_QUEUED */
	unsigned busy, changed, deaths, unreadable, hidden;
	unsigned resolving;	 /* directories asked for */
	unsigned count;		 /* occurrences */
	int64_t left_ns;	 /* realtime of the first event not kept; 0: none (job_leave) */
	int reader;		 /* JOB_READING */
	bool demand;		 /* in the queues of what only scans on demand wait for */
	bool apart;		 /* of what a walk read itself: no event joins it, nothing is read again */
	uint64_t size;		 /* large: of the file, when last seen */
	uint64_t copy_max;	 /* the reading may bring a copy up to that; 0: none */
	struct copy_hold hold;	 /* ... and has memory for it (scan.c) */
	unsigned uncopied;	 /* readings that did not bring it */
	struct reading *content; /* JOB_SCANNING */
	struct scan *scan;	 /* JOB_SCANNING: scan.c's */
	struct job *scan_next;
};

struct reader {
	struct amp_channel *channel; /* NULL: it is being replaced */
	unsigned generation;
	int64_t lost_ns; /* it closed its end, monotonic; 0: it did not */
	unsigned outstanding;
	unsigned large;		 /* of them */
	struct pending *pending; /* what it owes an answer for (readers.c) */
	Amp__ReadItem **batch;
	unsigned batch_count;
	int batch_fds[AMP_MSG_MAX_FDS];
	unsigned batch_fd_count;
};

/* What an act wants taken away; waits in the queue of take.c until that is committed. */
struct take {
	struct take *next, *prev;
	bool waiting; /* in the queue */
	bool on_wire, with_fd;
	bool suspect; /* was on the wire when ampquard died */
	unsigned deaths;
};

struct bucket {
	struct bucket *next;
	uid_t uid;
	struct job *first, *last;
};

struct scand {
	struct amp_room *room;
	struct event_base *base;
	int proc; /* O_PATH descriptor of /proc */
	struct buffers *buffers;
	bool inherited; /* a predecessor's events are to be replayed */
	bool started;
	struct source_ops source_ops;
	struct source *handle_source, *fd_source;
	bool handle_continued;
	struct filesystems filesystems;
	struct verdicts verdicts;
	struct contents contents;
	struct who_table *who;
	struct rules *rules, *next_rules;
	struct restored *restored;
	size_t next_rules_count;

	struct cache jobs;
	uint64_t serial;
	size_t occurrences;
	size_t event_fds; /* descriptors they hold */
	struct job *settling, *settling_last;
	struct event *settle_timer, *house_timer, *pump_event;
	/* Round robin: the first is next. [1][]: of large files, by their owner; [][1]: of what only
	 * scans on demand wait for. */
	struct bucket *buckets[LANES][2][2];
	struct reader readers[SCAND_READERS];
	unsigned next_reader;
	struct cache resolves; /* directories to ask for or asked (resolve.c) */
	struct resolve *unasked, *unasked_last;
	struct cooldown *cooldowns; /* ring (judge.c) */
	struct walk *walks;
	unsigned walk_count;
	uint64_t walk_serial;

	struct amp_channel *cloud;
	int64_t cloud_lost_ns; /* as of a reader */
	struct amp_outbox *outbox;
	struct act *acts, *acts_last; /* the oldest first */
	struct cache acts_by_serial;
	struct quard *quard;
	struct takes *takes;
	struct opens *opens;
	struct engine *engine;
	struct scans *scans;
	struct foundation *foundation;
	struct brake *brake;
	struct keep *keep;
	struct demand *demand;
	char *bin_dir;	   /* the suite's own programs */
	bool engine_there; /* by configuration */
	struct trail *trails;
	struct own_directory *own;
	int64_t empties[SCAND_EMPTIES]; /* of reports: as of scand_seen_empty() */
	unsigned next_empty;
};

/* A file that a walk found. */
struct walk_found {
	const struct amp_fileid *file;
	const struct amp_fileid *directory; /* NULL: there are no handles, the walker read the file */
	const char *name;
	size_t name_size;
	const char *directory_path; /* NULL: it has no host path */
	struct amp_identity identity;
	const uint8_t *sha256; /* without a directory: what was read; NULL: it could not be */
	bool script;
	bool archive; /* begins like one */
	int snapshot; /* of what was read, the callee's; -1: none */
};

/* intake.c: from events to jobs */
void intake_ops(struct scand *s, struct source_ops *ops); /* what sources call */
void intake_running(struct scand *s, pid_t pid);
void intake_walk_entry(struct scand *s, struct walk *w, const struct walk_found *found);
void intake_replay(struct scand *s);
/* As a repair would find it; path NULL: not known. */
void intake_again(struct scand *s, const struct amp_fileid *file, const char *path);
int intake_own_directory(struct scand *s, const Amp__OwnDirectory *own);
void intake_free(struct scand *s);
bool intake_is_full(const struct scand *s); /* reading stops */
/* Exec events of a pid after that of `script`, newest state first; fills ids. */
size_t intake_trail(struct scand *s, pid_t pid, const struct amp_fileid *script, struct amp_fileid *ids,
		    size_t max);

/* job.c: life of jobs and occurrences */
int jobs_init(struct scand *s);
void jobs_free(struct scand *s);
struct job *job_get(struct scand *s, const struct amp_fileid *id, uid_t bucket);
struct job *job_find(struct scand *s, const struct amp_fileid *id);
struct occurrence *occurrence_new(const struct amp_fileid *dir, const char *name, size_t name_size);
void job_add(struct job *j, struct occurrence *o);
/* False: its path or its process is not to be judged (counted). */
bool occurrence_in_scope(struct scand *s, struct occurrence *o, const struct filesystem *fs);
/* Takes it out of its job (which stays). */
void occurrence_detach(struct occurrence *o);
/* Its event needs nothing more: slot, credit and memory are given back. */
void occurrence_conclude(struct scand *s, struct occurrence *o);
/* Of the descriptor source, of the first event that has one; -1: none. */
int job_descriptor(const struct job *j);
/* False: no descriptor and no handle leads to the file. */
bool job_can_be_read(const struct job *j);
void job_conclude(struct job *j); /* with all its occurrences */
void job_advance(struct job *j);  /* does what can be done next */
/* An event of that time is not kept: the job has all it may have. */
void job_leave(struct job *j, int64_t time_ns);
/* What was not kept matters: a repair looks for it. */
void job_look_for_left(struct job *j);
void job_settle(struct job *j);	  /* waits 100 ms */
void job_unsettle(struct job *j); /* the close came */
struct job *job_next(struct scand *s, enum job_lane lane, bool large, bool demand);
/* What waits for a copy is read without one, once: its content, or what the lists say, may be
 * another by now. */
void job_look_again(struct job *j);
/* A job of its own for what was read already; NULL: no memory. */
struct job *job_apart(struct scand *s, const struct amp_fileid *id);
bool job_is_demand(const struct job *j);      /* nothing but scans on demand waits for it */
bool job_owner_is_known(const struct job *j); /* it is j->bucket, not only who wrote the file */
/* Its content is in others' hands: what comes now may speak of another one. */
bool job_is_in_hand(const struct job *j);
void job_defer(struct job *j, unsigned ms);
void jobs_house_keeping(struct scand *s); /* parks what takes long */
void fileid_copy(struct amp_fileid *to, const struct amp_fileid *from);

/* resolve.c: paths of directories */
/* True: o->path is there (or can never be); false: asked for, job_advance() will be called. */
bool resolve_path(struct occurrence *o);
/* It is in this directory; NULL: nobody can tell where. */
#define RESOLVE_PATH 4096 /* a link of /proc is no longer */
/* What the kernel calls the file of a descriptor, here. 0, or -1: it has no path. */
int resolve_fd(const struct scand *s, int fd, char path[RESOLVE_PATH]);
void resolve_known(struct scand *s, struct occurrence *o, const char *directory);
void resolve_done(struct scand *s, struct resolve *r, const Amp__ReadResult *res);
void resolve_again(struct scand *s, struct resolve *r); /* its reader died */
void resolve_pump(struct scand *s);			/* asks readers with room */
void resolve_forget(struct scand *s, struct job *j);	/* j is leaving */
int resolve_init(struct scand *s);
void resolve_free(struct scand *s);

/* readers.c: links to ampread */
void readers_link(struct scand *s, unsigned instance, unsigned generation, int fd);
struct read_wish {
	Amp__ReadItem__Want want;
	uint64_t limit;
	int fd;				    /* -1: by handle */
	uint64_t snapshot_max, archive_max; /* HASH: of a copy that comes with it; 0: none */
	bool demand;			    /* of the reader for scans on demand */
};
/* Asks a reader; the answer (or its death) finds owner: a struct resolve of a path, a struct
 * job of a hash or an identity, a struct open_item of what is to be opened. 0, or -1: none has
 * room now. */
int readers_ask_for(struct scand *s, void *owner, const struct read_wish *w, const struct filesystem *fs,
		    const struct amp_fileid *id, int *reader);
/* The same of readers for events, without a copy. */
int readers_ask(struct scand *s, void *owner, Amp__ReadItem__Want want, const struct filesystem *fs,
		const struct amp_fileid *id, uint64_t limit, int fd, int *reader);
bool readers_have_room(const struct scand *s);
bool readers_have_room_for(const struct scand *s, bool large, bool demand);
unsigned readers_large_of(const struct scand *s, uid_t owner); /* large files in hand, for events */
/* What a reader passed is a copy that nobody can change any more, of that size. */
bool readers_snapshot_is_sealed(int fd, uint64_t size);
void readers_flush(struct scand *s);
void readers_free(struct scand *s);
#define SCAND_LINK_LEFT "it closed its link and lives on"
/* Tells ampmon of those that closed their link and live on. */
void readers_look(struct scand *s);
/* A link ended at lost_ns (monotonic, 0: it did not) and its peer has had the time to die. */
bool scand_link_is_left(int64_t lost_ns);
struct amp_channel *readers_walker(struct scand *s, int *reader);
struct amp_channel *readers_demand_walker(struct scand *s, int *reader); /* of scans on demand */

/* judge.c and decide.c: results and decisions */
void judge_result(struct scand *s, struct job *j, const Amp__ReadResult *r, int snapshot); /* taken over */
void judge_reader_died(struct job *j);
void judge_content(struct job *j, struct reading *r); /* r->snapshot is taken over */
/* It could not be read, and nobody tries again. */
void judge_unread(struct scand *s, struct occurrence *o, const struct amp_fileid *file, const char *why);
/* Its content is unknown and no copy of it came: it is read again for one. */
void judge_read_again(struct job *j, const struct reading *r);
void judge_wants_copy(struct job *j, const struct amp_identity *id); /* its next reading is for one */
/* What is larger is too large for the engine. */
uint64_t judge_scan_limit(const struct scand *s, bool archive);
/* A scan of its content came to an end; c: what is known of it now (NULL: there was no engine). */
void judge_scanned(struct scand *s, struct job *j, const struct content *c);
/* Of an occurrence of no job, that a walk found and read. Takes o and the snapshot over. */
void judge_found(struct scand *s, struct occurrence *o, const struct walk_found *found);
/* What is known of this content holds, and is no conviction: its execution needs nothing. */
bool judge_is_settled(struct scand *s, const struct verdict *v);
/* Decides by the cache. False: it must be read all the same. */
bool judge_cached(struct job *j, const struct verdict *v);
/* False: the file may have been changed without an event since. */
bool judge_is_firm(struct scand *s, const struct amp_fileid *file, const struct verdict *v);
/* Gives up what waits longest for a time that others choose, `n` events of it, and records that. */
void judge_relieve(struct scand *s, size_t n, bool slots);
bool judge_waits_long(const struct job *j);
void judge_dispatch(struct scand *s);				      /* queued jobs to readers with room */
uint64_t judge_limit(struct scand *s, const struct amp_fileid *id);   /* 0: none; else cooling down */
int64_t judge_cooldown(struct scand *s, const struct amp_fileid *id); /* ns to wait */
void judge_policy_changed(struct scand *s);
/* These, 32 bytes each, are no longer allowed for having been restored. */
void judge_revoked(struct scand *s, const ProtobufCBinaryData *sha256, size_t n);
/* Found under Audit, and not killed by Protect because the brake held: as if it ran now. */
void judge_left(struct scand *s);
void judge_free(struct scand *s);

/* engine.c: the link to ampengine, its state, its workers */
enum engine_state {
	ENGINE_OFF,	/* by configuration or policy */
	ENGINE_EMPTY,	/* no signatures: the lists alone decide, and a fault says so */
	ENGINE_LOADING, /* it will come: what it missed is repaired then */
	ENGINE_READY
};
int engine_init(struct scand *s);
void engine_free(struct scand *s);
void engine_link(struct scand *s, unsigned generation, int fd);
void engine_look(struct scand *s);    /* as readers_look() */
void engine_changed(struct scand *s); /* what engine_state() says may be another */
enum engine_state engine_state(const struct scand *s);
uint64_t engine_generation(const struct scand *s); /* of the signatures in use; 0: none */
/* An event was decided without it while it was LOADING: a repair from then on once it is READY. */
void engine_missed(struct scand *s, int64_t time_ns);
int64_t engine_missed_since(const struct scand *s); /* realtime; 0: nothing */
void engine_tell_missed(struct scand *s);	    /* to ampmon, if it does not know yet */
void engine_missed_told(struct scand *s, int64_t since);

/* Answer to AMP_MSG_CLI_DEFINITIONS. */
int engine_definitions(struct amp_channel *ch, struct amp_message *m, void *arg);

/* scan.c: content in workers' hands; two witnesses, voiding, sampling */
int scans_init(struct scand *s);
void scans_free(struct scand *s);
/* Takes the snapshot over. judge_scanned() is called later, never from here. owner: of the file.
 * 0; 1: there is no room for it, -1: no memory (the snapshot is closed then). */
int scans_ask(struct scand *s, struct job *j, const uint8_t *sha256, int snapshot, uid_t owner, bool demand);
void scans_forget(struct scand *s, struct job *j); /* it leaves */
void scans_hurry(struct scand *s, struct job *j);  /* an event waits for it now */
void scans_pump(struct scand *s);
enum copy_room {
	COPY_ROOM,   /* a reading may bring a copy; or none would: there is no engine to scan it */
	COPY_SOON,   /* there is room once readings end, which does not take long */
	COPY_NO_ROOM /* until the engine is done with others */
};
/* known: he is the file's owner, not just who wrote it; which files are root's counts. */
enum copy_room scans_room_for(const struct scand *s, uid_t owner, bool known, bool large, bool demand);
/* For who asks for copies without a job, of owners that nobody knows. */
bool scans_may_ask(const struct scand *s, bool large, bool demand);
void scans_reserve(struct scand *s, struct job *j, uint64_t size); /* for j's reading */
void scans_release(struct scand *s, struct job *j);
/* Bytes that copies of small files may still take. */
uint64_t scans_room(const struct scand *s);

/* foundation.c: what is never acted upon because a signature says so */
int foundation_init(struct scand *s);
void foundation_free(struct scand *s);
int foundation_paths(struct scand *s, const Amp__Foundation *f);
/* The file, by inode, is one of them now. path: the event's, or NULL. */
bool foundation_has(struct scand *s, const struct amp_identity *file, const char *path);
/* A signature convicts one: the fault. path: for people, or NULL. */
void foundation_convicted(struct scand *s, const char *signature, const char *path);
void foundation_look(struct scand *s); /* are those other signatures by now? Every 10 s */

/* brake.c: a signature that convicts many old files is held */
int brake_init(struct scand *s);
void brake_free(struct scand *s);
enum brake_answer {
	BRAKE_OFF,
	BRAKE_HOLDS,	    /* it is not to be acted upon, and is remembered for the release */
	BRAKE_HOLDS_KEEPING /* ... and act_kept() is called once that is on disk */
};
/* Counts the conviction. path may be NULL; act: for act_kept(), or 0: the file is not to be taken
 * anyway, and judge_left() will find it. */
enum brake_answer brake_holds(struct scand *s, const char *signature, const struct amp_fileid *file,
			      const struct amp_identity *identity, const char *path, uint64_t act);
/* What keep_put() kept: "brake" or "held-N". 0, or -1: it makes no sense and is left. */
int brake_restore(struct scand *s, const char *name, const uint8_t *record, size_t size);
int brake_cli_show(struct amp_channel *ch, struct amp_message *m, void *arg); /* brakecli.c */
int brake_cli_release(struct amp_channel *ch, struct amp_message *m, void *arg);

/* keep.c: records that outlive ampscand, kept by ampmon */
int keep_init(struct scand *s);
void keep_free(struct scand *s);
int keep_kept(struct scand *s, uint64_t id, const Amp__Kept *k); /* -1: nobody asked */
int keep_keeps(struct scand *s, const Amp__Keeps *k);		 /* before START: hands it to who put it */
/* done (may be NULL) is called once it is on disk, or with an errno. The newest of a name wins.
 * size 0: forget. 0, or -1. */
int keep_put(struct scand *s, const char *name, const uint8_t *record, size_t size,
	     void (*done)(struct scand *s, int error, void *arg), void *arg);

/* demand*.c: scans on demand */
int demand_init(struct scand *s);
void demand_free(struct scand *s);
int demand_restore(struct scand *s, const char *name, const uint8_t *record, size_t size);
void demand_began(struct scand *s); /* START: what was going on goes on */
void demand_policy_changed(struct scand *s);
void demand_filesystem_came(struct scand *s);
/* Processors' time that files of such scans cost: reading, hashing, the engine. */
void demand_worked(struct scand *s, uint64_t ns);
/* For SCAN_STATE: what is being scanned, what was last. */
void demand_texts(const struct scand *s, char *scan, size_t scan_size, char *last, size_t last_size);
/* An act on a threat begins: it may be gone when that part of the tree is looked at again. */
void demand_convicted(struct scand *s, struct occurrence *o, const char *signature);
void demand_concluded(struct scand *s, struct walk *w, const struct occurrence *o);
bool demand_may_go_on(struct scand *s); /* load, CPU share, pause: files of such a scan may be read now */
int demand_mapped(struct scand *s, uint64_t id, const Amp__MappedFiles *f);

/* act.c: what follows a conviction */
int acts_init(struct scand *s);
void act_convict(struct scand *s, struct occurrence *o, const struct amp_fileid *id,
		 const struct conviction *why, const uint8_t *sha256, const struct amp_identity *identity,
		 bool script, const char *script_line, size_t script_line_size);
void act_unjudged(struct scand *s, struct occurrence *o, const struct amp_fileid *id, const char *type,
		  const char *why);
bool act_is_in_hand(const struct scand *s, const struct amp_fileid *file);
void act_kept(struct scand *s, uint64_t act); /* what the brake remembers of it is on disk */
int act_killed(struct scand *s, uint64_t id, const Amp__Killed *k);
/* ampquard's question: quard_killed_again() answers it. 0, or -1: it breaks the protocol. */
int act_kill_again(struct scand *s, uint64_t question, unsigned generation, const Amp__KillAgain *k);
void act_committed(uint64_t token, bool aside, void *arg);
/* For take.c. The take that is sent with this id; NULL: none. */
struct take *act_find_take(struct scand *s, uint64_t id);
int act_send_take(struct take *t, struct amp_channel *ch); /* as amp_channel_send() */
void act_taken(struct take *t, bool aside);		   /* it left the queue */
bool act_take_has_fd(const struct take *t);
void acts_park(struct scand *s);
size_t acts_count(const struct scand *s);
void act_free(struct scand *s);

/* take.c: what waits for ampquard to commit it */
int takes_init(struct scand *s);
void takes_free(struct scand *s);
void take_put(struct scand *s, struct take *t);
/* As amp_outbox_attach(). */
void takes_attach(struct scand *s, struct amp_channel *ch, bool died);
int takes_acked(struct scand *s, const Amp__TakeAck *ack); /* -1: breaks the protocol */
void takes_pump(struct scand *s);

/* open.c: descriptors that ampquard asks for */
struct open_item;
int opens_init(struct scand *s);
void opens_free(struct scand *s);
int opens_ask(struct scand *s, uint64_t question, const Amp__Open *o); /* -1: breaks the protocol */
void opens_done(struct scand *s, struct open_item *i, const Amp__ReadResult *r, int fd);
void opens_again(struct scand *s, struct open_item *i); /* its reader died */
void opens_drop(struct scand *s);			/* nobody waits for the answers any more */
void opens_pump(struct scand *s);

/* quard.c: the link to ampquard */
int quard_init(struct scand *s);
void quard_free(struct scand *s);
void quard_link(struct scand *s, unsigned generation, pid_t pid, int fd);
struct amp_channel *quard_channel(const struct scand *s); /* NULL: there is none now */
/* Of an event: it was ampquard; alive: the process lived when the event was read. */
bool quard_is_process(const struct scand *s, pid_t pid, bool alive);
void quard_killed_again(struct scand *s, uint64_t question, unsigned generation);
/* True: what was restored is known. Else then() is called once it is, or after a while. */
bool quard_wait_for_list(struct scand *s, void (*then)(struct scand *s));
void quard_look(struct scand *s); /* as readers_look() */

/* walk.c: repairs and moved directories */
int walk_repair(struct scand *s, const Amp__Repair *r);
unsigned walks_of_moves(const struct scand *s); /* directories that moved and are not judged yet */
void walk_moved(struct scand *s, const struct file_event *ev, struct who *who);
void walk_entry_concluded(struct scand *s, struct occurrence *o); /* o->walk is its walk */
void walk_reader_gone(struct scand *s, int reader);
void walk_filesystem_gone(struct scand *s, uint64_t fsid);
int walk_entries(struct scand *s, int reader, struct amp_message *m);
int walk_mark(struct scand *s, int reader, const Amp__WalkMark *m);
int walk_done(struct scand *s, int reader, const Amp__WalkDone *d);
void walks_pump(struct scand *s);
void walks_credit(struct scand *s); /* there may be room for copies now */
struct who *walk_who(const struct walk *w);
unsigned walk_cause(const struct walk *w);
struct demand_scan *walk_scan(const struct walk *w); /* on demand; NULL: not, or it is gone */
bool walk_is_cancelled(const struct walk *w);	     /* its entries are not counted any more */
bool walk_is_repair(const struct walk *w);
void walks_park(struct scand *s);
void walks_free(struct scand *s);

/* park.c: events that take long, as records */
int park_occurrence(struct scand *s, struct occurrence *o, const struct amp_fileid *file);
struct occurrence *park_restore(const uint8_t *data, size_t n, struct amp_fileid *file,
				uint8_t *is_directory);

/* status.c: rows of the CLI socket */
extern const struct amp_dispatch scand_cli[];
#define AMP_SCAND_CLI_ROWS 9

/* room.c */
int scand_main(void);
void scand_repair_wanted(struct scand *s, uint64_t fsid, int64_t since_ns, const char *reason,
			 bool chain_broken);
void scand_tell_state(struct scand *s);
void scand_tell_concluded(struct scand *s); /* up to which moment everything is judged */
/* Realtime at which the kernel had nothing more for us; 0: not known. What is read from then on happened
 * later. */
int64_t scand_seen_empty(const struct scand *s);
void scand_pump_later(struct scand *s); /* pump runs once this batch is handled */

#endif
