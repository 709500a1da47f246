/*
 * ampscand/act.h - what act.c and act_record.c share: an event convicted.
 * Private to the two.
 */
#ifndef AMPSCAND_ACT_H
#define AMPSCAND_ACT_H

#include "scand.h"

#include "proto/event.pb-c.h"

/* What is done about a convicted file, and how its record is called. */
enum act_course {
	ACT_FREELY,	/* as the policy says */
	ACT_FOUNDATION, /* nothing: this machine stands on it */
	ACT_HELD	/* nothing: the brake holds the signature */
};

struct act {
	struct cache_node node; /* of scand.acts_by_serial */
	struct act *next, *prev;
	struct scand *scand;
	uint64_t serial; /* token of its records, id of its kill and its take */
	struct occurrence *event;
	struct amp_fileid file;
	uint8_t sha256[AMP_SHA256_SIZE];
	struct amp_identity identity;
	char detection[256];
	char detection_id[37];
	enum act_course course;
	bool by_engine; /* the detection is a signature's name */
	bool protect;	/* mode when it was decided */
	bool killing;	/* ampmon's answer is awaited */
	bool keeping;	/* the brake remembers its file once that is on disk */
	bool to_take;	/* once the first kill pass is over */
	bool keepers;	/* ampquard has it, or else tells of it */
	struct take take;
	bool asked; /* by ampquard: a kill and nothing else */
	uint64_t question;
	unsigned question_generation;
	unsigned pending; /* records not committed */
	unsigned tries;
	struct event *timer;
	bool script;
	char line[256];
	size_t line_size;
};

bool act_by_process(const struct act *a); /* a process runs it */
/* What its records and its take say. */
const char *act_cause_name(unsigned cause);
void act_fill_process(Amp__Process *p, const struct who *w);

/* act_record.c */
void act_identify(struct act *a); /* sets detection_id; "": no memory */
void act_record_detection(struct act *a);
void act_record_unjudged(struct act *a, const char *type, const char *why);
void act_record_kill(struct act *a, const Amp__KilledProcess *kp);

#endif
