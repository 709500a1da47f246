/*
 * ampscand/brakecli.c - the brake, for ampcli.
 *
 * Owns: who is shown what, who may release, the answer once it is on disk.
 * Must not own: the brake (brake.c).
 */
#include "brake.h"

#include "cliserver.h"
#include "log.h"

#include "proto/cli.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Who waits for an answer. */
struct asker {
	uint64_t client, id;
	uint32_t number;
};

static bool fill(struct brake_signature *g, Amp__CliBrakeEntry *e)
{
	amp__cli_brake_entry__init(e);
	e->signature = g->name;
	e->since_ns = g->since_ns;
	e->held = g->held;
	e->holds = g->state == AMP__BRAKE_SIGNATURE__STATE__HOLDS;
	e->together = e->holds && g->together;
	e->recent = brake_recent(g);
	return g->state != AMP__BRAKE_SIGNATURE__STATE__COUNTED || e->recent > 0;
}

int brake_cli_show(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = amp_room_arg(arg);
	Amp__CliBrakeReply reply = AMP__CLI_BRAKE_REPLY__INIT;
	Amp__CliBrakeEntry entries[BRAKE_SIGNATURES], *list[BRAKE_SIGNATURES];

	for (unsigned i = 0; i < BRAKE_SIGNATURES; i++)
		if (s->brake->row[i].number && fill(&s->brake->row[i], &entries[reply.n_entries])) {
			list[reply.n_entries] = &entries[reply.n_entries];
			reply.n_entries++;
		}
	reply.entries = list;
	amp_channel_send(ch, AMP_MSG_CLI_BRAKE_REPLY, m->id, &reply.base, NULL, 0);
	return 0;
}

static void on_released(struct scand *s, int error, void *arg)
{
	struct asker *a = arg;
	struct amp_cliserver *server = amp_room_cli(s->room);
	struct amp_channel *ch = server ? amp_cli_client_find(server, a->client) : NULL;
	const struct brake_signature *g = brake_by_number(s->brake, a->number);
	Amp__CliBrakeReleaseReply reply = AMP__CLI_BRAKE_RELEASE_REPLY__INIT;

	reply.judged_again = g ? g->judged_again : 0;
	if (ch && error)
		amp_cli_error(ch, a->id, AMP__CLI_ERROR__CODE__INTERNAL,
			      "the release could not be written down (%s), so the brake holds on; see "
			      "`ampcli status`",
			      strerror(error));
	else if (ch)
		amp_channel_send(ch, AMP_MSG_CLI_BRAKE_RELEASE_REPLY, a->id, &reply.base, NULL, 0);
	free(a);
}

int brake_cli_release(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = amp_room_arg(arg);
	const Amp__CliBrakeRelease *q = (const Amp__CliBrakeRelease *)m->body;
	struct brake_signature *g = brake_by_name(s->brake, q->signature);
	struct asker *a;

	if (!amp_cli_is_root(ch, m->id, "brake release", "only root may release the brake"))
		return 0;
	if (!g || g->state == AMP__BRAKE_SIGNATURE__STATE__COUNTED) {
		amp_cli_error(ch, m->id, AMP__CLI_ERROR__CODE__NOT_FOUND,
			      "the brake holds no signature of that name; see `ampcli brake show`");
		return 0;
	}
	a = malloc(sizeof(*a));
	if (a)
		*a = (struct asker){.client = amp_cli_client_serial(ch), .id = m->id, .number = g->number};
	if (a && brake_release(s, g, on_released, a) == 0)
		return 0;
	free(a);
	amp_cli_error(ch, m->id, AMP__CLI_ERROR__CODE__INTERNAL, "no memory; the brake holds on, try again");
	return 0;
}
