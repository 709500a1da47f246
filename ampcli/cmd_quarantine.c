/*
 * ampcli/cmd_quarantine.c - quarantine: what ampquard holds, and what root may
 * do with it. Must not own: the form of an entry (vault_entry.h), any decision
 * of ampquard's.
 */
#include "cli.h"
#include "out.h"
#include "proto/types.h"
#include "sha256.h"
#include "vault_entry.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERVICE	     "ampquard"
#define PREFIX_LEAST 4 /* digits of an id that stand for the whole */

/* Is given each entry; false: no more is wanted. */
typedef bool take_entry(struct cli *cli, const Amp__CliVaultEntry *e, void *arg);

/* True: another page is wanted and there is one. */
static bool take_page(struct cli *cli, const Amp__CliQuarantineReply *r, take_entry *take, void *arg)
{
	for (size_t i = 0; i < r->n_entries; i++)
		if (!take(cli, r->entries[i], arg))
			return false;
	return r->more;
}

/* Every entry, newest first, page by page. False: it failed, and it was said (whole: cli_failed()). */
static bool walk(struct cli *cli, struct client *c, take_entry *take, void *arg, const uint64_t *shown)
{
	Amp__CliQuarantine ask = AMP__CLI_QUARANTINE__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_QUARANTINE,
		.body = &ask.base,
		.reply_type = AMP_MSG_CLI_QUARANTINE_REPLY,
		.reply = &amp__cli_quarantine_reply__descriptor,
	};
	const Amp__CliQuarantineReply *r = NULL;

	do {
		enum client_outcome outcome;

		ask.before = r ? r->next_before : 0;
		outcome = client_ask(c, &request);
		if (outcome != CLIENT_OK) {
			cli_failed(cli, c, outcome, *shown == 0);
			return false;
		}
		r = (const Amp__CliQuarantineReply *)client_reply(c, 0);
		if (!vault_page_sound(r, ask.before)) {
			cli_error(cli, *shown == 0, SERVICE ": a page of its entries is not sound");
			return false;
		}
	} while (take_page(cli, r, take, arg));
	return true;
}

/* A connection to walk() with, or NULL, and it was said. */
static struct client *new_client(struct cli *cli)
{
	struct client *c = client_new(cli->run_dir, SERVICE);

	if (!c)
		cli_error(cli, true, "out of memory");
	return c;
}

static bool print_entry(struct cli *cli, const Amp__CliVaultEntry *e, void *arg)
{
	uint64_t *shown = arg;

	if (cli->json) {
		out_json_item(cli->out, vault_entry_json(e, false), *shown == 0);
	} else {
		if (*shown == 0)
			vault_table_head(cli->out);
		vault_table_row(cli->out, e);
	}
	return ++*shown != cli->limit;
}

void cmd_quarantine_list(struct cli *cli)
{
	struct client *c = new_client(cli);
	uint64_t shown = 0;
	bool well;

	if (!c)
		return;
	well = walk(cli, c, print_entry, &shown, &shown);
	if (cli->json && (shown > 0 || well))
		out_json_end(cli->out, shown == 0);
	else if (!cli->json && shown == 0 && well)
		fputs("The quarantine is empty.\n", cli->out);
	client_free(c);
}

struct search {
	const char *prefix;
	unsigned found; /* stops at the second */
	char id[2][VAULT_ID_LENGTH + 1];
};

static bool search_entry(struct cli *cli, const Amp__CliVaultEntry *e, void *arg)
{
	struct search *s = arg;

	(void)cli;
	if (strncasecmp(e->id, s->prefix, strlen(s->prefix)) != 0)
		return true;
	memcpy(s->id[s->found++], e->id, VAULT_ID_LENGTH + 1);
	return s->found < 2;
}

