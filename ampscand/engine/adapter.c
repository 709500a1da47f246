/*
 * ampscand/engine/adapter.c - see adapter.h.
 */
#include "adapter.h"

#include "clock.h"
#include "shortage.h"
#include "text.h"

#include <clamav.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define LIMIT_PREFIX "Heuristics.Limits.Exceeded"
#define XZ_LIMIT     "Heuristics.XZ.DicSizeLimit" /* more memory than there is: no word on what is in it */

struct adapter {
	struct cl_engine *engine;
};

static void (*listener)(enum amp_log_level level, const char *text, void *arg);
static void *listener_arg;
static char last_error[ADAPTER_TEXT];

#define ENCODINGS 20U
static iconv_t encodings[ENCODINGS]; /* open: so they stay loaded */

/* --- once in a process ------------------------------------------------------------ */

/* Texts in documents and mails; the C library loads a module for each. */
static void load_encodings(void)
{
	static const char *const names[ENCODINGS] = {
		"ISO-8859-1", "ISO-8859-15", "CP1250", "CP1251",  "CP1252",	 "CP437",  "CP850",
		"CP932",      "CP936",	     "CP949",  "CP950",	  "KOI8-R",	 "UTF-16", "UTF-16BE",
		"UTF-16LE",   "UTF-32",	     "UTF-7",  "GB18030", "ISO-2022-JP", "EUC-KR"};

	for (size_t i = 0; i < ENCODINGS; i++)
		encodings[i] = iconv_open("UTF-8", names[i]);
}

static void hear(enum cl_msg severity, const char *full, const char *text, void *context)
{
	char line[ADAPTER_TEXT];
	size_t n = strlen(text);

	(void)full;
	(void)context;
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
		n--;
	amp_text_escape(text, n, line, sizeof(line));
	if (severity >= CL_MSG_ERROR)
		snprintf(last_error, sizeof(last_error), "%s", line);
	if (listener && n > 0)
		listener(severity >= CL_MSG_WARN ? AMP_LOG_WARN : AMP_LOG_DEBUG, line, listener_arg);
}

int adapter_setup(void)
{
	static bool done;

	if (done)
		return 0;
	if (shortage_setup() != 0)
		return -1;
	cl_set_clcb_msg(hear);
	if (cl_init(CL_INIT_DEFAULT) != CL_SUCCESS)
		return -1;
	load_encodings();
	done = true;
	return 0;
}

const char *adapter_version(void)
{
	return cl_retver();
}

void adapter_listen(void (*say)(enum amp_log_level level, const char *text, void *arg), void *arg)
{
	listener = say;
	listener_arg = arg;
}

/* --- files of signatures ------------------------------------------------------------ */

/* As libclamav does it: in any case, and of a name that is nothing else. */
static bool ends_in(const char *name, const char *const suffixes[], size_t n)
{
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && i < n; i++)
		if (strcasecmp(dot + 1, suffixes[i]) == 0)
			return true;
	return false;
}

static bool is_container(const char *name)
{
	static const char *const suffixes[] = {"cvd", "cld", "cud"};

	return ends_in(name, suffixes, sizeof(suffixes) / sizeof(suffixes[0]));
}

bool adapter_is_ignore_list(const char *name)
{
	static const char *const suffixes[] = {"ign", "ign2"};

	return ends_in(name, suffixes, sizeof(suffixes) / sizeof(suffixes[0]));
}

bool adapter_is_set(const char *name)
{
	static const char *const suffixes[] = {
		"db",  "hdb", "hdu", "fp",  "sfp", "mdb", "mdu", "hsb", "hsu",	"msb",	"msu",
		"ndb", "ndu", "ldb", "ldu", "sdb", "zmd", "rmd", "pdb", "gdb",	"wdb",	"cbc",
		"ftm", "cfg", "cdb", "cat", "crb", "idb", "ioc", "yar", "yara", "pwdb", "imp"};

	return is_container(name) || adapter_is_ignore_list(name) ||
	       ends_in(name, suffixes, sizeof(suffixes) / sizeof(suffixes[0]));
}

