/*
 * ampcli/complete.c - what a word that is being typed may become (see complete.h).
 */
#include "complete.h"

#include "client.h"
#include "commands.h"
#include "proto/cli.pb-c.h"
#include "proto/types.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The words before the one that is completed. */
struct seen {
	size_t words;
	const char *word[2]; /* command and sub-command */
	const char *run_dir;
	const struct command_option_row *value_of; /* the last one was an option that wants a value */
	bool no_options;			   /* "--" was there */
};

static void add(struct completion *c, const char *text, const char *beginning)
{
	if (c->n == COMPLETE_MAX || strncmp(text, beginning, strlen(beginning)) != 0)
		return;
	for (size_t i = 0; i < c->n; i++)
		if (strcmp(c->word[i], text) == 0)
			return;
	c->word[c->n] = strdup(text);
	c->n += c->word[c->n] != NULL;
}

void completion_free(struct completion *c)
{
	while (c->n > 0)
		free(c->word[--c->n]);
}

size_t completion_common(const struct completion *c)
{
	size_t common = c->n ? strlen(c->word[0]) : 0;

	for (size_t i = 1; i < c->n; i++)
		for (size_t k = 0; k < common; k++)
			if (c->word[i][k] != c->word[0][k])
				common = k;
	return common;
}

/* The option that the word names, NULL if it names none. *has_value: its value is in the word. */
static const struct command_option_row *named_option(const char *word, bool *has_value)
{
	const struct command_option_row *o;

	*has_value = false;
	for (size_t i = 0; (o = command_option_row(i)); i++) {
		size_t n = strlen(o->name);

		if (o->is_short && word[0] == '-' && word[1] == o->letter) {
			*has_value = word[2] != '\0';
			return o;
		}
		if (strncmp(word, "--", 2) == 0 && strncmp(word + 2, o->name, n) == 0 &&
		    (word[2 + n] == '\0' || word[2 + n] == '=')) {
			*has_value = word[2 + n] == '=';
			return o;
		}
	}
	return NULL;
}

static void see(struct seen *s, const char *word)
{
	bool has_value;

	if (s->value_of) {
		s->run_dir = strcmp(s->value_of->name, "run-dir") == 0 ? word : s->run_dir;
		s->value_of = NULL;
	} else if (!s->no_options && strcmp(word, "--") == 0) {
		s->no_options = true;
	} else if (!s->no_options && word[0] == '-' && word[1]) {
		s->value_of = named_option(word, &has_value);
		if (s->value_of && (s->value_of->value == VALUE_NONE || has_value))
			s->value_of = NULL;
	} else {
		if (s->words < 2)
			s->word[s->words] = word;
		s->words++;
	}
}

/* May the row still be meant? */
static bool fits(const struct command *row, const struct seen *s)
{
	if (s->words > 0 && strcmp(row->name, s->word[0]) != 0)
		return false;
	return s->words < 2 || !row->sub || strcmp(row->sub, s->word[1]) == 0;
}

static void add_options(struct completion *c, const struct seen *s, const char *beginning)
{
	const struct command_option_row *o;
	const struct command *row;
	unsigned fitting = s->words ? 0 : OPT_KEEP_GOING;
	char text[64];

	for (size_t i = 0; (row = command_row(i)); i++)
		fitting |= s->words && fits(row, s) ? row->options : 0;
	for (size_t i = 0; (o = command_option_row(i)); i++) {
		snprintf(text, sizeof(text), "--%s", o->name);
		if (o->bit == 0 || (o->bit & fitting))
			add(c, text, beginning);
	}
}

/* ---- ids ---- */

/* Adds what a reply has. */
typedef void add_reply(struct completion *c, const ProtobufCMessage *reply, const char *beginning);

static void add_policies(struct completion *c, const ProtobufCMessage *reply, const char *beginning)
{
	const Amp__CliPolicyReply *r = (const Amp__CliPolicyReply *)reply;

	for (size_t i = 0; i < r->n_policies; i++)
		add(c, r->policies[i]->id, beginning);
}

static void add_entries(struct completion *c, const ProtobufCMessage *reply, const char *beginning)
{
	const Amp__CliQuarantineReply *r = (const Amp__CliQuarantineReply *)reply;

	for (size_t i = 0; i < r->n_entries; i++)
		add(c, r->entries[i]->id, beginning);
}

