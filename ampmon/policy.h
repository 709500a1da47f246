/*
 * ampmon/policy.h - the installed policies and the one in force.
 * Owns: reading policy_dir, checking every list entry by line, sending a
 * policy to ampscand, knowing which epoch ampscand has acknowledged.
 * Must not own: decisions.
 */
#ifndef AMPMON_POLICY_H
#define AMPMON_POLICY_H

#include "channel.h"
#include "conf.h"
#include "proto/cli.pb-c.h"
#include "proto/control.pb-c.h"

struct mon_policy; /* one loaded policy, immutable */

/* id: [A-Za-z0-9_-]{1,64}. NULL and err if there is none such or the .conf is broken;
 * bad list entries only add problems. */
struct mon_policy *mon_policy_load(const struct mon_conf *c, const char *id, char *err, size_t size);
void mon_policy_free(struct mon_policy *p);

const char *mon_policy_id(const struct mon_policy *p);
const char *mon_policy_name(const struct mon_policy *p);
unsigned mon_policy_serial(const struct mon_policy *p);
bool mon_policy_protects(const struct mon_policy *p);
/* True if sha is in its allowed list. */
bool mon_policy_allows(const struct mon_policy *p, const uint8_t sha256[32]);
bool mon_policy_engine(const struct mon_policy *p);
/* "file:line: what; remedy", NULL-terminated. */
char **mon_policy_problems(const struct mon_policy *p);
/* True if sha is in its blocked list (and in no allowed one): ampmon checks a Kill against it. */
bool mon_policy_blocks(const struct mon_policy *p, const uint8_t sha256[32]);

/* Queues BEGIN, ENTRIES.., END on ampscand's control channel. 0 or -1 (channel's errno). */
int mon_policy_send(const struct mon_policy *p, uint64_t epoch, struct amp_channel *scand);
/*
 * The same in portions, for lists beyond the channel's hard bound (about 130 000
 * hashes): *next is 0 at first; 1: the channel is full, call again when it is
 * writable; 0: END is queued; -1: channel's errno.
 */
int mon_policy_send_some(const struct mon_policy *p, uint64_t epoch, struct amp_channel *scand, size_t *next);

/* Fills a wire form whose strings live as long as p; in_force set by the caller. */
void mon_policy_info(const struct mon_policy *p, Amp__CliPolicyInfo *info);

/* Ids of all *.conf in policy_dir, sorted, NULL-terminated; free each and the list. */
char **mon_policy_list(const struct mon_conf *c);

#endif
