/*
 * ampscand/ampread/tree.c - the ordered walk (see tree.h).
 *
 * Whoever owns a part of the tree may change it while it is walked. So each
 * directory is looked at before it is opened, what is opened is what was looked
 * at, and what has taken its place meanwhile counts as vanished.
 */
#include "tree.h"

#include "clock.h"
#include "listing.h"
#include "pseudo.h"
#include "treelevels.h"
#include "treetop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNITS	     16U   /* of work in a step */
#define DEPTH_MAX    2048U /* deeper is told, not walked */
#define MARK_ENTRIES 1000U
#define MARK_NS	     AMP_NS_PER_SEC

enum phase {
	BEGIN,
	LIST, /* the last level's directory */
	TELL, /* of its files, those that were listed */
	FILE_IN_HAND,
	NEXT, /* all are told: on to the next directory in order */
	OVER
};

struct amp_tree {
	struct amp_tree_top top;
	struct amp_tree_levels levels;
	size_t path_length; /* of top.path without slashes at its end */
	char *resume;
	const char *rest; /* of resume: names not yet gone down to */
	int64_t since_ns;
	uint64_t fsid; /* that the path must be on; 0: any */
	bool names_permitted, by_names;
	uint64_t snapshot_max, archive_max;
	unsigned depth_limit;

	enum phase phase;
	int dir_fd;		/* of the last level; -1 */
	int up_fd;		/* of the level above it; -1 */
	bool in_part;		/* the batch's last part is of the last level */
	struct amp_names files; /* of the last level: all that is no directory */
	const char *name;	/* of the subdirectory that is next */
	struct amp_walk_file file;

	uint64_t seen, unreadable, too_deep, directories;
	uint64_t found; /* since the last mark */
	uint64_t mark_directories, mark_entries;
	int64_t mark_ns, mark_every_ns;
	bool marked;
	size_t mark_length;
	char mark[AMP_PATH_MAX];
	char error[128];
	struct amp_tree_batch batch;
	struct amp_listing listing;
};

static size_t without_slashes(const char *path, size_t n)
{
	while (n > 0 && path[n - 1] == '/')
		n--;
	return n;
}

static bool ask_is_valid(const struct amp_tree_ask *ask)
{
	size_t n = without_slashes(ask->path, ask->path_length);

	if (ask->path_length == 0 || ask->path_length >= PATH_MAX || ask->path[0] != '/' ||
	    memchr(ask->path, '\0', ask->path_length))
		return false;
	if (ask->resume_length == 0)
		return true;
	return ask->resume_length < AMP_PATH_MAX && ask->resume_length >= n &&
	       !memchr(ask->resume, '\0', ask->resume_length) && memcmp(ask->resume, ask->path, n) == 0 &&
	       (ask->resume_length == n || ask->resume[n] == '/');
}

static int take_ask(struct amp_tree *t, const struct amp_tree_ask *ask)
{
	t->top.path = strndup(ask->path, ask->path_length);
	t->resume = strndup(ask->resume_length ? ask->resume : ask->path,
			    ask->resume_length ? ask->resume_length : ask->path_length);
	if (!t->top.path || !t->resume)
		return -1;
	t->path_length = without_slashes(ask->path, ask->path_length);
	t->rest = t->resume + t->path_length;
	while (*t->rest == '/')
		t->rest++;
	t->since_ns = ask->since_ns;
	t->fsid = ask->fsid;
	t->names_permitted = ask->names_permitted;
	t->by_names = ask->by_names;
	t->snapshot_max = ask->snapshot_max;
	t->archive_max = ask->archive_max;
	return 0;
}

struct amp_tree *amp_tree_new(const struct amp_tree_ask *ask)
{
	struct amp_tree *t;

