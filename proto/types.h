/*
 * proto/types.h - the numbers on the wire: header, message types, limits.
 *
 * Owns: the fixed header in front of every message and the number of every
 * message type of every link (docs/protocol.md has the same table in words), and
 * the one name on disk that more than one room knows.
 * Must not own: what is permitted where (each process's dispatch table says
 * that), nor the bodies (one .proto per link beside this file).
 */
#ifndef AMP_PROTO_TYPES_H
#define AMP_PROTO_TYPES_H

#include <stdint.h>

#define AMP_WIRE_VERSION 0xA501U /* magic and version in one: 0xA5, 1 */
#define AMP_MSG_MAX	 65536U	 /* header and body together, bytes */
#define AMP_MSG_MAX_FDS	 16U	 /* what a message may ever carry */

/* And an entry's id: the directory beside a name in which ampquard has it while it takes it away. */
#define AMP_PRIVATE_PREFIX ".amp-quarantine-"

/* In front of every message, host byte order (both ends are one machine). */
struct amp_wire_header {
	uint16_t version; /* AMP_WIRE_VERSION */
	uint16_t type;	  /* enum amp_msg_type */
	uint32_t length;  /* of the body that follows, bytes */
	uint64_t id;	  /* request id; an answer carries the asker's */
};
_Static_assert(sizeof(struct amp_wire_header) == 16, "wire header");

/* High byte: the link (and .proto) a type belongs to. */
enum amp_msg_type {
	/* control.proto: ampmon <-> every room, fd 3 */
	AMP_MSG_CONF = 0x0101,	       /* mon->room: its section */
	AMP_MSG_READY = 0x0102,	       /* room->mon: dropped, looping */
	AMP_MSG_LINK = 0x0103,	       /* mon->room, 1 fd: a peer's new pair */
	AMP_MSG_START = 0x0104,	       /* mon->room: all rooms are ready */
	AMP_MSG_PING = 0x0105,	       /* mon->room */
	AMP_MSG_PONG = 0x0106,	       /* room->mon */
	AMP_MSG_LOG_FILE = 0x0107,     /* mon->room, 1 fd: after rotation */
	AMP_MSG_STOP = 0x0108,	       /* mon->room: leave in order */
	AMP_MSG_FAULT = 0x0109,	       /* room->mon: raise or clear */
	AMP_MSG_PEER_HOSTILE = 0x010a, /* room->mon: replace that peer */
	AMP_MSG_SOURCE = 0x0110,       /* mon->ampscand, 1 fd: a group */
	AMP_MSG_BUFFERS = 0x0111,      /* mon->ampscand, 1 fd: the memfd */
	AMP_MSG_FILESYSTEM = 0x0112,   /* mon->ampscand: one fs, new or changed */
	AMP_MSG_FILESYSTEM_GONE = 0x0113,
	AMP_MSG_OWN_DIRECTORY = 0x0114, /* mon->ampscand: exempt parent */
	AMP_MSG_POLICY_BEGIN = 0x0115,
	AMP_MSG_POLICY_ENTRIES = 0x0116,
	AMP_MSG_POLICY_END = 0x0117,
	AMP_MSG_POLICY_ACK = 0x0118,	/* ampscand->mon: in force */
	AMP_MSG_REPAIR = 0x0119,	/* mon->ampscand */
	AMP_MSG_REPAIR_STATE = 0x011a,	/* ampscand->mon */
	AMP_MSG_REPAIR_WANTED = 0x011b, /* ampscand->mon: overflow, parked full */
	AMP_MSG_RUNNING = 0x011c,	/* mon->ampscand: pids to judge */
	AMP_MSG_KILL = 0x011d,		/* ampscand->mon */
	AMP_MSG_KILLED = 0x011e,	/* mon->ampscand */
	AMP_MSG_CONCLUDED = 0x011f,	/* ampscand->mon: all judged up to */
	AMP_MSG_SCAN_STATE = 0x0120,	/* ampscand->mon: for status lines */
	AMP_MSG_EVENTS_FILE = 0x0121,	/* mon->ampcloudd, 1 or 2 fds: events.json */
	AMP_MSG_RELOAD = 0x0122,	/* mon->ampengine: look at the signatures again */
	AMP_MSG_FOUNDATION = 0x0123,	/* mon->ampscand: what PID 1 runs and maps, the suite */
	AMP_MSG_KEEP = 0x0124,		/* ampscand->mon: a record to be kept over restarts */
	AMP_MSG_KEPT = 0x0125,		/* mon->ampscand: it is on disk */
	AMP_MSG_KEEPS = 0x0126,		/* mon->ampscand, before START: all that is kept */
	AMP_MSG_MAPPED = 0x0127,	/* ampscand->mon: files that processes run and map are wanted */
	AMP_MSG_MAPPED_FILES = 0x0128,	/* mon->ampscand */

