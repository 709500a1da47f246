/*
 * tests/fuzz/record_fanotify.c - writes the seeds of fuzz_fanotify: events of
 * a real group on a tmpfs of its own (notification marks only), and parked
 * records as ampscand makes them. Run by hand as root:
 *
 *	unshare -m --propagation private tests/fuzz/record_fanotify CORPUS-DIRECTORY
 */
#include "ampscand/scand.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOP "/mnt"

static const char *corpus;

static void seed(const char *name, uint8_t kind, const void *data, size_t n)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", corpus, name);
	f = fopen(path, "wb");
	if (!f || fputc(kind, f) == EOF || fwrite(data, 1, n, f) != n || fclose(f) != 0)
		err(1, "%s", path);
}

/* Everything that happened since the last call, as one seed. */
static void drain(int group, const char *name)
{
	_Alignas(8) uint8_t data[4096];
	ssize_t n = read(group, data, sizeof(data));

	if (n <= 0)
		err(1, "no events for %s", name);
	seed(name, 0, data, (size_t)n);
}

static void make(const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);

	if (fd < 0 || write(fd, "#!/bin/true\n", 12) != 12)
		err(1, "%s", path);
	close(fd);
}

static void execute(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl(path, path, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

static void record_handles(void)
{
	char lengthy[300] = TOP "/d/";
	int group = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_DFID_NAME_TARGET |
					  FAN_REPORT_PIDFD | FAN_UNLIMITED_QUEUE,
				  O_RDONLY);

	if (group < 0 || fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
				       FAN_CLOSE_WRITE | FAN_OPEN_EXEC | FAN_RENAME | FAN_CREATE | FAN_ONDIR,
				       AT_FDCWD, TOP) < 0)
		err(1, "fanotify");
	make(TOP "/file", 0644);
	drain(group, "write");
	make(TOP "/script", 0755);
	execute(TOP "/script");
	drain(group, "exec");
	if (mkdir(TOP "/d", 0755) < 0 || rename(TOP "/file", TOP "/d/other") < 0 ||
	    link(TOP "/d/other", TOP "/linked") < 0 || symlink("x", TOP "/symlink") < 0)
		err(1, "names");
	drain(group, "names");
	if (rename(TOP "/d", TOP "/e") < 0 || rename(TOP "/e", TOP "/d") < 0)
		err(1, "directories");
	drain(group, "directories");
	memset(lengthy + strlen(lengthy), 'n', 255);
	make(lengthy, 0644);
	drain(group, "longest-name");
	for (unsigned i = 0; i < 8; i++) {
		char path[64];

		snprintf(path, sizeof(path), TOP "/many%u", i);
		make(path, 0644);
	}
	drain(group, "many");
	close(group);
}

static void record_descriptors(void)
{
	int group = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY | O_NONBLOCK);

	if (group < 0 || fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
				       FAN_CLOSE_WRITE | FAN_OPEN_EXEC, AT_FDCWD, TOP) < 0)
		err(1, "fanotify by descriptor");
	make(TOP "/file", 0644);
	execute(TOP "/script");
	drain(group, "descriptors");
	close(group);
}

static void park(struct scand *s, const char *seed_name, const char *name, unsigned cause, bool whole)
{
	struct amp_fileid file = {.fsid = 7}, dir = {.fsid = 7};
	struct occurrence *o;
	struct event_slot slot;
	const uint8_t *data;
	unsigned cursor = 0;
	size_t n;

	if (amp_handle_at(AT_FDCWD, TOP "/linked", 0, &file.handle, NULL) < 0 ||
	    amp_handle_at(AT_FDCWD, TOP, 0, &dir.handle, NULL) < 0)
		err(1, "handles");
	o = occurrence_new(whole ? &dir : NULL, name, strlen(name));
	if (!o)
		err(1, "memory");
	o->cause = cause;
	o->slot = (struct event_slot){.kind = SLOT_BUFFER};
	o->who = whole ? who_make(true, 4711, 1000, "/usr/bin/vi", 11) : NULL;
	if (park_occurrence(s, o, &file) != 0 ||
	    !buffers_inherited_parked(s->buffers, &cursor, &slot, &data, &n))
		err(1, "parking");
	seed(seed_name, 1, data, n);
	buffers_conclude(s->buffers, slot);
	who_unref(o->who);
	free(o);
}

static void record_parked(void)
{
	int fd = memfd_create("buffers", MFD_CLOEXEC);
	static struct scand s;
	bool inherited;

	if (fd < 0 || ftruncate(fd, (off_t)amp_buffers_size(1, 1)) < 0)
		err(1, "memfd");
	s.buffers = buffers_map(fd, 1, 1, &inherited);
	if (!s.buffers)
		err(1, "buffers");
	park(&s, "parked-write", "linked", EVENT_WRITE, true);
	park(&s, "parked-directory", "d", EVENT_RENAME | EVENT_DIRECTORY, true);
	park(&s, "parked-unknown", "", CAUSE_REPAIR, false);
	buffers_free(s.buffers);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		errx(2, "usage: %s corpus-directory (in a mount namespace of its own)", argv[0]);
	corpus = argv[1];
	if (mount("seeds", TOP, "tmpfs", 0, "mode=755,size=1m") < 0)
		err(1, TOP);
	record_handles();
	record_descriptors();
	record_parked();
	return 0;
}