	if (!ask_is_valid(ask)) {
		errno = EINVAL;
		return NULL;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	amp_tree_levels_init(&t->levels);
	t->top.fd = t->dir_fd = t->up_fd = t->file.fd = -1;
	t->depth_limit = DEPTH_MAX;
	t->mark_entries = MARK_ENTRIES;
	t->mark_every_ns = MARK_NS;
	if (take_ask(t, ask) < 0) {
		amp_tree_free(t);
		errno = ENOMEM;
		return NULL;
	}
	return t;
}

void amp_tree_set_limits(struct amp_tree *t, size_t names, size_t of_one, unsigned depth)
{
	t->levels.limit = names;
	t->levels.limit_of_one = of_one;
	t->depth_limit = depth;
}

void amp_tree_set_marks(struct amp_tree *t, uint64_t entries, int64_t ns)
{
	t->mark_entries = entries;
	t->mark_every_ns = ns;
}

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void amp_tree_rest(struct amp_tree *t)
{
	fd_close(&t->dir_fd);
	fd_close(&t->up_fd);
	amp_listing_interrupted(&t->listing);
	amp_tree_top_close(&t->top);
}

void amp_tree_give_up(struct amp_tree *t)
{
	amp_tree_rest(t);
	if (t->phase == FILE_IN_HAND)
		amp_walk_file_end(&t->file);
	t->phase = OVER;
}

void amp_tree_free(struct amp_tree *t)
{
	if (!t)
		return;
	amp_tree_give_up(t);
	amp_tree_batch_clear(&t->batch);
	amp_tree_levels_free(&t->levels);
	amp_names_free(&t->files);
	free(t->top.path);
	free(t->resume);
	free(t);
}

/* The walk ends here for this reason. */
static void fail(struct amp_tree *t, const char *what, int error)
{
	if (error)
		snprintf(t->error, sizeof(t->error), "%s: %s", what, strerror(error));
	else
		snprintf(t->error, sizeof(t->error), "%s", what);
	amp_tree_give_up(t);
}

/* Who asks is told the host's path; of one that is too long for the kernel to tell, how it was found. */
static void begin_part(struct amp_tree *t)
{
	static char told[AMP_OPEN_PATH_SIZE]; /* the thread's */
	struct amp_tree_level *level = amp_tree_levels_last(&t->levels);
	size_t length;
	const char *path = amp_tree_levels_path(&t->levels, &length);
	amp_read_status s = AMP__READ_RESULT__STATUS__OK;

	if (t->dir_fd >= 0) {
		size_t n = 0;

		s = amp_open_path(t->dir_fd, "", told, &n);
		if (s == AMP__READ_RESULT__STATUS__OK) {
			path = told;
			length = n;
		} else if (s != AMP__READ_RESULT__STATUS__UNRESOLVED || errno != ENAMETOOLONG) {
			length = 0;
		}
	}
	amp_tree_batch_part(&t->batch, &level->handle, path, length);
	t->in_part = true;
}

static void need_part(struct amp_tree *t)
{
	if (!t->in_part || t->batch.part_count == 0 || amp_tree_batch_part_full(&t->batch))
		begin_part(t);
}

/* In the directory in hand; name "": it itself. */
static void odd(struct amp_tree *t, Amp__WalkOdd__Kind kind, const char *name)
{
	need_part(t);
	amp_tree_batch_odd(&t->batch, kind, name);
	t->found++;
	t->unreadable += kind == AMP__WALK_ODD__KIND__UNREADABLE;
	t->too_deep += kind == AMP__WALK_ODD__KIND__TOO_DEEP;
}

static void odd_failed(struct amp_tree *t, const char *name)
{
	bool vanished = errno == ENOENT || errno == ESTALE || errno == ENOTDIR;

	odd(t, vanished ? AMP__WALK_ODD__KIND__VANISHED : AMP__WALK_ODD__KIND__UNREADABLE, name);
}

static void added(struct amp_tree *t)
{
	amp_tree_batch_added(&t->batch);
	t->found++;
}

/* What was read becomes an entry; what could not be read too, so that it is told. */
static void file_over(struct amp_tree *t)
{
	const struct amp_walk_file *f = &t->file;

	t->phase = t->top.regular ? OVER : TELL;
	if (f->handle.size == 0 || f->out.status == AMP__READ_RESULT__STATUS__GONE ||
	    f->out.status == AMP__READ_RESULT__STATUS__NOT_REGULAR) {
		const char *name = amp_tree_batch_next(&t->batch)->name;

		errno = f->out.status == AMP__READ_RESULT__STATUS__UNREADABLE ? EIO : ESTALE;
		odd_failed(t, name);
		return;
	}
	t->unreadable += !f->out.has_sha;
	amp_walk_entry_read(amp_tree_batch_next(&t->batch), f);
	added(t);
}

static void file_begin(struct amp_tree *t, int dirfd, const char *name)
{
	if (!amp_walk_file_begin(&t->file, dirfd, name)) {
		file_over(t);
		return;
	}
	amp_hash_keep(&t->file.hash, t->snapshot_max, t->archive_max);
	t->phase = FILE_IN_HAND;
}

/* A turn of the file in hand. A large one leaves no directory open meanwhile. */
static void file_go_on(struct amp_tree *t)
{
	if (amp_walk_file_step(&t->file))
		file_over(t);
	else
		amp_tree_rest(t);
}

static void add_file(struct amp_tree *t, const char *name, const struct statx *sx)
{
	struct amp_walk_entry *e = amp_tree_batch_next(&t->batch);

	amp_identity_from_statx(sx, &e->identity);
	if (t->since_ns > 0 && e->identity.ctime_ns < t->since_ns)
		return;
	if (!t->by_names && amp_handle_at(t->dir_fd, name, 0, &e->file, NULL) < 0) {
		odd_failed(t, name);
		return;
	}
	need_part(t);
	amp_walk_entry_name(e, name);
	if (t->by_names)
		file_begin(t, t->dir_fd, name);
	else
		added(t);
}

/* Another mount: what is of no interest anyway is told from what could be walked too. */
static Amp__WalkOdd__Kind kind_of_mount(const struct statx *sx)
{
	if (sx->stx_mask & STATX_MNT_ID && amp_pseudo_mount(sx->stx_mnt_id))
		return AMP__WALK_ODD__KIND__SPECIAL;
	return AMP__WALK_ODD__KIND__MOUNT;
}

/* A directory is where a file was: it is walked with those that were listed. */
static void is_directory_now(struct amp_tree *t, const char *name)
{
	if (t->phase != TELL)
		odd(t, AMP__WALK_ODD__KIND__VANISHED, name);
	else if (amp_names_add(&amp_tree_levels_last(&t->levels)->names, name) < 0)
		fail(t, "no memory", 0);
}

static void tell(struct amp_tree *t, const char *name)
{
	struct statx sx;

	t->seen++;
	if (amp_tree_look(t->dir_fd, name, 0, &sx) < 0)
		odd_failed(t, name);
	else if (S_ISDIR(sx.stx_mode))
		is_directory_now(t, name);
	else if (!S_ISREG(sx.stx_mode))
		odd(t, S_ISLNK(sx.stx_mode) ? AMP__WALK_ODD__KIND__SYMLINK : AMP__WALK_ODD__KIND__SPECIAL,
		    name);
	else if (amp_tree_top_is_beyond(&t->top, &sx))
		odd(t, kind_of_mount(&sx), name);
	else
		add_file(t, name, &sx);
}

/* The last level's directory is to be gone through for its files, from a name on or all. */
static void list_files(struct amp_tree *t, const char *from)
{
	if (amp_names_begin(&t->files, t->levels.limit_of_one, from, false) < 0)
		fail(t, "no memory", 0);
}

/* ... for its subdirectories. */
static void list_directories(struct amp_tree *t, const char *from, bool with_from)
{
	if (amp_tree_levels_names(&t->levels, from, with_from) < 0)
		fail(t, "no memory", 0);
}

static void begin_listing(struct amp_tree *t, bool files, bool directories)
{
	if (t->phase == OVER)
		return;
	amp_listing_begin(&t->listing, files ? &t->files : NULL,
			  directories ? &amp_tree_levels_last(&t->levels)->names : NULL);
	t->phase = LIST;
}

/* The first name of the rest of resume, in buf; NULL: it is over. */
static const char *next_of_resume(const struct amp_tree *t, char *buf, size_t size)
{
	size_t n = strcspn(t->rest, "/");

	if (n == 0 || n >= size)
		return NULL;
	memcpy(buf, t->rest, n);
	buf[n] = '\0';
	return buf;
}

/* The directory that has become the last level. */
static void begin_directory(struct amp_tree *t)
{
	struct amp_tree_level *level = amp_tree_levels_last(&t->levels);
	char name[1024]; /* vfat has names of 765 bytes */

	level->skip = *t->rest != '\0';
	t->directories += !level->skip;
	list_directories(t, next_of_resume(t, name, sizeof(name)), true);
	if (!level->skip && t->phase != OVER)
		list_files(t, NULL);
	begin_listing(t, !level->skip, true);
}

/* The directory of that name is entered: is it one that leads to where the walk goes on? */
static void follow_resume(struct amp_tree *t, const char *name)
{
	size_t n = strcspn(t->rest, "/");

	/* Another name comes after the one that is not there any more. */
	if (n != strlen(name) || memcmp(t->rest, name, n) != 0) {
		t->rest = "";
		return;
	}
	t->rest += n;
	while (*t->rest == '/')
		t->rest++;
}

/* The directory in hand cannot be opened any more: so much for what is in it. */
static void directory_lost(struct amp_tree *t)
{
	odd_failed(t, "");
	t->rest = "";
	amp_names_free(&t->files);
	t->phase = NEXT;
	list_directories(t, NULL, false);
}

/* True: dir_fd is that of the last level. */
static bool directory_open(struct amp_tree *t)
{
	const char *why;

	/* Not closed for its age while it is listed: that would begin anew. */
	if (t->dir_fd >= 0 && t->top.fd >= 0 &&
	    (t->listing.begun || amp_clock_monotonic() - t->top.since < AMP_NS_PER_SEC))
		return true;
	amp_tree_rest(t);
	why = amp_tree_top_renew(&t->top);
	if (why) {
		fail(t, why, errno);
		return false;
	}
	t->dir_fd = amp_tree_levels_open(&t->levels, &t->top);
	if (t->dir_fd >= 0)
		return true;
	directory_lost(t);
	return false;
}

static void list(struct amp_tree *t)
{
	int rc;

	if (!directory_open(t))
		return;
	rc = amp_listing_step(&t->listing, t->dir_fd);
	if (rc > 0)
		return;
	if (rc < 0 && errno == ENOMEM) {
		fail(t, "no memory", 0);
		return;
	}
	if (rc < 0)
		odd_failed(t, "");
	if (t->listing.directories)
		amp_tree_levels_named(&t->levels);
	t->phase = t->listing.files ? TELL : NEXT;
}

/* All that were listed are told. */
static void told(struct amp_tree *t)
{
	if (t->files.more) {
		list_files(t, amp_names_last(&t->files));
		begin_listing(t, true, false);
		return;
	}
	amp_names_free(&t->files);
	amp_tree_levels_named(&t->levels); /* some may have come */
	t->phase = NEXT;
}

static void tell_on(struct amp_tree *t, uint32_t budget)
{
	const char *name;

	if (!directory_open(t))
		return;
	while (t->phase == TELL && amp_tree_batch_has_room(&t->batch, budget)) {
		name = amp_names_next(&t->files);
		if (name)
			tell(t, name);
		else
			told(t);
	}
}

static bool mark_is_due(const struct amp_tree *t)
{
	return t->directories > t->mark_directories &&
	       (t->found >= t->mark_entries || amp_clock_monotonic() - t->mark_ns >= t->mark_every_ns);
}

/* As the path was asked for, whatever it leads to. False: too long for a message. */
static bool put_mark(struct amp_tree *t)
{
	const char *below = t->levels.text + t->levels.list[0].length;
	int n = snprintf(t->mark, sizeof(t->mark), "%.*s%s/%s", (int)t->path_length, t->top.path, below,
			 t->name);

	t->mark_length = (size_t)n;
	return n > 0 && t->mark_length < sizeof(t->mark);
}

static void mark(struct amp_tree *t)
{
	t->marked = true;
	t->found = 0;
	t->mark_directories = t->directories;
	amp_tree_rest(t);
}

static bool is_too_deep(const struct amp_tree *t, const char *name)
{
	size_t length = amp_tree_levels_last(&t->levels)->length;
	size_t asked = length - t->levels.list[0].length + t->path_length;
	size_t more = strlen(name) + 2; /* slash and NUL */

	return t->levels.count > t->depth_limit || length + more > AMP_PATH_MAX ||
	       asked + more > AMP_PATH_MAX;
}

/* May the directory be entered that fd (O_PATH) leads to? False: told why not. */
static bool may_enter(struct amp_tree *t, int fd, const char *name, struct amp_handle *handle,
		      struct amp_spot *spot)
{
	struct statx sx;

