/*
 * ampmon/keys.h - files of `key = value` lines, read by a table.
 *
 * Owns: reading a file only root can write, libconfuse (as lexer and grammar,
 * its messages captured), types, bounds, defaults, printing and freeing by
 * the same table. Must not own: the tables (conf.c, policy.c) or what a value
 * means.
 */
#ifndef AMPMON_KEYS_H
#define AMPMON_KEYS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum mon_key_type {
	MON_KEY_STRING, /* char * */
	MON_KEY_LIST,	/* char **, NULL-terminated */
	MON_KEY_UINT,	/* unsigned */
	MON_KEY_UINT64, /* uint64_t */
	MON_KEY_CHOICE, /* int or enum: index into choices */
	MON_KEY_SWITCH, /* bool: second of two choices */
};

struct mon_key {
	const char *name;
	enum mon_key_type type;
	size_t offset;		    /* where in the target the value goes */
	const char *def;	    /* as in the file; of a list: words. NULL: the key must be set */
	uint64_t min, max;	    /* of a number; of a string its length; of a list its entries */
	const char *const *choices; /* NULL-terminated */
	/* NULL if a string (or a list's entry) is good, or "what; remedy" (static). */
	const char *(*check)(const char *value);
};

#define MON_KEYS_FILE_MAX (1024U * 1024U)

/*
 * Fills target by n keys from path. lines (n numbers, may be NULL): where each
 * key was set, 0: default. NULL-terminates nothing on failure: on -1 err has
 * "FILE:LINE: key: what; remedy" and mon_keys_free() has been done.
 */
int mon_keys_load(const char *path, const struct mon_key *keys, size_t n, void *target, unsigned *lines,
		  char *err, size_t size);
/* The same with the text in memory (path is for messages only). */
int mon_keys_parse(const char *path, const char *text, const struct mon_key *keys, size_t n, void *target,
		   unsigned *lines, char *err, size_t size);
void mon_keys_free(const struct mon_key *keys, size_t n, void *target);
/* Every key in the file's form. */
void mon_keys_print(const struct mon_key *keys, size_t n, const void *target, FILE *out);

/* Up to size bytes, whatever pieces they come in. How many, or -1 and errno. */
ssize_t mon_read_all(int fd, void *buf, size_t size);

/*
 * Reads a whole regular file that only root (or our own uid) can write, whose
 * directory is so too. The bytes, with a NUL behind them, are the caller's to
 * free. NULL and "PATH: what; remedy" in err; errno ENOENT if there is none.
 */
char *mon_read_safe(const char *path, size_t max, size_t *length, char *err, size_t size);

#endif