	/* read.proto: ampscand <-> ampread */
	AMP_MSG_READ = 0x0201,	       /* scand->read: batch of resolve/hash */
	AMP_MSG_READ_DONE = 0x0202,    /* read->scand: batch of results */
	AMP_MSG_WALK = 0x0203,	       /* scand->read: start or resume a walk */
	AMP_MSG_WALK_CREDIT = 0x0204,  /* scand->read: n more entries wanted */
	AMP_MSG_WALK_ENTRIES = 0x0205, /* read->scand */
	AMP_MSG_WALK_DONE = 0x0206,    /* read->scand */
	AMP_MSG_WALK_CANCEL = 0x0207,
	AMP_MSG_WALK_MARK = 0x0208, /* read->scand: ordered walks, waits for: */
	AMP_MSG_WALK_GO = 0x0209,   /* scand->read */

	/* event.proto: ampscand, ampquard, ampmon -> ampcloudd */
	AMP_MSG_EVENT = 0x0301,
	AMP_MSG_EVENT_ACK = 0x0302,

	/* cli.proto: ampcli <-> each service's socket */
	AMP_MSG_CLI_STATUS = 0x0401, /* every service */
	AMP_MSG_CLI_STATUS_REPLY = 0x0402,
	AMP_MSG_CLI_POSTURE = 0x0403, /* ampmon */
	AMP_MSG_CLI_POSTURE_REPLY = 0x0404,
	AMP_MSG_CLI_POLICY = 0x0405, /* ampmon: show */
	AMP_MSG_CLI_POLICY_REPLY = 0x0406,
	AMP_MSG_CLI_POLICY_USE = 0x0407, /* ampmon: change, root */
	AMP_MSG_CLI_POLICY_USE_REPLY = 0x0408,
	AMP_MSG_CLI_RULES = 0x0409, /* ampscand: lists, exclusions, hits */
	AMP_MSG_CLI_RULES_REPLY = 0x040a,
	AMP_MSG_CLI_HISTORY = 0x040b, /* ampcloudd */
	AMP_MSG_CLI_HISTORY_REPLY = 0x040c,
	AMP_MSG_CLI_QUARANTINE = 0x040d, /* ampquard: list, show */
	AMP_MSG_CLI_QUARANTINE_REPLY = 0x040e,
	AMP_MSG_CLI_RESTORE = 0x040f, /* changes, root */
	AMP_MSG_CLI_RESTORE_REPLY = 0x0410,
	AMP_MSG_CLI_DELETE = 0x0411,
	AMP_MSG_CLI_DELETE_REPLY = 0x0412,
	AMP_MSG_CLI_REVOKE = 0x0413,
	AMP_MSG_CLI_REVOKE_REPLY = 0x0414,
	AMP_MSG_CLI_SCAN_START = 0x0415, /* ampscand: scans on demand; changes: root */
	AMP_MSG_CLI_SCAN_START_REPLY = 0x0416,
	AMP_MSG_CLI_SCAN_LIST = 0x0417,
	AMP_MSG_CLI_SCAN_LIST_REPLY = 0x0418,
	AMP_MSG_CLI_SCAN_CONTROL = 0x0419,
	AMP_MSG_CLI_SCAN_CONTROL_REPLY = 0x041a,
	AMP_MSG_CLI_SCAN_FILES = 0x041b,
	AMP_MSG_CLI_SCAN_FILES_REPLY = 0x041c,
	AMP_MSG_CLI_DEFINITIONS = 0x041d, /* ampscand */
	AMP_MSG_CLI_DEFINITIONS_REPLY = 0x041e,
	AMP_MSG_CLI_BRAKE = 0x041f, /* ampscand: show */
	AMP_MSG_CLI_BRAKE_REPLY = 0x0420,
	AMP_MSG_CLI_BRAKE_RELEASE = 0x0421, /* root */
	AMP_MSG_CLI_BRAKE_RELEASE_REPLY = 0x0422,
	AMP_MSG_CLI_ERROR = 0x04ff, /* any service: why not */

