/*
 * ampcli/shell.h - several commands after each other: typed on a terminal, or
 * a line each from somewhere else.
 *
 * Owns: reading lines, their bounds, when it ends and with which code.
 * Must not own: one command (cli.h), the terminal (shell_edit.h).
 */
#ifndef AMPCLI_SHELL_H
#define AMPCLI_SHELL_H

#include "cli.h"

/*
 * Reads commands from cli->in. On a terminal until it ends or is left; else
 * until the first one that failed, unless cli->keep_going. The exit code of
 * the first that failed is noted; CLI_EXIT_THREATS is no failure, but noted if
 * there was none.
 */
void shell_run(struct cli *cli);

/* One line of it. False: it was no command, or it failed (*code). */
bool shell_line(struct cli *cli, const char *line, int *code);

#endif