/* Looks through the list for what begins so. False: not exactly one, and it was said. */
static bool search(struct cli *cli, struct search *s)
{
	static const uint64_t none;
	struct client *c = new_client(cli);
	bool well = c && walk(cli, c, search_entry, s, &none);

	client_free(c);
	if (!well)
		return false;
	if (s->found == 0)
		cli_error(cli, true, "no entry's id begins with %s; see `ampcli quarantine list`", s->prefix);
	else if (s->found > 1)
		cli_error(cli, true, "several ids begin with %s, %s and %s among them; give more digits",
			  s->prefix, s->id[0], s->id[1]);
	return s->found == 1;
}

/* The id that the argument stands for. False: none, and it was said. */
static bool resolve(struct cli *cli, char id[VAULT_ID_LENGTH + 1])
{
	struct search s = {.prefix = cli->argument};

	if (!vault_id_begins(cli->argument, PREFIX_LEAST)) {
		cli_error(cli, true,
			  "%s is no entry's id, nor %d or more digits of the beginning of one; "
			  "see `ampcli quarantine list`",
			  cli->argument, PREFIX_LEAST);
		return false;
	}
	if (vault_id_begins(cli->argument, VAULT_ID_LENGTH)) {
		for (size_t i = 0; i <= VAULT_ID_LENGTH; i++)
			id[i] = (char)tolower((unsigned char)cli->argument[i]);
		return true;
	}
	if (!search(cli, &s))
		return false;
	memcpy(id, s.id[0], VAULT_ID_LENGTH + 1);
	return true;
}

/* Asks for one entry: *e, as long as the client is not freed. NULL: it failed, and it was said. */
static struct client *ask_entry(struct cli *cli, char *id, const Amp__CliVaultEntry **e)
{
	Amp__CliQuarantine ask = AMP__CLI_QUARANTINE__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_QUARANTINE,
		.body = &ask.base,
		.reply_type = AMP_MSG_CLI_QUARANTINE_REPLY,
		.reply = &amp__cli_quarantine_reply__descriptor,
	};
	const Amp__CliQuarantineReply *r;
	struct client *c;

	ask.id = id;
	c = cli_ask(cli, SERVICE, &request);
	if (!c)
		return NULL;
	r = (const Amp__CliQuarantineReply *)client_reply(c, 0);
	if (r->n_entries == 1 && vault_entry_sound(r->entries[0]) && strcmp(r->entries[0]->id, id) == 0) {
		*e = r->entries[0];
		return c;
	}
	cli_error(cli, true, SERVICE ": what came is no answer: not the entry that was asked for");
	client_free(c);
	return NULL;
}

void cmd_quarantine_show(struct cli *cli)
{
	char id[VAULT_ID_LENGTH + 1];
	const Amp__CliVaultEntry *e;
	struct client *c;

	if (!resolve(cli, id))
		return;
	c = ask_entry(cli, id, &e);
	if (!c)
		return;
	if (cli->json)
		out_json_print(cli->out, vault_entry_json(e, true));
	else
		vault_entry_text(cli->out, e);
	client_free(c);
}

/* The line in which a restore says how far it is. */
struct progress {
	FILE *f; /* NULL: nobody looks */
	int percent;
};

static void show_progress(const ProtobufCMessage *reply, void *arg)
{
	const Amp__CliRestoreReply *r = (const Amp__CliRestoreReply *)reply;
	struct progress *p = arg;
	int percent;

	if (!p->f || r->bytes == 0)
		return;
	percent = r->bytes_done < r->bytes ? (int)((double)r->bytes_done * 100 / (double)r->bytes) : 100;
	if (percent == p->percent)
		return;
	p->percent = percent;
	fprintf(p->f, "\rampcli: restoring, %3d %%", percent);
	fflush(p->f);
}

static bool restore_more(const ProtobufCMessage *reply)
{
	return ((const Amp__CliRestoreReply *)reply)->more;
}

static void print_restored(struct cli *cli, const char *id, const Amp__CliRestoreReply *r)
{
	json_object *o;

	if (cli->json) {
		o = json_object_new_object();
		out_json_text(o, "id", id);
		out_json_bytes(o, "path", &r->path);
		out_json_texts(o, "left", r->left, r->n_left);
		out_json_print(cli->out, o);
		return;
	}
	fprintf(cli->out, "%s is restored to ", id);
	out_bytes(cli->out, &r->path);
	fputc('\n', cli->out);
	for (size_t i = 0; i < r->n_left; i++) {
		fputs("Not restored: ", cli->out);
		out_text(cli->out, r->left[i]);
		fputc('\n', cli->out);
	}
}