	handle->size = 0;
	if (amp_tree_look(fd, "", AT_EMPTY_PATH, &sx) < 0) {
		odd_failed(t, name);
	} else if (!S_ISDIR(sx.stx_mode)) {
		tell(t, name); /* a file is where it was */
	} else if (amp_tree_top_is_beyond(&t->top, &sx)) {
		odd(t, kind_of_mount(&sx), name);
	} else if (!t->by_names && amp_handle_at(fd, "", AT_EMPTY_PATH, handle, NULL) < 0) {
		odd_failed(t, name);
	} else {
		amp_spot_from_statx(&sx, spot);
		return true;
	}
	return false;
}

/* Opens what may be entered, for reading. fd, or -1: told why not. */
static int open_to_enter(struct amp_tree *t, const char *name, struct amp_handle *handle,
			 struct amp_spot *spot)
{
	int look = openat(t->dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), fd = -1;

	if (look < 0) {
		odd_failed(t, name);
		return -1;
	}
	if (may_enter(t, look, name, handle, spot)) {
		fd = amp_open_at(look, ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
		if (fd < 0)
			odd_failed(t, name);
	}
	close(look);
	return fd;
}

static void enter(struct amp_tree *t, const char *name)
{
	struct amp_handle handle;
	struct amp_spot spot;
	int fd;

	if (*t->rest)
		follow_resume(t, name);
	if (is_too_deep(t, name)) {
		t->rest = "";
		odd(t, AMP__WALK_ODD__KIND__TOO_DEEP, name);
		return;
	}
	if (!directory_open(t))
		return;
	fd = open_to_enter(t, name, &handle, &spot);
	if (fd < 0) {
		t->rest = "";
		return;
	}
	if (amp_tree_levels_push(&t->levels, name, &handle, &spot) < 0) {
		close(fd);
		fail(t, "no memory", 0);
		return;
	}
	fd_close(&t->up_fd);
	t->up_fd = t->dir_fd;
	t->dir_fd = fd;
	t->in_part = false;
	begin_directory(t);
}

/* The last level has no more: on with the one above it. */
static void leave(struct amp_tree *t)
{
	amp_tree_levels_pop(&t->levels);
	fd_close(&t->dir_fd);
	t->dir_fd = t->up_fd;
	t->up_fd = -1;
	t->in_part = false;
	/* Where the walk was to go on was below here, and is not there any more. */
	t->rest = "";
	if (t->levels.count == 0)
		amp_tree_give_up(t);
}

static void list_more_directories(struct amp_tree *t, const char *from)
{
	list_directories(t, from, false);
	begin_listing(t, false, true);
}

static void next(struct amp_tree *t)
{
	struct amp_names *names = &amp_tree_levels_last(&t->levels)->names;
	const char *name = t->name;

	if (!name) {
		t->name = name = amp_names_next(names);
		t->seen += name && !amp_tree_levels_last(&t->levels)->skip;
		if (name && mark_is_due(t) && put_mark(t)) {
			mark(t);
			return;
		}
	}
	t->name = NULL;
	if (name)
		enter(t, name);
	else if (names->more)
		list_more_directories(t, amp_names_last(names));
	else
		leave(t);
}

/* The path is a file's: it is the one entry, told with the directory that has its name. */
static void tell_file(struct amp_tree *t, int dirfd, const char *name)
{
	struct amp_walk_entry *e = amp_tree_batch_next(&t->batch);
	struct amp_handle directory = {.size = 0};
	struct statx dir, file;
	struct amp_spot spot;

	if (amp_tree_look(dirfd, "", AT_EMPTY_PATH, &dir) < 0 || amp_tree_look(dirfd, name, 0, &file) < 0) {
		fail(t, "the path is gone", errno);
		return;
	}
	amp_spot_from_statx(&file, &spot);
	if (!amp_spot_equal(&spot, &t->top.spot)) {
		fail(t, "the path leads elsewhere now", 0);
		return;
	}
	/* A file mounted over a name has no directory in its file system that is known. */
	t->by_names = t->by_names || amp_tree_top_is_beyond(&t->top, &dir) ||
		      amp_handle_at(dirfd, "", AT_EMPTY_PATH, &directory, NULL) < 0;
	if (t->by_names && !t->names_permitted) {
		fail(t, "the file is known by its name only", 0);
		return;
	}
	directory.size = t->by_names ? 0 : directory.size;
	amp_tree_batch_part(&t->batch, &directory, t->levels.text, strlen(t->levels.text));
	t->in_part = true;
	t->seen = 1;
	amp_identity_from_statx(&file, &e->identity);
	e->file = t->top.handle;
	amp_walk_entry_name(e, name);
	t->phase = OVER;
	if (t->by_names)
		file_begin(t, dirfd, name);
	else
		added(t);
}

static void begin_file(struct amp_tree *t)
{
	char *slash = strrchr(t->levels.text, '/');
	int dirfd;

	*slash = '\0';
	dirfd = open(slash == t->levels.text ? "/" : t->levels.text,
		     O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (slash == t->levels.text)
		memcpy(t->levels.text, "/", 2);
	if (dirfd < 0) {
		fail(t, "the path is gone", errno);
		return;
	}
	tell_file(t, dirfd, strrchr(t->top.real, '/') + 1);
	close(dirfd);
	amp_tree_rest(t);
}

static void begin(struct amp_tree *t)
{
	const char *why = amp_tree_top_open(&t->top);

	t->mark_ns = amp_clock_monotonic();
	if (!why && t->fsid && t->top.fsid != t->fsid) {
		why = "the path is on another file system";
		errno = 0;
	}
	t->by_names |= !t->top.handles;
	if (!why && t->by_names && !t->names_permitted) {
		why = "file system has no file handles";
		errno = 0;
	}
	if (why) {
		fail(t, why, errno);
		return;
	}
	if (t->by_names)
		t->top.handle.size = 0;
	memcpy(t->levels.text, t->top.real, t->top.real_length);
	t->levels.text[without_slashes(t->top.real, t->top.real_length)] = '\0';
	if (t->top.regular) {
		begin_file(t);
	} else if (amp_tree_levels_push(&t->levels, NULL, &t->top.handle, &t->top.spot) < 0) {
		fail(t, "no memory", 0);
	} else {
		begin_directory(t);
	}
}

bool amp_tree_step(struct amp_tree *t, uint32_t budget)
{
	if (t->marked)
		t->mark_ns = amp_clock_monotonic();
	t->marked = false;
	for (unsigned n = 0; n < UNITS && t->phase != OVER; n++) {
		/* The file in hand has its place in the batch, and its part. */
		if (t->phase != FILE_IN_HAND && !amp_tree_batch_has_room(&t->batch, budget))
			return true;
		if (t->phase == BEGIN)
			begin(t);
		else if (t->phase == LIST)
			list(t);
		else if (t->phase == TELL)
			tell_on(t, budget);
		else if (t->phase == NEXT)
			next(t);
		else
			file_go_on(t);
		if (t->marked)
			return true;
	}
	return t->phase == OVER;
}

struct amp_tree_batch *amp_tree_batch(struct amp_tree *t)
{
	return &t->batch;
}

bool amp_tree_over(const struct amp_tree *t)
{
	return t->phase == OVER;
}

const char *amp_tree_mark(const struct amp_tree *t, size_t *length)
{
	*length = t->mark_length;
	return t->marked ? t->mark : NULL;
}

void amp_tree_totals(const struct amp_tree *t, struct amp_tree_totals *totals)
{
	*totals = (struct amp_tree_totals){
		.walk = {.seen = t->seen,
			 .unreadable = t->unreadable,
			 .too_deep = t->too_deep,
			 .error = t->error[0] ? t->error : NULL},
		.directories = t->directories,
		.fsid = t->top.fsid,
	};
}
