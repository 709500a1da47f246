/*
 * ampcli/scan_wait.h - `--wait`: stays until a scan is over.
 *
 * Owns: asking again and again, the line on the terminal, what SIGINT does,
 * a service that is started again in between.
 * Must not own: the line's text (progress.h), the scan's form (scan_view.h).
 */
#ifndef AMPCLI_SCAN_WAIT_H
#define AMPCLI_SCAN_WAIT_H

#include "cli.h"
#include "client.h"
#include "proto/cli.pb-c.h"

#include <stdint.h>

/*
 * Waits for the end of scan `id`. *s: how it ended, as long as the client is
 * not freed nor asked. NULL: it failed or was interrupted (the scan runs on),
 * and it was said.
 */
struct client *scan_wait(struct cli *cli, uint64_t id, const Amp__CliScan **s);

/* One scan by its number: *s as above. The outcome is reported by the caller. */
enum client_outcome scan_ask(struct client *c, uint64_t id, const Amp__CliScan **s);

#endif