/* Asks and waits, however long it takes. */
static void restore(struct cli *cli, struct client *c, Amp__CliRestore *ask)
{
	struct progress p = {.f = cli_on_terminal(cli) ? cli->err : NULL, .percent = -1};
	const struct client_request request = {
		.type = AMP_MSG_CLI_RESTORE,
		.body = &ask->base,
		.reply_type = AMP_MSG_CLI_RESTORE_REPLY,
		.reply = &amp__cli_restore_reply__descriptor,
		.change = true,
		.more = restore_more,
		.progress = show_progress,
		.arg = &p,
	};
	enum client_outcome outcome = client_ask(c, &request);
	const Amp__CliRestoreReply *r = (const Amp__CliRestoreReply *)client_reply(c, 0);

	if (p.percent >= 0)
		fputc('\n', cli->err);
	if (outcome != CLIENT_OK)
		cli_failed(cli, c, outcome, true);
	else if (r->path.len == 0 || r->path.data[0] != '/' || !vault_path_sound(&r->path))
		cli_error(cli, true,
			  SERVICE ": what came is no answer: not where the file is now; see "
				  "`ampcli quarantine show`");
	else
		print_restored(cli, ask->id, r);
}

/* Takes the last component away. */
static void go_up(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = '\0';
}

/* Appends the next component of *rest, which moves on, to path (it has the room). */
static void append_component(char *path, const char **rest)
{
	size_t n = strcspn(*rest, "/"), at = strlen(path);

	path[at] = '/';
	memcpy(path + at + 1, *rest, n);
	path[at + 1 + n] = '\0';
	*rest += n;
}

/*
 * DIR made absolute, malloc'd; NULL and errno. No link is looked at: ".." first
 * in DIR goes up from the working directory, which the kernel names without
 * links; a later one stays, because what is before it may be a link (which
 * ampquard refuses, while leaving both out would lead elsewhere).
 */
static char *absolute(const char *dir)
{
	char *cwd = dir[0] == '/' ? strdup("") : getcwd(NULL, 0);
	char *path = cwd ? realloc(cwd, strlen(cwd) + strlen(dir) + 3) : NULL;
	bool physical = true; /* nothing of DIR itself is in path yet */

	if (!path) {
		free(cwd);
		return NULL;
	}
	if (strcmp(path, "/") == 0)
		path[0] = '\0';
	while (*(dir += strspn(dir, "/"))) {
		size_t n = strcspn(dir, "/");

		if (n == 1 && dir[0] == '.') {
			dir += n;
		} else if (physical && n == 2 && memcmp(dir, "..", 2) == 0) {
			go_up(path);
			dir += n;
		} else {
			append_component(path, &dir);
			physical = false;
		}
	}
	return path[0] ? path : strcpy(path, "/");
}

/* --to as it is asked for. False: it cannot be, and it was said. */
static bool target(struct cli *cli, Amp__CliRestore *ask)
{
	char *path;

	if (!cli->to)
		return true;
	if (!cli->to[0]) {
		cli_error(cli, true, "--to needs the name of a directory");
		return false;
	}
	path = absolute(cli->to);
	if (!path) {
		cli_error(cli, true, "--to %s: the working directory has no name: %s", cli->to,
			  strerror(errno));
		return false;
	}
	ask->directory.data = (uint8_t *)path;
	ask->directory.len = strlen(path);
	if (ask->directory.len <= AMP_PATH_MAX)
		return true;
	cli_error(cli, true, "--to: the directory's path is longer than %u bytes", AMP_PATH_MAX);
	return false;
}

