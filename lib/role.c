/*
 * lib/role.c - the role table itself (see role.h).
 */
#include "role.h"

#include <stdio.h>
#include <string.h>

#define CAP(name) (UINT64_C(1) << (name))
#define KIB	  UINT64_C(1024)
#define MIB	  (UINT64_C(1024) * KIB)

static const struct amp_role roles[AMP_ROLE_COUNT] = {
	/* Root in effect: no row of walls, so it is kept small instead. */
	[AMP_ROLE_MON] =
		{
			.id = AMP_ROLE_MON,
			.name = "ampmon",
			.user = "root",
			.instances = 1,
			.cli_socket = true,
			.capabilities = ~UINT64_C(0),
			.view = AMP_VIEW_HOST,
			.nofile = 1024,
		},
	/* Reads the kernel's events; may look at links of /proc, opens nothing. */
	[AMP_ROLE_SCAN] =
		{
			.id = AMP_ROLE_SCAN,
			.name = "ampscand",
			.user = "amp-scan",
			.instances = 1,
			.cli_socket = true,
			.links = {AMP_ROLE_READ, AMP_ROLE_CLOUD, AMP_ROLE_QUARD, AMP_ROLE_ENGINE},
			.capabilities = CAP(CAP_SYS_PTRACE),
			.view = AMP_VIEW_HOST,
			.own_network = true,
			.syscalls = AMP_SYS_LOOP | AMP_SYS_WHO | AMP_SYS_ACCEPT,
			.nofile = 8192,	       /* pidfds and, in fd mode, files of events in hand */
			.file_size = 16 * MIB, /* its log */
			.start_order = 5,
		},
	/* Opens and hashes any file read-only. The last but one instance walks for
	 * repairs, the last is for scans on demand (scand.h). */
	[AMP_ROLE_READ] =
		{
			.id = AMP_ROLE_READ,
			.name = "ampread",
			.user = "amp-read",
			.instances = 4,
			.links = {AMP_ROLE_SCAN},
			.capabilities = CAP(CAP_DAC_READ_SEARCH) | CAP(CAP_FOWNER), /* O_NOATIME */
			.view = AMP_VIEW_HOST,
			.own_network = true,
			.landlock = true,
			.syscalls = AMP_SYS_LOOP | AMP_SYS_READ_FILE | AMP_SYS_SNAPSHOT,
			.nofile = 512,
			.file_size = 1024 * MIB, /* its log; a memfd is limited by it as well */
			.idle_last = 1,
			.start_order = 3,
		},
	/* Owns events.db. */
	[AMP_ROLE_CLOUD] =
		{
			.id = AMP_ROLE_CLOUD,
			.name = "ampcloudd",
			.user = "amp-cloud",
			.instances = 1,
			.cli_socket = true,
			.links = {AMP_ROLE_SCAN, AMP_ROLE_QUARD},
			.view = AMP_VIEW_PIVOTED,
			/* Until the network half exists nothing of it is reachable: no
			 * socket call is in its filter, so the namespace is empty too. */
			.own_network = true,
			.landlock = true,
			.syscalls = AMP_SYS_LOOP | AMP_SYS_DATABASE | AMP_SYS_ACCEPT | AMP_SYS_EVENTS_FILE,
			.nofile = 256,
			.file_size = 1024 * MIB, /* events.db */
			.start_order = 1,
		},
	/* Takes convicted files away, keeps them, gives them back. */
	[AMP_ROLE_QUARD] =
		{
			.id = AMP_ROLE_QUARD,
			.name = "ampquard",
			.user = "amp-quard",
			.instances = 1,
			.cli_socket = true,
			.links = {AMP_ROLE_SCAN, AMP_ROLE_CLOUD},
			.capabilities = CAP(CAP_DAC_OVERRIDE) | CAP(CAP_FOWNER) | CAP(CAP_CHOWN) |
					CAP(CAP_FSETID) | CAP(CAP_SETFCAP) | CAP(CAP_LINUX_IMMUTABLE),
			.view = AMP_VIEW_HOST,
			.own_network = true,
			.syscalls = AMP_SYS_LOOP | AMP_SYS_DATABASE | AMP_SYS_ACCEPT | AMP_SYS_QUARANTINE,
			.nofile = 512,
			.file_size = 1024 * 1024 * MIB, /* what is taken or given back */
			.start_order = 2,
		},
	/* Loads signatures and forks zygotes and workers; libclamav is in these only. */
	[AMP_ROLE_ENGINE] =
		{
			.id = AMP_ROLE_ENGINE,
			.name = "ampengine",
			.user = "amp-engine",
			.instances = 1,
			.links = {AMP_ROLE_SCAN},
			.view = AMP_VIEW_PIVOTED,
			.own_network = true,
			.syscalls = AMP_SYS_LOOP | AMP_SYS_ENGINE,
			.nofile = 256,
			.file_size = 128 * MIB, /* its log; a member of an archive in a slot */
			.processes = 64,
			.background = true,
			.oom_score_adj = 500, /* what hostile files reach ends before a service does */
			.start_order = 4,
		},
};

const struct amp_role *amp_role(enum amp_role_id id)
{
	if (id <= AMP_ROLE_NONE || id >= AMP_ROLE_COUNT)
		return NULL;
	return &roles[id];
}

const struct amp_role *amp_role_by_name(const char *name)
{
	for (int i = AMP_ROLE_NONE + 1; i < AMP_ROLE_COUNT; i++)
		if (strcmp(roles[i].name, name) == 0)
			return &roles[i];
	return NULL;
}

bool amp_role_linked(enum amp_role_id a, enum amp_role_id b)
{
	const struct amp_role *row = amp_role(a);

	if (!row || !amp_role(b))
		return false;
	for (size_t i = 0; i < AMP_ROLE_MAX_LINKS && row->links[i] != AMP_ROLE_NONE; i++)
		if (row->links[i] == b)
			return true;
	return false;
}

const char *amp_role_label(enum amp_role_id id, unsigned instance, char *buf, size_t size)
{
	const struct amp_role *row = amp_role(id);

	if (instance > 0)
		snprintf(buf, size, "%s/%u", row ? row->name : "unknown", instance);
	else
		snprintf(buf, size, "%s", row ? row->name : "unknown");
	return buf;
}
