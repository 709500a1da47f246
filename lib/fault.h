/*
 * lib/fault.h - faults: numbers, severities and remedies in words.
 * Owns: the table of every fault there is (data, lib/fault.c). Who raises one
 * sends AMP_MSG_FAULT to ampmon, which keeps the list of those that stand.
 * Numbers are never used again for something else.
 */
#ifndef AMP_FAULT_H
#define AMP_FAULT_H

#include <stddef.h>

enum amp_fault_severity { AMP_FAULT_INFO, AMP_FAULT_WARNING, AMP_FAULT_CRITICAL };

enum amp_fault_number {
	AMP_FAULT_ROOM_THROTTLED = 1, /* dies too often */
	AMP_FAULT_ROOM_SILENT = 2,    /* main loop killed after silence */
	AMP_FAULT_DISK_STALLED = 3,   /* I/O thread stands still */
	AMP_FAULT_PEER_HOSTILE = 4,   /* a room broke the protocol and was replaced */
	AMP_FAULT_EVENTS_LOST = 5,    /* overflow; repair under way */
	AMP_FAULT_REPAIR_FAILED = 6,
	AMP_FAULT_NOT_WATCHED = 7,    /* a local file system cannot be marked */
	AMP_FAULT_CONFIGURATION = 8,  /* refused; the old one stays */
	AMP_FAULT_POLICY_ENTRIES = 9, /* bad entries skipped */
	AMP_FAULT_DATABASE_FULL = 10, /* no space for events.db */
	AMP_FAULT_DATABASE_BROKEN = 11,
	AMP_FAULT_EVENT_SET_ASIDE = 12,	 /* poison message in the durable queue */
	AMP_FAULT_ROOM_USER = 13,	 /* service user missing */
	AMP_FAULT_WALL = 14,		 /* a room's wall could not be built */
	AMP_FAULT_EXCLUSION_UNSAFE = 15, /* others than root can write there */
	AMP_FAULT_LOG_LOST = 16,
	AMP_FAULT_QUARANTINE_FAILED = 17, /* convicted files that could not be taken */
	AMP_FAULT_VAULT = 18,		  /* the vault cannot be used */
	AMP_FAULT_DEFINITIONS = 19,	  /* no signatures, or the newest are refused */
	AMP_FAULT_ENGINE = 20,		  /* the engine fails: workers die, or disagree */
	AMP_FAULT_FOUNDATION = 21,	  /* a signature convicts the machine's foundations */
	AMP_FAULT_BRAKE = 22,		  /* a signature convicts many old files */
	AMP_FAULT_SCAN_FAILED = 23,	  /* a scan on demand could not be done */
	AMP_FAULT_MAX
};

struct amp_fault_info {
	enum amp_fault_number number;
	enum amp_fault_severity severity;
	const char *text;
	const char *remedy;
};

/* Row of a number; NULL if there is none such. */
const struct amp_fault_info *amp_fault_info(unsigned number);
const char *amp_fault_severity_name(enum amp_fault_severity s);

#endif