void adapter_describe(const char *path, struct adapter_set *set)
{
	struct cl_cvd *head = is_container(path) ? cl_cvdhead(path) : NULL;
	unsigned n = 0;

	set->version = 0;
	set->signatures = 0;
	if (head) {
		set->version = head->version;
		set->signatures = head->sigs;
		if (head->stime > 0)
			set->time_ns = (int64_t)head->stime * AMP_NS_PER_SEC;
		cl_cvdfree(head);
	} else if (!adapter_is_ignore_list(path) && cl_countsigs(path, CL_COUNTSIGS_ALL, &n) == CL_SUCCESS) {
		set->signatures = n;
	}
}

/* --- an engine ------------------------------------------------------------------------ */

static int explain(char *why, const char *what, cl_error_t rc)
{
	if (*last_error)
		snprintf(why, ADAPTER_TEXT, "%.100s: %s: %.300s", what, cl_strerror(rc), last_error);
	else
		snprintf(why, ADAPTER_TEXT, "%.100s: %s", what, cl_strerror(rc));
	return -1;
}

struct adapter *adapter_new(void)
{
	static const struct {
		enum cl_engine_field field;
		long long value;
	} fixed[] = {
		{CL_ENGINE_DISABLE_CACHE, 1}, /* it would die with each worker; ampscand has one */
		{CL_ENGINE_DISABLE_PE_STATS, 1},
		{CL_ENGINE_BYTECODE_MODE, CL_BYTECODE_MODE_INTERPRETER}, /* no memory is executable */
	};
	struct adapter *a = calloc(1, sizeof(*a));
	bool sound;

	if (!a)
		return NULL;
	a->engine = cl_engine_new();
	sound = a->engine && cl_engine_set_str(a->engine, CL_ENGINE_TMPDIR, ".") == CL_SUCCESS;
	for (size_t i = 0; sound && i < sizeof(fixed) / sizeof(fixed[0]); i++)
		sound = cl_engine_set_num(a->engine, fixed[i].field, fixed[i].value) == CL_SUCCESS;
	if (sound)
		return a;
	adapter_free(a);
	return NULL;
}

void adapter_free(struct adapter *a)
{
	if (a && a->engine)
		cl_engine_free(a->engine);
	free(a);
}

int adapter_load(struct adapter *a, const char *path, uint64_t *signatures, char *why)
{
	unsigned n = 0;
	cl_error_t rc;

	*last_error = '\0';
	rc = cl_load(path, a->engine, &n, CL_DB_STDOPT);
	*signatures += n;
	return rc == CL_SUCCESS ? 0 : explain(why, path, rc);
}

int adapter_compile(struct adapter *a, char *why)
{
	cl_error_t rc;

	*last_error = '\0';
	rc = cl_engine_compile(a->engine);
	return rc == CL_SUCCESS ? 0 : explain(why, "compiling", rc);
}

static bool set_limits(struct cl_engine *e, size_t size, const struct adapter_limits *l)
{
	const struct {
		enum cl_engine_field field;
		uint64_t value;
	} rows[] = {
		{CL_ENGINE_MAX_FILESIZE, l->max_file_size > size ? l->max_file_size : size},
		{CL_ENGINE_MAX_SCANSIZE, l->max_scan_size},
		{CL_ENGINE_MAX_FILES, l->max_files},
		{CL_ENGINE_MAX_RECURSION, l->max_recursion},
		{CL_ENGINE_MAX_SCANTIME, l->max_ms},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].value > INT64_MAX ||
		    cl_engine_set_num(e, rows[i].field, (long long)rows[i].value) != CL_SUCCESS)
			return false;
	return true;
}

