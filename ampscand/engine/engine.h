/*
 * ampscand/engine/engine.h - the room: which sets of signatures are loaded, which is in
 * use, and whose the workers are.
 *
 * Owns: the struct that the room's files share. The room itself never runs libclamav on
 * anything: zygotes do, and may crash or hang over it. Must not own: what is scanned.
 */
#ifndef AMPENGINE_ENGINE_H
#define AMPENGINE_ENGINE_H

#include "channel.h"
#include "drop.h"
#include "room.h"
#include "zygote.h"

enum zygote_state {
	STATE_LOADING,
	STATE_IN_USE,
	STATE_LEAVING, /* no new workers; it ends when its last one is gone */
	STATE_DEAD     /* its end was seen; it and its workers are being buried */
};

struct told_set {
	char *path;
	int64_t time_ns;
	uint32_t version;
	uint64_t signatures;
};

struct engine;

struct zygote {
	struct zygote *next;
	struct engine *engine;
	enum zygote_state state;
	uint64_t number, generation, fingerprint, signatures;
	int64_t loaded_ns;  /* realtime */
	int64_t since_ns;   /* in this state */
	pid_t pid;	    /* 0: reaped */
	pid_t group;	    /* its process group: it, and all that it forked */
	int status;	    /* then */
	int64_t failing_ns; /* since when it makes no worker; 0: it does, or was not asked */
	int fd;		    /* -1: closed */
	struct event *readable;
	int pidfd; /* others may have its end of fd */
	struct event *died;
	bool answered; /* loaded or refused */
	bool killed;   /* by us */
	char version[64];
	struct told_set sets[AMP_ENGINE_SETS];
	unsigned set_count;
};

struct fleet_worker {
	uint64_t serial; /* 0: the slot is free */
	struct zygote *zygote;
	pid_t pid;     /* 0: not told yet */
	uint64_t link; /* the link that it was made for */
	int64_t asked_ns;
	bool announced; /* there */
	bool reaped;	/* by the room */
	int status;
};

struct engine {
	struct amp_room *room;
	struct event_base *base;
	struct engine_dirs dirs;
	struct amp_drop_mount mounts[ENGINE_DIRS + ENGINE_SLOTS];
	char slot_options[128];
	bool reload_after;
	unsigned workers_max;

	/* room.c */
	struct amp_channel *scand;
	uint64_t link;

	/* watch.c */
	int inotify;
	struct event *changed, *quiet;
	int64_t changing_since;
	bool lacking; /* a directory was not there at the start, or is another now */

	/* sets.c */
	struct zygote *zygotes, *in_use, *loading;
	uint64_t numbers, generations;
	bool wanted; /* a load is to begin as soon as it may */
	uint64_t fingerprint, refused_fingerprint;
	char refused[ADAPTER_TEXT + 256];
	char fault[ADAPTER_TEXT + 256]; /* as ampmon was told */
	unsigned failures;		/* of zygotes, one after the other */
	int64_t not_before_ns;
	struct event *go, *bury, *overdue;
	int64_t load_ns, hurry_ns; /* a load may last so long, and with another set wanted; 0: as usual */
	bool hurried;		   /* one was given up for another: that has its time */
	char odd[ADAPTER_TEXT];	   /* what in the directories is not to be opened; "": nothing */

	/* fleet.c */
	struct fleet_worker workers[ENGINE_ALIVE]; /* by slot */
	bool dirty[ENGINE_ALIVE];
	uint64_t serials;
	unsigned wanted_workers;
	struct event *again;
};

int engine_main(void);

/* room.c */
void engine_tell_state(struct engine *e);
/* Of the current link. 0, or -1: it is not there. */
int engine_tell(struct engine *e, uint16_t type, const ProtobufCMessage *body, int fd);

/* watch.c: what is in the directories */
int watch_open(struct engine *e); /* before the drop */
int watch_start(struct engine *e);
/* Of all that counts: names, sizes, times, modes. *files is how many; odd[ADAPTER_TEXT]: what libclamav
 * would open and is no file, or "". */
uint64_t watch_look(const struct engine *e, unsigned *files, char *odd);

/* sets.c: zygotes and which of them is in use */
int sets_start(struct engine *e);
void sets_look(struct engine *e, bool insist);
bool sets_coming(const struct engine *e); /* one is being loaded, or will be */
/* 0; or -1: the zygote is given up. */
int sets_ask(struct zygote *z, enum zygote_op op, unsigned slot, uint64_t serial);
/* It does not do its work: ended, and another loads the same. */
void sets_give_up(struct zygote *z, const char *why);
bool sets_is_zygote(const struct engine *e, pid_t pid);
void sets_go(struct engine *e);

/* fleet.c: workers, from ampscand's wish to the word that they are gone */
int fleet_start(struct engine *e);
unsigned fleet_limit(const struct engine *e);
void fleet_spawn(struct engine *e, unsigned count);
void fleet_kill(struct engine *e, uint64_t serial);
void fleet_pump(struct engine *e);
void fleet_link_ended(struct engine *e); /* its workers are nobody's */
/* Said by a zygote; fd is taken over. 0, or -1: that cannot be. */
int fleet_heard(struct zygote *z, const struct zygote_said *s, int fd);
unsigned fleet_of(const struct engine *e, const struct zygote *z);
/* Those of a dead zygote are the room's children: reaped by it, and buried when all are gone. */
void fleet_reaped(struct engine *e, pid_t pid, int status);
void fleet_bury(struct engine *e, const struct zygote *z);

#endif