	/* quarantine.proto: ampscand <-> ampquard */
	AMP_MSG_TAKE = 0x0501,	       /* scand->quard, 0 or 1 fd: durable */
	AMP_MSG_TAKE_ACK = 0x0502,     /* quard->scand: intent committed */
	AMP_MSG_OPEN = 0x0503,	       /* quard->scand: descriptors wanted */
	AMP_MSG_OPENED = 0x0504,       /* scand->quard, up to 2 fds */
	AMP_MSG_KILL_AGAIN = 0x0505,   /* quard->scand */
	AMP_MSG_KILLED_AGAIN = 0x0506, /* scand->quard */
	AMP_MSG_JUDGE_AGAIN = 0x0507,  /* quard->scand: content has changed */
	AMP_MSG_ALLOW = 0x0508,	       /* quard->scand: restored content */
	AMP_MSG_ALLOW_ACK = 0x0509,    /* scand->quard: in force */
	AMP_MSG_HANDS = 0x050a,	       /* quard->scand: its other processes */

	/* engine.proto: ampscand <-> ampengine */
	AMP_MSG_ENGINE_STATE = 0x0601, /* engine->scand */
	AMP_MSG_SPAWN = 0x0602,	       /* scand->engine */
	AMP_MSG_WORKER = 0x0603,       /* engine->scand, 1 fd */
	AMP_MSG_WORKER_GONE = 0x0604,  /* engine->scand */
	AMP_MSG_KILL_WORKER = 0x0605,  /* scand->engine */
	/* ampscand <-> a worker, over its own pair */
	AMP_MSG_SCAN = 0x0610,	       /* scand->worker, 1 fd */
	AMP_MSG_SCAN_VERDICT = 0x0611, /* worker->scand */
};

/* Bounds that both ends check (docs/protocol.md, "Limits"). */
#define AMP_PATH_MAX	  32768U /* longest host path carried, bytes */
#define AMP_HANDLE_MAX	  128U	 /* MAX_HANDLE_SZ of open_by_handle_at(2) */
#define AMP_NAME_MAX	  255U	 /* NAME_MAX */
#define AMP_HANDS_MAX	  16U	 /* processes of ampquard beside itself */
#define AMP_READ_BATCH	  64U	 /* items in a READ, results in a READ_DONE */
#define AMP_WALK_BATCH	  256U	 /* entries in a WALK_ENTRIES */
#define AMP_POLICY_BATCH  512U	 /* entries in a POLICY_ENTRIES */
#define AMP_PIDS_BATCH	  4096U	 /* pids in a RUNNING */
#define AMP_HISTORY_BATCH 100U	 /* rows in a CLI_HISTORY_REPLY */
#define AMP_KILL_RESULTS  64U	 /* processes named in a KILLED */
#define AMP_SIGNATURE_MAX 200U	 /* bytes of a signature's name */
#define AMP_ENGINE_SETS	  64U	 /* files of signatures told of */
#define AMP_KEEP_MAX	  60000U /* bytes of a record in a KEEP */
#define AMP_KEEPS	  64U	 /* records kept */
#define AMP_PATHS_BATCH	  256U	 /* paths in a FOUNDATION or MAPPED_FILES */
#define AMP_SCAN_PATHS	  64U	 /* paths of a scan on demand */
#define AMP_SCANS	  32U	 /* scans on demand that are kept */
#define AMP_VAULT_BATCH	  32U	 /* entries in a CLI_QUARANTINE_REPLY */

#endif
