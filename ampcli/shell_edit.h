/*
 * ampcli/shell_edit.h - the shell on a terminal.
 *
 * Owns: libedit: the prompt, editing, completion by the tabulator, the history
 * of lines while it runs.
 * Must not own: what a line means (shell.h), the history's file (lines_file.h).
 */
#ifndef AMPCLI_SHELL_EDIT_H
#define AMPCLI_SHELL_EDIT_H

#include "cli.h"

/* Until the end of the input, or until it is left. The exit code: of the last command. */
int shell_edit(struct cli *cli);

#endif