void cmd_quarantine_restore(struct cli *cli)
{
	Amp__CliRestore ask = AMP__CLI_RESTORE__INIT;
	char id[VAULT_ID_LENGTH + 1];
	struct client *c;

	ask.id = id;
	ask.keep_privileges = cli->keep_privileges;
	if (target(cli, &ask) && resolve(cli, id)) {
		c = new_client(cli);
		if (c)
			restore(cli, c, &ask);
		client_free(c);
	}
	free(ask.directory.data);
}

static bool said_yes(void)
{
	char line[16];

	if (!fgets(line, sizeof(line), stdin))
		return false;
	line[strcspn(line, "\n")] = '\0';
	return strcasecmp(line, "y") == 0 || strcasecmp(line, "yes") == 0;
}

/* Is it really to be deleted? False: no, and it was said. */
static bool confirmed(struct cli *cli, char *id)
{
	const Amp__CliVaultEntry *e;
	struct client *c;

	if (cli->yes)
		return true;
	c = ask_entry(cli, id, &e);
	if (!c)
		return false;
	fprintf(cli->err, "Delete %s (", id);
	vault_entry_words(cli->err, e);
	fputs(") for good? [y/N] ", cli->err);
	fflush(cli->err);
	client_free(c);
	if (said_yes())
		return true;
	cli_error(cli, true, "%s is not deleted", id);
	return false;
}

static void print_deleted(struct cli *cli, const char *id)
{
	json_object *o;

	if (!cli->json) {
		fprintf(cli->out, "%s is deleted\n", id);
		return;
	}
	o = json_object_new_object();
	out_json_text(o, "id", id);
	out_json_bool(o, "deleted", true);
	out_json_print(cli->out, o);
}

void cmd_quarantine_delete(struct cli *cli)
{
	Amp__CliDelete ask = AMP__CLI_DELETE__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_DELETE,
		.body = &ask.base,
		.reply_type = AMP_MSG_CLI_DELETE_REPLY,
		.reply = &amp__cli_delete_reply__descriptor,
		.change = true,
	};
	char id[VAULT_ID_LENGTH + 1];
	struct client *c;

	if (!cli->yes && !(isatty(STDIN_FILENO) && cli_on_terminal(cli))) {
		cli_error(cli, true,
			  "there is no terminal to ask on: `ampcli quarantine delete` needs --yes");
		return;
	}
	if (!resolve(cli, id) || !confirmed(cli, id))
		return;
	ask.id = id;
	c = cli_ask(cli, SERVICE, &request);
	if (c)
		print_deleted(cli, id);
	client_free(c);
}

static void print_revoked(struct cli *cli, const ProtobufCBinaryData *sha256, uint64_t judged_again)
{
	json_object *o;

	if (cli->json) {
		o = json_object_new_object();
		out_json_hex(o, "sha256", sha256);
		out_json_number(o, "judged_again", judged_again);
		out_json_print(cli->out, o);
		return;
	}
	out_hex(cli->out, sha256->data, sha256->len);
	fprintf(cli->out,
		" is no longer allowed: this content is judged again (restored files judged now: %llu; "
		"any other when it is met)\n",
		(unsigned long long)judged_again);
}

void cmd_quarantine_revoke(struct cli *cli)
{
	Amp__CliRevoke ask = AMP__CLI_REVOKE__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_REVOKE,
		.body = &ask.base,
		.reply_type = AMP_MSG_CLI_REVOKE_REPLY,
		.reply = &amp__cli_revoke_reply__descriptor,
		.change = true,
	};
	uint8_t sha256[AMP_SHA256_SIZE];
	struct client *c;

	if (amp_sha256_parse(cli->argument, sha256) < 0) {
		cli_error(cli, true,
			  "%s is no SHA-256: 64 hexadecimal digits, as `ampcli quarantine show` has them",
			  cli->argument);
		return;
	}
	ask.sha256.data = sha256;
	ask.sha256.len = sizeof(sha256);
	c = cli_ask(cli, SERVICE, &request);
	if (c)
		print_revoked(cli, &ask.sha256,
			      ((const Amp__CliRevokeReply *)client_reply(c, 0))->judged_again);
	client_free(c);
}