static void add_hashes(struct completion *c, const ProtobufCMessage *reply, const char *beginning)
{
	const Amp__CliQuarantineReply *r = (const Amp__CliQuarantineReply *)reply;
	char text[65];

	for (size_t i = 0; i < r->n_entries; i++) {
		const ProtobufCBinaryData *hash = &r->entries[i]->sha256;

		if (hash->len != 32 || strcmp(r->entries[i]->state, "restored") != 0)
			continue;
		for (size_t k = 0; k < hash->len; k++)
			snprintf(text + 2 * k, 3, "%02x", hash->data[k]);
		add(c, text, beginning);
	}
}

static void add_number(struct completion *c, uint64_t number, const char *beginning)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	add(c, text, beginning);
}

static void add_scans(struct completion *c, const ProtobufCMessage *reply, const char *beginning)
{
	const Amp__CliScanListReply *r = (const Amp__CliScanListReply *)reply;

	for (size_t i = 0; i < r->n_scans; i++)
		add_number(c, r->scans[i]->id, beginning);
}

static bool scans_more(const ProtobufCMessage *reply)
{
	return ((const Amp__CliScanListReply *)reply)->more;
}

static void add_signatures(struct completion *c, const ProtobufCMessage *reply, const char *beginning)
{
	const Amp__CliBrakeReply *r = (const Amp__CliBrakeReply *)reply;

	for (size_t i = 0; i < r->n_entries; i++)
		if (r->entries[i]->holds)
			add(c, r->entries[i]->signature, beginning);
}

static void add_faults(struct completion *c, const ProtobufCMessage *reply, const char *beginning)
{
	const Amp__CliStatusReply *r = (const Amp__CliStatusReply *)reply;

	for (size_t i = 0; i < r->n_faults; i++)
		add_number(c, r->faults[i]->number, beginning);
}

static const Amp__CliPolicy policy_body = AMP__CLI_POLICY__INIT;
static const Amp__CliQuarantine quarantine_body = AMP__CLI_QUARANTINE__INIT;
static const Amp__CliScanList list_body = AMP__CLI_SCAN_LIST__INIT;
static const Amp__CliBrake brake_body = AMP__CLI_BRAKE__INIT;
static const Amp__CliStatus status_body = AMP__CLI_STATUS__INIT;

/* Who knows what an argument may be. The newest page is enough to choose from. */
static const struct {
	enum argument_kind kind;
	const char *service;
	struct client_request request;
	add_reply *add;
} sources[] = {
	{ARG_POLICY,
	 "ampmon",
	 {AMP_MSG_CLI_POLICY, &policy_body.base, AMP_MSG_CLI_POLICY_REPLY, &amp__cli_policy_reply__descriptor,
	  false, NULL, NULL, NULL},
	 add_policies},
	{ARG_VAULT,
	 "ampquard",
	 {AMP_MSG_CLI_QUARANTINE, &quarantine_body.base, AMP_MSG_CLI_QUARANTINE_REPLY,
	  &amp__cli_quarantine_reply__descriptor, false, NULL, NULL, NULL},
	 add_entries},
	{ARG_SHA256,
	 "ampquard",
	 {AMP_MSG_CLI_QUARANTINE, &quarantine_body.base, AMP_MSG_CLI_QUARANTINE_REPLY,
	  &amp__cli_quarantine_reply__descriptor, false, NULL, NULL, NULL},
	 add_hashes},
	{ARG_SCAN,
	 "ampscand",
	 {AMP_MSG_CLI_SCAN_LIST, &list_body.base, AMP_MSG_CLI_SCAN_LIST_REPLY,
	  &amp__cli_scan_list_reply__descriptor, false, scans_more, NULL, NULL},
	 add_scans},
	{ARG_SIGNATURE,
	 "ampscand",
	 {AMP_MSG_CLI_BRAKE, &brake_body.base, AMP_MSG_CLI_BRAKE_REPLY, &amp__cli_brake_reply__descriptor,
	  false, NULL, NULL, NULL},
	 add_signatures},
	{ARG_FAULT,
	 "ampmon",
	 {AMP_MSG_CLI_STATUS, &status_body.base, AMP_MSG_CLI_STATUS_REPLY, &amp__cli_status_reply__descriptor,
	  false, NULL, NULL, NULL},
	 add_faults},
};

