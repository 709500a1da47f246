/*
 * ampcli/scan_view.h - a scan on demand as ampscand tells of it.
 *
 * Owns: what makes a scan and a page of its files believable; their form in
 * text and in JSON; what a scan's end means for the exit code.
 * Must not own: asking (cmd_scan.c, scan_wait.h).
 */
#ifndef AMPCLI_SCAN_VIEW_H
#define AMPCLI_SCAN_VIEW_H

#include "proto/cli.pb-c.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

bool scan_sound(const Amp__CliScan *s);
/* A page of files numbered above `after` that leads further, or ends. */
bool scan_files_sound(const Amp__CliScanFilesReply *r, uint64_t after);

/* It will not go on. */
bool scan_is_over(const Amp__CliScan *s);
/* Files of it that were to be judged and could not be. */
uint64_t scan_unjudged(const Amp__CliScan *s);
/*
 * CLI_EXIT_THREATS if there are any; else CLI_EXIT_ERROR if it was stopped, has
 * failed, or left files unjudged; else CLI_EXIT_DONE. Too large and partial
 * files are the policy's limits, no errors.
 */
int scan_exit(const Amp__CliScan *s);

json_object *scan_json(const Amp__CliScan *s);
json_object *scan_file_json(const Amp__CliScanFile *f);

void scan_table_head(FILE *f);
void scan_table_row(FILE *f, const Amp__CliScan *s);
/* All of it, in several lines. */
void scan_text(FILE *f, const Amp__CliScan *s);
/* What came of it: a sentence, and a line for each kind of file. */
void scan_summary(FILE *f, const Amp__CliScan *s);
void scan_file_text(FILE *f, const Amp__CliScanFile *file);
bool scan_file_is_threat(const Amp__CliScanFile *file);

/* "1h02m", "3m20s", "0.4s" in buf; returns buf. */
const char *scan_span(int64_t ns, char *buf, size_t size);
/* "12.3 MiB", "512 B" in buf; returns buf. */
const char *scan_bytes(uint64_t bytes, char *buf, size_t size);

#endif
