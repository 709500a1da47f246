/*
 * tests/fuzz/fuzz_conf.c - the two texts an administrator may be handed by
 * others: key files (first byte even) and lists (odd).
 */
#include "ampmon/keys.h"
#include "ampmon/lists.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct target {
	char *text;
	char **list;
	unsigned number;
	uint64_t big;
	int choice;
	bool on;
};

static const char *const choices[] = {"one", "two", NULL};
#define AT(member) .offset = offsetof(struct target, member)
static const struct mon_key keys[] = {
	{.name = "text", .type = MON_KEY_STRING, AT(text), .def = "x", .max = 64},
	{.name = "list", .type = MON_KEY_LIST, AT(list), .def = "a b", .min = 1, .max = 8},
	{.name = "number", .type = MON_KEY_UINT, AT(number), .def = "3", .max = 1000},
	{.name = "big", .type = MON_KEY_UINT64, AT(big), .def = "3", .max = UINT64_MAX},
	{.name = "choice", .type = MON_KEY_CHOICE, AT(choice), .def = "two", .choices = choices},
	{.name = "on", .type = MON_KEY_SWITCH, AT(on), .def = "one", .choices = choices},
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(const char *text, struct target *t)
{
	char err[512];

	return mon_keys_parse("fuzz", text, keys, KEYS, t, NULL, err, sizeof(err));
}

static char *print(const struct target *t)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	if (!out)
		abort();
	mon_keys_print(keys, KEYS, t, out);
	fclose(out);
	return text;
}

/* What was understood is understood again in the form we print. */
static void fuzz_keys(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size), *first, *second;
	struct target t = {0}, again = {0};

	if (text && parse(text, &t) == 0) {
		first = print(&t);
		if (parse(first, &again) < 0)
			abort();
		second = print(&again);
		if (strcmp(first, second) != 0)
			abort();
		free(first);
		free(second);
		mon_keys_free(keys, KEYS, &t);
		mon_keys_free(keys, KEYS, &again);
	}
	free(text);
}

static int user(const char *name, uint32_t *uid)
{
	*uid = (uint32_t)strlen(name);
	return name[0] == 'r' ? 0 : -1;
}

static void check_entry(const struct mon_entry *e, Amp__PolicyEntry__Kind kind)
{
	bool exclusion = kind == AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH;

	if (exclusion ? e->kind < AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH : e->kind != kind)
		abort();
	if (e->text_length > MON_LIST_TEXT_MAX || (exclusion && e->text_length == 0))
		abort();
	if (exclusion && e->kind != AMP__POLICY_ENTRY__KIND__EXCLUDE_EXTENSION && e->text[0] != '/')
		abort();
}

static void fuzz_lists(const uint8_t *data, size_t size, Amp__PolicyEntry__Kind kind)
{
	struct mon_list l = {0};

	if (mon_list_parse(&l, "fuzz", kind, (const char *)data, size, user) < 0 || mon_list_finish(&l) < 0)
		abort();
	for (size_t i = 0; i < l.count; i++)
		check_entry(&l.entries[i], kind);
	if (l.problem_count > MON_LIST_PROBLEMS_MAX + 1)
		abort();
	mon_list_free(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 2 == 0)
		fuzz_keys(data + 1, size - 1);
	else
		fuzz_lists(data + 1, size - 1,
			   data[0] & 2 ? AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH
				       : AMP__POLICY_ENTRY__KIND__BLOCKED);
	return 0;
}