static void add_asked(struct completion *c, size_t source, const char *run_dir, const char *beginning)
{
	struct client *client = client_new(run_dir, sources[source].service);

	if (client && client_ask(client, &sources[source].request) == CLIENT_OK)
		for (size_t i = 0; i < client_replies(client); i++)
			sources[source].add(c, client_reply(client, i), beginning);
	client_free(client);
}

static void add_arguments(struct completion *c, const struct seen *s, enum argument_kind kind,
			  const char *beginning)
{
	if (kind == ARG_PATHS)
		c->also = COMPLETE_FILES;
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		if (sources[i].kind == kind)
			add_asked(c, i, s->run_dir, beginning);
}

/* ---- all of it ---- */

static void add_row(struct completion *c, const struct command *row, const struct seen *s,
		    const char *beginning, bool in_shell)
{
	size_t before = 1U + (row->sub != NULL);

	if (!fits(row, s))
		return;
	if (s->words == 0 && (in_shell || row->run != cmd_exit))
		add(c, row->name, beginning);
	else if (s->words == 1 && row->sub)
		add(c, row->sub, beginning);
	else if (s->words == before || (row->kind == ARG_PATHS && s->words > before))
		add_arguments(c, s, row->kind, beginning);
}

void complete_words(struct completion *c, const struct cli *cli, size_t n, char *const *word)
{
	struct seen s = {.run_dir = cli->run_dir};
	const char *beginning = word[n - 1];
	const struct command *row;

	c->n = 0;
	c->also = COMPLETE_NOTHING;
	for (size_t i = 0; i + 1 < n; i++)
		see(&s, word[i]);
	if (s.value_of) {
		c->also = s.value_of->value == VALUE_DIRECTORY ? COMPLETE_DIRECTORIES : COMPLETE_NOTHING;
		return;
	}
	if (beginning[0] == '-' && !s.no_options) {
		add_options(c, &s, beginning);
		return;
	}
	for (size_t i = 0; (row = command_row(i)); i++)
		add_row(c, row, &s, beginning, cli->in_shell);
}

static bool is_directory(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

static bool has_control(const char *name)
{
	for (; *name; name++)
		if ((unsigned char)*name < 0x20 || *name == 0x7f)
			return true;
	return false;
}

static void add_name(struct completion *c, int dir, const char *head, const char *name, bool directories)
{
	bool is_dir = is_directory(dir, name);
	char text[4096];

	if ((directories && !is_dir) ||
	    snprintf(text, sizeof(text), "%s%s%s", head, name, is_dir ? "/" : "") >= (int)sizeof(text))
		return;
	add(c, text, head);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void complete_paths(struct completion *c, const char *beginning, bool directories)
{
	const char *slash = strrchr(beginning, '/'), *name = slash ? slash + 1 : beginning;
	char *head = strndup(beginning, (size_t)(name - beginning));
	DIR *d = head ? opendir(head[0] ? head : ".") : NULL;
	struct dirent *e;

	while (d && (e = readdir(d))) {
		/* Hidden ones when a dot was typed; never "." and "..", nor what no line can hold. */
		if (has_control(e->d_name) || strncmp(e->d_name, name, strlen(name)) != 0 ||
		    (e->d_name[0] == '.' && name[0] != '.') || strcmp(e->d_name, ".") == 0 ||
		    strcmp(e->d_name, "..") == 0)
			continue;
		add_name(c, dirfd(d), head, e->d_name, directories);
	}
	qsort(c->word, c->n, sizeof(c->word[0]), by_name);
	if (d)
		closedir(d);
	free(head);
}

int complete_print(const struct cli *cli, size_t n, char *const *word)
{
	static const char *const marks[] = {
		[COMPLETE_FILES] = ":files\n",
		[COMPLETE_DIRECTORIES] = ":directories\n",
	};
	struct completion c = {0};

	if (n == 0)
		return CLI_EXIT_ERROR;
	complete_words(&c, cli, n, word);
	if (c.also != COMPLETE_NOTHING)
		fputs(marks[c.also], cli->out);
	for (size_t i = 0; i < c.n; i++)
		if (!strchr(c.word[i], '\n'))
			fprintf(cli->out, "%s\n", c.word[i]);
	completion_free(&c);
	return fflush(cli->out) == 0 ? CLI_EXIT_DONE : CLI_EXIT_ERROR;
}
