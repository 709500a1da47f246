/*
 * ampscand/ampread/pseudo.h - file systems that hold no files of anybody's: /proc, /sys and their like.
 *
 * Owns: the table of them, by statfs(2)'s number and by mountinfo's name.
 * Must not own: what is done about them.
 */
#ifndef AMP_PSEUDO_H
#define AMP_PSEUDO_H

#include <stdbool.h>
#include <stdint.h>

/* f_type of statfs(2). */
bool amp_pseudo_type(uint64_t type);

/* What is mounted with that id (stx_mnt_id), by /proc/self/mountinfo: nothing of the mount is
 * touched, which could wait for a server for ever. */
bool amp_pseudo_mount(uint64_t mount_id);

#endif
