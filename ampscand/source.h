/*
 * ampscand/source.h - where events come from, behind a small vtable.
 *
 * Owns: struct file_event (what any source delivers) and the vtable. The
 * handle source (fanotify by handle), the descriptor source (fanotify by fd,
 * for file systems without handles) and later the kernel module implement it.
 * Must not own: what is done about an event.
 */
#ifndef AMPSCAND_SOURCE_H
#define AMPSCAND_SOURCE_H

#include "buffers.h"
#include "fileid.h"

#include <event2/event.h>

enum event_bits {
	EVENT_WRITE = 1 << 0,	  /* closed after writing */
	EVENT_EXEC = 1 << 1,	  /* opened to be executed */
	EVENT_RENAME = 1 << 2,	  /* has this name now */
	EVENT_CREATE = 1 << 3,	  /* made or linked */
	EVENT_DIRECTORY = 1 << 4, /* the object is a directory */
	EVENT_OVERFLOW = 1 << 5	  /* events before this one are lost */
};

/* Valid during the call that delivers it. */
struct file_event {
	unsigned bits;		     /* one event may carry several */
	struct amp_fileid file;	     /* handle.size 0: unknown */
	struct amp_fileid directory; /* parent; handle.size 0: unknown */
	const char *name;	     /* in directory; not NUL-terminated */
	size_t name_size;
	pid_t pid; /* 0: unknown */
	int pidfd; /* the source's, closed after the call; -1: gone */
	int fd;	   /* descriptor source: the file, the source's; -1 */
	struct event_slot slot;
};

struct source;

struct source_ops {
	/* An event. The callee concludes ev->slot sooner or later. */
	void (*event)(const struct file_event *ev, void *arg);
	/* True: take nothing more for now; source_resume() when there is room. */
	bool (*full)(void *arg);
	/* A batch begins: pids of one batch are not used again within it. */
	void (*batch)(void *arg);
	void *arg;
};

struct source_vtable {
	const char *name;
	void (*resume)(struct source *s);
	void (*look)(struct source *s);
	void (*free)(struct source *s);
};

/* Common head of every source. */
struct source {
	const struct source_vtable *vtable;
	const struct source_ops *ops;
	struct event_base *base;
	struct event *readable;
	int fd;
	int64_t empty_ns; /* realtime: its queue was last seen empty; 0: not yet */
};

/* Each takes fd over; NULL and errno. Starts reading with source_resume(). */
struct source *source_handle_new(struct event_base *base, int fd, struct buffers *b,
				 const struct source_ops *ops);
struct source *source_fd_new(struct event_base *base, int fd, const struct source_ops *ops);

static inline void source_resume(struct source *s)
{
	if (s)
		s->vtable->resume(s);
}

/* Reads some of what is there, without being told of it: empty_ns is of now, if there is no more. */
static inline void source_look(struct source *s)
{
	if (s)
		s->vtable->look(s);
}

static inline void source_free(struct source *s)
{
	if (s)
		s->vtable->free(s);
}

/*
 * Hands the events of a buffer that a predecessor left to ops->event, except
 * those it concluded. Descriptors in them are numbers of a dead process.
 */
void source_handle_replay(struct buffers *b, unsigned index, const uint8_t *data, size_t n,
			  const struct source_ops *ops);

/*
 * One event of a fanotify buffer (fanotify(7)), every length checked.
 * Returns its length, or 0: no (whole) event here. ev->slot is not touched.
 * Of a rename the new name is delivered.
 */
size_t fanotify_parse(const uint8_t *data, size_t n, struct file_event *ev);

#endif
