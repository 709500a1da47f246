/*
 * tests/fuzz/tables.h - a dispatch row for every message type there is.
 *
 * Owns: the list that fuzz targets and the corpus maker share. Rows are looser
 * than any process's own table: what passes here must still be harmless.
 * Must not own: handlers.
 */
#ifndef AMP_FUZZ_TABLES_H
#define AMP_FUZZ_TABLES_H

#include "channel.h"

#include "proto/cli.pb-c.h"
#include "proto/control.pb-c.h"
#include "proto/engine.pb-c.h"
#include "proto/event.pb-c.h"
#include "proto/quarantine.pb-c.h"
#include "proto/read.pb-c.h"

#define FUZZ_LARGE (AMP_MSG_MAX - sizeof(struct amp_wire_header))
#define FUZZ_ROW(TYPE, name, fds, bits)                                                                      \
	{                                                                                                    \
		.type = AMP_MSG_##TYPE, .descriptor = &amp__##name##__descriptor, .max_length = FUZZ_LARGE,  \
		.max_fds = (fds), .states = (bits)                                                           \
	}

static const struct amp_dispatch fuzz_rows[] = {
	FUZZ_ROW(CONF, conf, 0, 1),
	FUZZ_ROW(READY, ready, 0, 1),
	FUZZ_ROW(LINK, link, 1, 6),
	FUZZ_ROW(START, start, 0, 2),
	FUZZ_ROW(PING, ping, 0, 6),
	FUZZ_ROW(PONG, pong, 0, 6),
	FUZZ_ROW(LOG_FILE, log_file, 1, 6),
	FUZZ_ROW(STOP, stop, 0, 6),
	FUZZ_ROW(FAULT, fault, 0, 0),
	FUZZ_ROW(PEER_HOSTILE, peer_hostile, 0, 0),
	FUZZ_ROW(SOURCE, source, 1, 0),
	FUZZ_ROW(BUFFERS, buffers, 1, 0),
	FUZZ_ROW(FILESYSTEM, file_system, 0, 0),
	FUZZ_ROW(FILESYSTEM_GONE, filesystem_gone, 0, 0),
	FUZZ_ROW(OWN_DIRECTORY, own_directory, 0, 0),
	FUZZ_ROW(POLICY_BEGIN, policy_begin, 0, 0),
	FUZZ_ROW(POLICY_ENTRIES, policy_entries, 0, 0),
	FUZZ_ROW(POLICY_END, policy_end, 0, 0),
	FUZZ_ROW(POLICY_ACK, policy_ack, 0, 0),
	FUZZ_ROW(REPAIR, repair, 0, 0),
	FUZZ_ROW(REPAIR_STATE, repair_state, 0, 0),
	FUZZ_ROW(REPAIR_WANTED, repair_wanted, 0, 0),
	FUZZ_ROW(RUNNING, running, 0, 0),
	FUZZ_ROW(KILL, kill, 0, 0),
	FUZZ_ROW(KILLED, killed, 0, 0),
	FUZZ_ROW(CONCLUDED, concluded, 0, 0),
	FUZZ_ROW(SCAN_STATE, scan_state, 0, 0),
	FUZZ_ROW(EVENTS_FILE, events_file, 2, 0),
	FUZZ_ROW(RELOAD, reload, 0, 0),
	FUZZ_ROW(FOUNDATION, foundation, 0, 0),
	FUZZ_ROW(KEEP, keep, 0, 0),
	FUZZ_ROW(KEPT, kept, 0, 0),
	FUZZ_ROW(KEEPS, keeps, 0, 0),
	FUZZ_ROW(MAPPED, mapped, 0, 0),
	FUZZ_ROW(MAPPED_FILES, mapped_files, 0, 0),
	FUZZ_ROW(READ, read, AMP_MSG_MAX_FDS, 0),
	FUZZ_ROW(READ_DONE, read_done, AMP_MSG_MAX_FDS, 0),
	FUZZ_ROW(WALK, walk, 0, 0),
	FUZZ_ROW(WALK_CREDIT, walk_credit, 0, 0),
	FUZZ_ROW(WALK_ENTRIES, walk_entries, AMP_MSG_MAX_FDS, 0),
	FUZZ_ROW(WALK_DONE, walk_done, 0, 0),
	FUZZ_ROW(WALK_CANCEL, walk_cancel, 0, 0),
	FUZZ_ROW(WALK_MARK, walk_mark, 0, 0),
	FUZZ_ROW(WALK_GO, walk_go, 0, 0),
	FUZZ_ROW(EVENT, event, 0, 0),
	FUZZ_ROW(EVENT_ACK, event_ack, 0, 0),
	FUZZ_ROW(CLI_STATUS, cli_status, 0, 0),
	FUZZ_ROW(CLI_STATUS_REPLY, cli_status_reply, 0, 0),
	FUZZ_ROW(CLI_POSTURE, cli_posture, 0, 0),
	FUZZ_ROW(CLI_POSTURE_REPLY, cli_posture_reply, 0, 0),
	FUZZ_ROW(CLI_POLICY, cli_policy, 0, 0),
	FUZZ_ROW(CLI_POLICY_REPLY, cli_policy_reply, 0, 0),
	FUZZ_ROW(CLI_POLICY_USE, cli_policy_use, 0, 0),
	FUZZ_ROW(CLI_POLICY_USE_REPLY, cli_policy_use_reply, 0, 0),
	FUZZ_ROW(CLI_RULES, cli_rules, 0, 0),
	FUZZ_ROW(CLI_RULES_REPLY, cli_rules_reply, 0, 0),
	FUZZ_ROW(CLI_HISTORY, cli_history, 0, 0),
	FUZZ_ROW(CLI_HISTORY_REPLY, cli_history_reply, 0, 0),
	FUZZ_ROW(CLI_QUARANTINE, cli_quarantine, 0, 0),
	FUZZ_ROW(CLI_QUARANTINE_REPLY, cli_quarantine_reply, 0, 0),
	FUZZ_ROW(CLI_RESTORE, cli_restore, 0, 0),
	FUZZ_ROW(CLI_RESTORE_REPLY, cli_restore_reply, 0, 0),
	FUZZ_ROW(CLI_DELETE, cli_delete, 0, 0),
	FUZZ_ROW(CLI_DELETE_REPLY, cli_delete_reply, 0, 0),
	FUZZ_ROW(CLI_REVOKE, cli_revoke, 0, 0),
	FUZZ_ROW(CLI_REVOKE_REPLY, cli_revoke_reply, 0, 0),
	FUZZ_ROW(CLI_SCAN_START, cli_scan_start, 0, 0),
	FUZZ_ROW(CLI_SCAN_START_REPLY, cli_scan_start_reply, 0, 0),
	FUZZ_ROW(CLI_SCAN_LIST, cli_scan_list, 0, 0),
	FUZZ_ROW(CLI_SCAN_LIST_REPLY, cli_scan_list_reply, 0, 0),
	FUZZ_ROW(CLI_SCAN_CONTROL, cli_scan_control, 0, 0),
	FUZZ_ROW(CLI_SCAN_CONTROL_REPLY, cli_scan_control_reply, 0, 0),
	FUZZ_ROW(CLI_SCAN_FILES, cli_scan_files, 0, 0),
	FUZZ_ROW(CLI_SCAN_FILES_REPLY, cli_scan_files_reply, 0, 0),
	FUZZ_ROW(CLI_DEFINITIONS, cli_definitions, 0, 0),
	FUZZ_ROW(CLI_DEFINITIONS_REPLY, cli_definitions_reply, 0, 0),
	FUZZ_ROW(CLI_BRAKE, cli_brake, 0, 0),
	FUZZ_ROW(CLI_BRAKE_REPLY, cli_brake_reply, 0, 0),
	FUZZ_ROW(CLI_BRAKE_RELEASE, cli_brake_release, 0, 0),
	FUZZ_ROW(CLI_BRAKE_RELEASE_REPLY, cli_brake_release_reply, 0, 0),
	FUZZ_ROW(CLI_ERROR, cli_error, 0, 0),
	FUZZ_ROW(TAKE, take, 1, 0),
	FUZZ_ROW(TAKE_ACK, take_ack, 0, 0),
	FUZZ_ROW(OPEN, open, 0, 0),
	FUZZ_ROW(OPENED, opened, 2, 0),
	FUZZ_ROW(KILL_AGAIN, kill_again, 0, 0),
	FUZZ_ROW(KILLED_AGAIN, killed_again, 0, 0),
	FUZZ_ROW(JUDGE_AGAIN, judge_again, 0, 0),
	FUZZ_ROW(ALLOW, allow, 0, 0),
	FUZZ_ROW(ALLOW_ACK, allow_ack, 0, 0),
	FUZZ_ROW(HANDS, hands, 0, 0),
	FUZZ_ROW(ENGINE_STATE, engine_state, 0, 0),
	FUZZ_ROW(SPAWN, spawn, 0, 0),
	FUZZ_ROW(WORKER, worker, 1, 0),
	FUZZ_ROW(WORKER_GONE, worker_gone, 0, 0),
	FUZZ_ROW(KILL_WORKER, kill_worker, 0, 0),
	FUZZ_ROW(SCAN, scan, 1, 0),
	FUZZ_ROW(SCAN_VERDICT, scan_verdict, 0, 0),
};
#define FUZZ_ROWS (sizeof(fuzz_rows) / sizeof(fuzz_rows[0]))

/* In front of the datagram in an input of fuzz_message. */
#define FUZZ_MESSAGE_PREFIX 2 /* state bits, number of descriptors */
/* In front of each datagram in an input of fuzz_cli. */
#define FUZZ_CLI_PREFIX 3 /* length, low byte first; number of descriptors */

#endif
