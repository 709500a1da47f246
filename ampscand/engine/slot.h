/*
 * ampscand/engine/slot.h - slots: the places where workers may write.
 *
 * Owns: a new directory for each worker, and that nothing of it stays, whatever it left.
 * Must not own: which slot is whose (room), the mounts (each slot is one).
 */
#ifndef AMPENGINE_SLOT_H
#define AMPENGINE_SLOT_H

#include <stddef.h>
#include <stdint.h>

#define SLOT_PATH 128U

/* root/slot/serial, as it is told to a worker. */
const char *slot_path(char buf[SLOT_PATH], const char *root, unsigned slot, uint64_t serial);
/* 0, or -1 and errno (EEXIST: it is not new). */
int slot_make(const char *path);
/*
 * The room's work: where Landlock stands each step would cost as much as the tree is deep, and
 * whoever left it could stop a zygote for minutes.
 * All that is below path, and itself; gone already is fine. No link is followed, of
 * descriptors a few are needed at any depth. 0, or -1: something stays.
 */
int slot_wipe(const char *path);

#endif
