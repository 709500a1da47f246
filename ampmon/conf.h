/*
 * ampmon/conf.h - the configuration file, parsed once, by ampmon alone.
 * Owns: the table of keys (name, type, default, bounds), the checks, `-n`.
 * Must not own: anything that acts on a value.
 */
#ifndef AMPMON_CONF_H
#define AMPMON_CONF_H

#include "log.h"
#include "role.h"

#include <stdio.h>
#include <sys/types.h>

#define MON_DEFINITIONS_MAX 8U

/* Which directory it is; ino 0: there is none. */
struct mon_dir_id {
	dev_t dev;
	ino_t ino;
};

struct mon_conf {
	char *path; /* of the file itself */
	enum amp_log_level log_level;
	char *log_dir, *run_dir, *bin_dir, *etc_dir, *cloud_dir, *quarantine_dir, *policy_dir;
	char *policy; /* default id */
	char *cli_group;
	char *user[AMP_ROLE_COUNT];
	uint64_t log_max_size;
	unsigned log_keep;
	char **watch; /* canonical, NULL-terminated; [0] NULL: everything local */
	char **filesystem_types;
	bool force_fd_source;
	bool limited_queue;
	unsigned event_buffers;
	unsigned heartbeat_interval, heartbeat_timeout; /* seconds */
	uint64_t history_max_rows;
	uint64_t quarantine_max_size; /* bytes */
	unsigned quarantine_days;
	bool engine;
	char **definitions; /* directories, NULL-terminated, at most MON_DEFINITIONS_MAX */
	/* Of those directories, as they were last looked at. */
	struct mon_dir_id definitions_ids[MON_DEFINITIONS_MAX];
	unsigned engine_workers; /* 0: by the processors */
	uint64_t engine_memory;	 /* bytes that a scan may take */
	bool engine_reload_after;
};

/* Reads and checks path (refused if others than root can write it or its
 * directory). NULL and a sentence in err that names key, line and remedy. */
struct mon_conf *mon_conf_load(const char *path, char *err, size_t size);
/* Which directories these are; ids has one for each, and zeros behind them. stat(2) may wait for a server. */
void mon_conf_look(char *const *dirs, struct mon_dir_id ids[MON_DEFINITIONS_MAX]);
void mon_conf_free(struct mon_conf *c);
void mon_conf_print(const struct mon_conf *c, FILE *out); /* effective values, in the file's form */

/* False: by configuration this room does not exist. */
bool mon_conf_role_wanted(const struct mon_conf *c, enum amp_role_id role);

/* Ids of a row's user; the drop's uid. 0, or -1 with err. Called before start only (NSS). */
int mon_conf_user(const struct mon_conf *c, enum amp_role_id role, uid_t *uid, gid_t *gid, char *err,
		  size_t size);
/* The room's own directory; NULL: it has none. */
char *mon_conf_room_dir(const struct mon_conf *c, enum amp_role_id role);
gid_t mon_conf_cli_group(const struct mon_conf *c); /* (gid_t)-1: none */

#endif
