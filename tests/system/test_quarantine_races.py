"""Whoever owns the directory races the quarantine, 2,000 rounds of each trick
on tmpfs and on ext4 (issue "Quarantine", point 3).

The racer is an ordinary user with a thread that changes names as fast as it
can. Afterwards the canary is what it was, everything that is not listed is
still there, everything listed is harmless, and nothing is left half done.
"""

import os
import subprocess
import threading

import harness
from harness import check, wait_for

TESTER, KEEPER = harness.USERS["amp-tester"], harness.USERS["amp-quard"]
ROUNDS, CONTENTS, SECONDS = 2000, 50, 600
OUTCOMES = ("threat_quarantined", "threat_neutralised")
PRIVATE = ".amp-quarantine-"

# argv: race, directory, canary, tag, rounds. A writer and a thread that changes names of the last rounds.
RACER = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define BEHIND 24 /* files not taken yet that the writer is ahead */

static const char *canary, *tag;
static int top, sub, rounds, changes;
static int eyes[BEHIND]; /* O_PATH descriptors of the listed files of the last rounds */
static atomic_int at = -1, over;

static const char *name(const char *kind, int i)
{
	static _Thread_local char buf[4][64];
	static _Thread_local unsigned n;
	char *to = buf[n++ % 4];

	snprintf(to, sizeof(buf[0]), "%s%d", kind, i);
	return to;
}

static void look_on(int fd, int i);

static int put(int dir, const char *path, const char *kind, int i)
{
	const bool is_listed = *kind != 'i';
	const int n = is_listed ? i % 50 : i;

	int fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL, 0644);

	if (fd < 0)
		return -1;
	if (*kind == 'l')
		look_on(fd, i);
	if (dprintf(fd, "%s content of race %s, number %d\n", is_listed ? "listed" : kind, tag, n) < 0)
		abort();
	return close(fd);
}

static void look_on(int fd, int i)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (eyes[i % BEHIND] > 0)
		close(eyes[i % BEHIND]);
	eyes[i % BEHIND] = open(path, O_PATH);
}

static int listed(int dir, const char *path, int i)
{
	return put(dir, path, "listed", i);
}

/* Harmless: it has no name any more, or no content. */
static void wait_taken(int i)
{
	struct stat st;

	for (int n = 0; n < 400000; n++) {
		if (i < 0 || fstat(eyes[i % BEHIND], &st) != 0 || st.st_nlink == 0 || st.st_size == 0)
			return;
		usleep(500);
	}
	fprintf(stderr, "round %d is not taken in 200 s\n", i);
	exit(7);
}

/* Unlike listed ones each has its own content and must be there at the end. */
static void innocent(int dir, const char *path, int i)
{
	if (put(dir, path, "innocent", i) != 0) {
		fprintf(stderr, "innocent %s: %s\n", path, strerror(errno));
		exit(3);
	}
}

static int exchange(const char *a, const char *b)
{
	int rc = renameat2(top, a, top, b, RENAME_EXCHANGE);

	changes += rc == 0;
	return rc;
}

static void move(int from, const char *a, int to, const char *b)
{
	changes += renameat(from, a, to, b) == 0;
}

/* -- the races: what a round makes, what the thread does to it -- */

static void directory_make(int i) { listed(sub, name("f", i), i); }
static void directory_change(int i) { exchange("sub", "link"); (void)i; }

static void to_canary(const char *link, int i)
{
	char target[4096];

	snprintf(target, sizeof(target), "%s/f%d", canary, i);
	if (symlinkat(target, top, link) != 0)
		exit(4);
}
static void symlink_make(int i) { to_canary(name("s", i), i); listed(top, name("f", i), i); }
static void last_change(int i) { exchange(name("f", i), name("s", i)); }

/* Even: a file of our own; odd: of root, who linked it here beforehand. */
static void hard_make(int i)
{
	if (i % 2 == 0 && linkat(top, "own", top, name("s", i), 0) != 0)
		exit(5);
	listed(top, name("f", i), i);
}

static void rename_make(int i)
{
	listed(top, name("f", i), i);
	if (i % 2)
		renameat(top, name("f", i), top, name("g", i));
	else
		renameat(top, name("f", i), sub, name("f", i));
}
static void rename_change(int i)
{
	move(sub, name("f", i), top, name("h", i));
	move(top, name("g", i), sub, name("f", i));
	move(top, name("h", i), top, name("g", i));
}

static void place_make(int i)
{
	char inside[80];

	mkdirat(top, name("s", i), 0755);
	snprintf(inside, sizeof(inside), "s%d/f", i);
	innocent(top, inside, i);
	listed(top, name("f", i), i);
}

