/*
 * ampscand/ampread/listing.c - a directory gone through for the names in it (see listing.h).
 */
#include "listing.h"

#include "treetop.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void amp_listing_begin(struct amp_listing *l, struct amp_names *files, struct amp_names *directories)
{
	l->files = files;
	l->directories = directories;
	l->begun = false;
	l->left = 0;
}

void amp_listing_interrupted(struct amp_listing *l)
{
	if (!l->begun)
		return;
	l->begun = false;
	l->left = 0;
	if (l->files)
		amp_names_again(l->files);
	if (l->directories)
		amp_names_again(l->directories);
}

/* Some file systems do not say (readdir(3)). What cannot be looked at is told as a file is. */
static unsigned kind_of(const struct dirent64 *d, int fd)
{
	struct statx sx;

	if (d->d_type != DT_UNKNOWN || amp_tree_look(fd, d->d_name, 0, &sx) < 0)
		return d->d_type;
	return S_ISDIR(sx.stx_mode) ? DT_DIR : S_ISREG(sx.stx_mode) ? DT_REG : DT_FIFO;
}

static int take(struct amp_listing *l, const struct dirent64 *d, int fd)
{
	struct amp_names *names = l->files;
	unsigned kind;

	if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
		return 0;
	kind = kind_of(d, fd);
	if (kind == DT_DIR) {
		names = l->directories;
	} else if (l->regular_only && kind != DT_REG && kind != DT_UNKNOWN) {
		l->left++;
		return 0;
	}
	return names ? amp_names_add(names, d->d_name) : 0;
}

/* 1, 0 at the end, or -1 and errno. */
static int take_buffer(struct amp_listing *l, int fd)
{
	ssize_t n = getdents64(fd, l->buffer, sizeof(l->buffer));

	for (ssize_t at = 0; at < n;) {
		const struct dirent64 *d = (const struct dirent64 *)(const void *)(l->buffer + at);

		at += d->d_reclen;
		if (take(l, d, fd) < 0) {
			errno = ENOMEM;
			return -1;
		}
	}
	return n > 0 ? 1 : (int)n;
}

int amp_listing_step(struct amp_listing *l, int fd)
{
	int rc;

	if (!l->begun && lseek(fd, 0, SEEK_SET) < 0)
		return -1;
	l->begun = true;
	rc = take_buffer(l, fd);
	if (rc > 0)
		return 1;
	l->begun = false;
	if (l->files)
		amp_names_end(l->files);
	if (l->directories)
		amp_names_end(l->directories);
	return rc;
}
