/*
 * ampscand/engine/adapter.h - libclamav, as the suite uses it.
 *
 * Owns: every call of libclamav (adapter.c is the only file that includes its header, so
 * that its versions 1.0 to 1.5 can serve), what is loaded and how it scans, what its
 * answers mean here. Must not own: processes, walls, files of its own.
 */
#ifndef AMPENGINE_ADAPTER_H
#define AMPENGINE_ADAPTER_H

#include "log.h"

#include "proto/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADAPTER_TEXT 512U

struct adapter;

enum adapter_result {
	ADAPTER_CLEAN = 1,
	ADAPTER_INFECTED,
	ADAPTER_PARTIAL, /* a limit was reached, nothing found */
	ADAPTER_ERROR
};

struct adapter_limits {
	uint64_t max_file_size; /* of a member; what is scanned itself may be larger */
	uint64_t max_scan_size; /* of all that is unpacked */
	uint32_t max_files;
	uint32_t max_recursion;
	uint32_t max_ms;
};

struct adapter_verdict {
	enum adapter_result result;
	char name[AMP_SIGNATURE_MAX + 1]; /* INFECTED: printable, UTF-8 */
	char detail[128];		  /* PARTIAL, ERROR */
};

struct adapter_set {
	int64_t time_ns;
	uint32_t version;    /* 0: it is no container */
	uint64_t signatures; /* 0: it cannot be told */
};

/*
 * Once in a process, before a view without libraries: modules of libclamav and of the C
 * library are loaded here or never. 0, or -1.
 */
int adapter_setup(void);
const char *adapter_version(void);
/* What libclamav has to say goes there; NULL: nowhere. Errors also stay for adapter_why(). */
void adapter_listen(void (*say)(enum amp_log_level level, const char *text, void *arg), void *arg);

/* A file that libclamav loads from a directory, by its name. */
bool adapter_is_set(const char *name);
/* ... that says which signatures are to be ignored: loaded first, of all directories. */
bool adapter_is_ignore_list(const char *name);
/* Of a file of signatures; time_ns stays as it is if the file does not tell. */
void adapter_describe(const char *path, struct adapter_set *set);

/* NULL: no memory. Temporary files are made in the current directory. */
struct adapter *adapter_new(void);
void adapter_free(struct adapter *a);
/* A file or a directory of them. *signatures grows. 0, or -1 and why[ADAPTER_TEXT]. */
int adapter_load(struct adapter *a, const char *path, uint64_t *signatures, char *why);
/* Nothing more is loaded. */
int adapter_compile(struct adapter *a, char *why);
/* data holds still. */
void adapter_scan(struct adapter *a, const void *data, size_t size, const struct adapter_limits *limits,
		  struct adapter_verdict *v);

#endif