static void parent_make(int i)
{
	char inside[80];

	mkdirat(top, name("p", i), 0755);
	snprintf(inside, sizeof(inside), "p%d/f", i);
	listed(top, inside, i);
}
static void parent_change(int i)
{
	char inside[80];

	move(top, name("p", i), sub, name("q", i));
	snprintf(inside, sizeof(inside), "q%d/f", i);
	if (i % 2)
		move(sub, inside, top, name("f", i));
	unlinkat(sub, name("q", i), AT_REMOVEDIR);
}

static void plain_make(int i) { listed(top, name("f", i), i); }
static void check_own(const char *private)
{
	struct stat st;

	if (fstatat(sub, private, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_uid != geteuid())
		exit(6);
}

static void steal(const char *private)
{
	int n = changes++;

	if (n % 5 == 0)
		renameat(top, private, top, name("stolen", n));
	else if (n % 5 == 1)
		unlinkat(top, private, AT_REMOVEDIR);
	else if (n % 5 == 2 && renameat(top, private, sub, private) == 0)
		check_own(private); /* the quarantine's does not go into another directory */
	else if (n % 5 == 3 && renameat(top, private, top, name("stolen", n)) == 0)
		mkdirat(top, private, 0777);
	else if (n % 5 == 4)
		exchange(private, "link");
}
static void private_change(int i)
{
	int fd = openat(top, ".", O_RDONLY | O_DIRECTORY);
	DIR *d = fdopendir(fd);
	struct dirent *e;

	(void)i;
	while (d && (e = readdir(d)))
		if (strncmp(e->d_name, ".amp-quarantine-", 16) == 0)
			steal(e->d_name);
	closedir(d);
}

/* Even: something innocent under the name at once; odd: the same again, and again. */
static void again_make(int i)
{
	listed(top, name("f", i), i);
	if (i % 2 == 0) {
		innocent(top, name("i", i), i);
		renameat(top, name("i", i), top, name("f", i));
		return;
	}
	for (int n = 0; n < 3; n++) {
		unlinkat(top, name("f", i), 0);
		listed(top, name("f", i), i);
	}
}
static void again_change(int i)
{
	char moved[80];

	if (i % 2 == 0)
		return;
	snprintf(moved, sizeof(moved), "g%d", i);
	move(top, name("f", i), top, moved);
	put(top, name("f", i), "again", i);
}

static const struct race {
	const char *name;
	void (*make)(int i);
	void (*change)(int i);
} races[] = {
	{"directory", directory_make, directory_change},
	{"symlink", symlink_make, last_change},
	{"hardlink", hard_make, last_change},
	{"rename", rename_make, rename_change},
	{"inplace", place_make, last_change},
	{"parent", parent_make, parent_change},
	{"private", plain_make, private_change},
	{"again", again_make, again_change},
	{"vault", plain_make, NULL},
};

static void *changer(void *arg)
{
	const struct race *r = arg;

	for (unsigned n = 1; !over; n = n * 1103515245 + 12345) {
		int i = at - (int)((n >> 16) % BEHIND);

		if (i >= 0 && r->change)
			r->change(i);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const struct race *r = races;
	pthread_t t;

	while (strcmp(r->name, argv[1]) != 0)
		r++;
	canary = argv[3];
	tag = argv[4];
	rounds = atoi(argv[5]);
	top = open(argv[2], O_RDONLY | O_DIRECTORY);
	sub = openat(top, "sub", O_RDONLY | O_DIRECTORY);
	if (argc != 6 || top < 0 || sub < 0 || pthread_create(&t, NULL, changer, (void *)r) != 0)
		return 2;
	for (int i = 0; i < rounds + BEHIND; i++) {
		wait_taken(i - BEHIND);
		if (i >= rounds)
			continue;
		r->make(i);
		at = i;
	}
	over = 1;
	pthread_join(t, NULL);
	printf("%d\n", changes);
	return 0;
}
"""


class Place:
    """One file system: below it the canary, and a directory of the tester for each race."""

    def __init__(self, kind, top):
        self.kind = kind
        self.top = top
        self.canary = top + "/canary"
        os.mkdir(self.canary, 0o755)
        for i in range(ROUNDS):
            harness.write("%s/f%d" % (self.canary, i), b"canary %d\n" % i)

    def ground(self, race):
        """The directory of a race, the tester's, with another in it and a link to the canary."""
        d = "%s/%s" % (self.top, race)
        for path in (d, d + "/sub"):
            os.mkdir(path)
            os.chown(path, TESTER, TESTER)
        os.symlink(self.canary, d + "/link")
        os.lchown(d + "/link", TESTER, TESTER)
        return d


def setup(base):
    global places, racer, suites
    suites = []
    racer = harness.compile_c(RACER, base + "/racer", "-pthread")
    os.chmod(racer, 0o755)
    places = [
        Place("tmpfs", harness.mount_tmpfs(base + "/w-tmpfs")),
        Place("ext4", harness.mount_ext4(base + "/w-ext4", base + "/ext4.img", 192)),
    ]


def teardown():
    for s in suites:
        s.cleanup()


def listed(tag):
    return [b"listed content of race %s, number %d\n" % (tag.encode(), n) for n in range(CONTENTS)]


def new_suite(race):
    """Of its own for each race: what is counted is of it alone."""
    for s in suites:
        s.cleanup()
    s = harness.Suite(harness.BASE, [p.top for p in places], name="suite-" + race)
    s.lists["blocked.list"] = ["%s Test.Race" % harness.sha256(c) for p in places for c in listed(tag(race, p))]
    s.configure()
    suites.append(s)
    return s.start()


def tag(race, place):
    return "%s-on-%s" % (race, place.kind)


def snapshot(top):
    """All of a tree that must stay: names, inodes, content, owner, mode, times of files."""
    found = {}
    for d, _, names in os.walk(top):
        for path in [d] + [os.path.join(d, n) for n in names]:
            st = os.lstat(path)
            data = b"" if path == d else open(path, "rb").read()
            found[path] = (st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, data)
    return found


def contents(top):
    """{content: number of files with it}, and the directories below top."""
    files, dirs = {}, []
    for d, _, names in os.walk(top):
        dirs.append(d)
        for n in names:
            path = os.path.join(d, n)
            if not os.path.islink(path):
                data = open(path, "rb").read()
                files[data] = files.get(data, 0) + 1
    return files, dirs


def is_unfinished(s):
    code, rows = s.cli("quarantine", "list")
    return code != 0 or [e for e in rows if e["state"] not in ("quarantined", "restored")]


def settle(s):
    """Until nothing is in hand, and what failed was tried again."""
    s.wait_idle(SECONDS)
    try:
        wait_for("the end of the taking", lambda: not is_unfinished(s), SECONDS, 0.5)
    except harness.Failed as e:
        raise harness.Failed("%s: %r" % (e, is_unfinished(s)[:3]))
    s.wait_idle(SECONDS)


def check_suite(s):
    """Nobody died, nobody broke the protocol, each detection has one outcome."""
    wait_for("fault 17 to clear", lambda: not [f for f in s.status()["faults"] if f["number"] == 17])
    st = s.status()
    check(not [f for f in st["faults"] if f["number"] in (2, 4, 12, 18)], "faults: %r" % st["faults"])
    check(not [v for v in st["services"] if v["restarts"]], "restarts: %r" % st["services"])

    def joined():
        rows = s.history()
        detected = {r["detection_id"] for r in rows if r["type"] == "threat_detected"}
        outcomes = [r["detection_id"] for r in rows if r["type"] in OUTCOMES]
        return (detected, outcomes) if detected == set(outcomes) else None

    try:
        detected, outcomes = wait_for("an outcome of every detection", joined, harness.SOON)
    except harness.Failed:
        rows = s.history()
        detected = {r["detection_id"]: r for r in rows if r["type"] == "threat_detected"}
        outcomes = {r["detection_id"] for r in rows if r["type"] in OUTCOMES}
        raise harness.Failed("without an outcome: %r; without a detection: %r"
                             % ([detected[i] for i in set(detected) - outcomes][:2], list(outcomes - set(detected))[:2]))
    check(len(outcomes) == len(detected), "%d outcomes twice" % (len(outcomes) - len(detected)))
    check(len(detected) >= 2 * ROUNDS, "only %d detections" % len(detected))


def check_ground(race, place, d, innocents):
    files, dirs = contents(d)
    left = [c for c in listed(tag(race, place)) if c in files]
    check(not left, "%s: %d listed contents are still there: %r" % (place.kind, len(left), left[:3]))
    for i in innocents:
        n = files.get(b"innocent content of race %s, number %d\n" % (tag(race, place).encode(), i), 0)
        check(n == 1, "%s: innocent %d is there %d times" % (place.kind, i, n))
    ours = [x for x in dirs if os.stat(x).st_uid == KEEPER]
    # Who renames a private directory faster than it can be looked for may keep it, but never
    # anything in it.
    check(not [x for x in ours if os.listdir(x)], "%s: names were kept in %r" % (place.kind, ours))
    check(len(ours) <= (ROUNDS // 500 if race == "private" else 0), "%s: %d private directories left: %r" % (place.kind, len(ours), ours[:3]))


def race(name, innocents=(), beside=None, after=None):
    s = new_suite(name)
    for place in places:
        d = place.ground(name)
        if beside:
            beside(place, d)
        s.wait_idle()
        before = snapshot(place.canary)
        p = subprocess.run([racer, name, d, place.canary, tag(name, place), str(ROUNDS)], user=TESTER, group=TESTER,
                           extra_groups=[], timeout=SECONDS, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        check(p.returncode == 0, "the racer: %d %s" % (p.returncode, p.stderr.decode()))
        changes = int(p.stdout)
        check(name == "vault" or changes > CONTENTS, "%s: only %d changes" % (place.kind, changes))
        settle(s)
        check(snapshot(place.canary) == before, "%s: the canary was touched" % place.kind)
        check_ground(name, place, d, innocents)
        if after:
            after(place, d)
    check_suite(s)


def case_directory_swapped_with_a_link_to_a_canary():
    race("directory")


def links(d):
    return sum(os.path.islink(e.path) for e in os.scandir(d))


def case_last_component_swapped_with_links_to_a_canary():
    def all_links(place, d):
        check(links(d) == ROUNDS + 1, "%s: of %d links %d are there" % (place.kind, ROUNDS + 1, links(d)))

    race("symlink", after=all_links)


def case_last_component_swapped_with_hard_links_to_a_canary():
    """To a file of root, who made the links, and to one of the tester that is not listed."""
    targets = {}

    def prepare(place, d):
        own = harness.write(d + "/own", b"the tester's own\n")
        os.chown(own, TESTER, TESTER)
        root = harness.write(place.top + "/of-root", b"root's own\n")
        for i in range(1, ROUNDS, 2):
            os.link(root, "%s/s%d" % (d, i))
        targets[place.kind] = {p: os.stat(p) for p in (own, root)}

    def untouched(place, d):
        for path, st in targets[place.kind].items():
            now = os.stat(path)
            check((now.st_ino, now.st_mtime_ns, now.st_uid, now.st_size) ==
                  (st.st_ino, st.st_mtime_ns, st.st_uid, st.st_size), "%s: %s was touched" % (place.kind, path))
            names = [e.name for e in os.scandir(d) if e.inode() == st.st_ino]
            check(len(names) >= ROUNDS // 2, "%s: of %s only %d links are there" % (place.kind, path, len(names)))

    race("hardlink", beside=prepare, after=untouched)


def case_renamed_right_after_close():
    race("rename")


def case_a_directory_in_its_place():
    race("inplace", innocents=range(ROUNDS))


def case_parent_moved_away_and_removed():
    race("parent")


def case_private_directory_stolen():
    race("private")


def case_made_again_under_its_name():
    race("again", innocents=range(0, ROUNDS, 2))


def case_vault_directory_replaced():
    """By root, with a link to a canary, as often as it goes."""
    canary = harness.mount_tmpfs(harness.BASE + "/vault-canary", "mode=755")
    for i in range(CONTENTS):
        harness.write("%s/f%d" % (canary, i), b"vault canary\n")
    before = snapshot(canary)
    over = threading.Event()
    libc = harness.ctypes.CDLL(None, use_errno=True)
    swaps = []

    def swap(a, b):
        check(libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2) == 0, "exchange failed")

    def loop(vault):
        while not over.is_set():
            swap(vault, vault + ".link")
            over.wait(0.001)
            swap(vault, vault + ".link")
            swaps.append(1)

    def begin(place, d):
        if not swaps:
            vault = suites[-1].quarantine
            os.symlink(canary, vault + ".link")
            thread.append(threading.Thread(target=loop, args=(vault,)))
            thread[0].start()

    thread = []
    try:
        race("vault", beside=begin)
    finally:
        over.set()
        thread[0].join()
    check(len(swaps) > 100, "only %d swaps" % len(swaps))
    check(snapshot(canary) == before, "the vault's canary was touched: %r" % os.listdir(canary)[:9])
    s = suites[-1]
    vault = os.listdir(s.quarantine)
    missing = [e["id"] for e in s.cli("quarantine", "list")[1] if e["id"] + ".q" not in vault]
    check(not missing, "not in the vault: %r" % missing[:3])


harness.main(globals())