static void found(struct adapter_verdict *v, const char *name)
{
	size_t prefix = strlen(LIMIT_PREFIX), size = name ? strlen(name) : 0;

	if (size > prefix && strncmp(name, LIMIT_PREFIX, prefix) == 0) {
		v->result = ADAPTER_PARTIAL;
		amp_text_escape(name + prefix + (name[prefix] == '.'), size - prefix - (name[prefix] == '.'),
				v->detail, sizeof(v->detail));
		return;
	}
	if (name && strcmp(name, XZ_LIMIT) == 0) {
		v->result = ADAPTER_PARTIAL;
		snprintf(v->detail, sizeof(v->detail), "memory to unpack xz");
		return;
	}
	v->result = ADAPTER_INFECTED;
	amp_text_escape(size ? name : "unnamed", size ? size : strlen("unnamed"), v->name, sizeof(v->name));
}

static void failed(struct adapter_verdict *v, const char *why)
{
	v->result = ADAPTER_ERROR;
	snprintf(v->detail, sizeof(v->detail), "%s", why);
}

/* Limits that libclamav tells by its return value. */
static bool is_limit(cl_error_t rc)
{
	return rc == CL_ETIMEOUT || rc == CL_EMAXREC || rc == CL_EMAXSIZE || rc == CL_EMAXFILES;
}

static void judge(struct adapter_verdict *v, cl_error_t rc, const char *name)
{
	if (rc == CL_VIRUS) {
		found(v, name);
	} else if (rc == CL_CLEAN || rc == CL_VERIFIED) {
		v->result = ADAPTER_CLEAN;
	} else {
		failed(v, cl_strerror(rc));
		if (is_limit(rc))
			v->result = ADAPTER_PARTIAL;
	}
}

/* What it was short of it leaves out, and calls the rest clean. */
static void look_for_shortage(struct adapter_verdict *v)
{
	int error = shortage_seen();
	char why[sizeof(v->detail)];

	if (v->result == ADAPTER_INFECTED || v->result == ADAPTER_ERROR)
		return;
	if (error)
		snprintf(why, sizeof(why), "its temporary files: %.80s", strerror(error));
	else if (strstr(last_error, "allocate memory"))
		snprintf(why, sizeof(why), "%.100s", last_error);
	else
		return;
	failed(v, why);
}

/* Of the clock, and of the processors' time that was ours. */
struct times {
	int64_t wall, ours;
};

static struct times times_now(void)
{
	struct timespec ours = {0};

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ours);
	return (struct times){amp_clock_monotonic(), ours.tv_sec * AMP_NS_PER_SEC + ours.tv_nsec};
}

/* libclamav's limit is of the clock. Where others had the processors meanwhile, that is nothing which the
 * file is to be remembered for: it is tried once more, with more time. */
static void look_for_starvation(struct adapter_verdict *v, const struct times *begin, uint32_t max_ms)
{
	struct times now = times_now();
	int64_t wall = now.wall - begin->wall;

	if (v->result == ADAPTER_PARTIAL && wall >= (int64_t)max_ms * AMP_NS_PER_MS &&
	    now.ours - begin->ours < wall / 2)
		failed(v, "its time was over, most of which others had the processors");
}

void adapter_scan(struct adapter *a, const void *data, size_t size, const struct adapter_limits *limits,
		  struct adapter_verdict *v)
{
	/* As clamscan scans by default, but what reached a limit is told. */
	struct cl_scan_options options = {
		.general = CL_SCAN_GENERAL_HEURISTICS,
		.parse = ~0U,
		.heuristic = CL_SCAN_HEURISTIC_EXCEEDS_MAX,
	};
	const struct times begin = times_now();
	const char *name = NULL;
	unsigned long blocks = 0;
	cl_fmap_t *map;
	cl_error_t rc;

	*v = (struct adapter_verdict){.result = ADAPTER_CLEAN};
	if (size == 0)
		return;
	if (!set_limits(a->engine, size, limits)) {
		failed(v, "limits that the engine does not take");
		return;
	}
	map = cl_fmap_open_memory(data, size);
	if (!map) {
		failed(v, "no memory");
		return;
	}
	*last_error = '\0';
	shortage_begin();
	rc = cl_scanmap_callback(map, NULL, &name, &blocks, a->engine, &options, NULL);
	judge(v, rc, name);
	look_for_shortage(v);
	look_for_starvation(v, &begin, limits->max_ms);
	cl_fmap_close(map);
}
