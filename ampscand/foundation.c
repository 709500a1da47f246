/*
 * ampscand/foundation.c - what this machine stands on: files that no signature
 * has killed or moved, whatever it says of them.
 *
 * Owns: the table of paths and prefixes known here, the paths that ampmon tells
 * (what PID 1 runs and maps), the comparison, the fault. Must not own: what is
 * done about a conviction (act.c).
 *
 * Compared is the inode, at the moment of the conviction: any hard link of a
 * foundation is one, and an update needs no notice; but while it is under way the
 * new file is known by its name and its directory. Only what is root's and
 * nobody else may write can be one, so nobody hides behind this.
 */
#include "scand.h"

#include "clock.h"
#include "log.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATHS_MAX 4096U		  /* of ampmon's */
#define XINO_MASK (0xffULL << 56) /* overlay's xino=on puts the layer's number there */
#define DIRS_MAX  32U
#define HINTS	  64U

struct paths {
	char **path;
	size_t count;
};

/* A path that led to a file with that number. */
struct hint {
	uint64_t ino;
	char *path;
};

struct foundation {
	struct hint hints[HINTS];
	struct paths told, next; /* of ampmon; what is not whole yet */
	bool raised;
	char detail[256 + 512];
	uint64_t generation; /* of the signatures when it was raised */
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Whatever else these are, they are found by these names. Links are followed. */
static const char *const fixed[] = {
	"/usr/lib/systemd/systemd",
	"/lib/systemd/systemd",
	"/lib64/ld-linux-x86-64.so.2",
	"/lib/ld-linux.so.2",
	"/lib/ld-linux-aarch64.so.1",
	"/lib/ld-linux-armhf.so.3",
	"/lib/ld-linux-riscv64-lp64d.so.1",
	"/lib64/ld64.so.2",
	"/lib/ld64.so.1",
	"/lib/ld-musl-x86_64.so.1",
	"/lib/ld-musl-aarch64.so.1",
	"/lib/ld-musl-armhf.so.1",
	"/lib/ld-musl-i386.so.1",
	"/vmlinuz",
	"/initrd.img",
	"/usr/lib/openssh/sshd-session",
	"/usr/lib/openssh/sshd-auth",
	"/usr/libexec/openssh/sshd-session",
	"/usr/libexec/openssh/sshd-auth",
	"/usr/lib/sudo/sudoers.so",
	"/usr/lib/sudo/libsudo_util.so.0",
	"/usr/libexec/sudo/sudoers.so",
	"/usr/libexec/sudo/libsudo_util.so.0",
};

static const char *const program_dirs[] = {"/sbin", "/bin", "/usr/sbin", "/usr/bin"};

static const char *const programs[] = {
	/* start, login */
	"init",
	"telinit",
	"openrc",
	"openrc-init",
	"runit",
	"agetty",
	"getty",
	"login",
	"su",
	"sudo",
	"doas",
	"sshd",
	"ssh",
	"unix_chkpwd",
	"nologin",
	"passwd",
	/* shells and what scripts of the system run */
	"sh",
	"bash",
	"rbash",
	"dash",
	"ash",
	"zsh",
	"ksh",
	"mksh",
	"busybox",
	"toybox",
	"env",
	"perl",
	"python3",
	"coreutils",
	/* file systems, devices, network */
	"mount",
	"umount",
	"mount.nfs",
	"fsck",
	"e2fsck",
	"xfs_repair",
	"btrfs",
	"lvm",
	"dmsetup",
	"cryptsetup",
	"mdadm",
	"modprobe",
	"kmod",
	"udevadm",
	"ip",
	"nft",
	"xtables-nft-multi",
	"iptables",
	"NetworkManager",
	"dhclient",
	"ldconfig",
	"chroot",
	"switch_root",
	"reboot",
	"shutdown",
	/* systemd, its bus, the cron */
	"systemctl",
	"journalctl",
	"loginctl",
	"networkctl",
	"systemd-tmpfiles",
	"systemd-sysusers",
	"systemd-notify",
	"systemd-run",
	"dbus-daemon",
	"dbus-broker",
	"dbus-broker-launch",
	"cron",
	"crond",
	"rsyslogd",
	"auditd",
	"polkitd",
	/* packages */
	"dpkg",
	"dpkg-deb",
	"dpkg-split",
	"dpkg-query",
	"dpkg-trigger",
	"dpkg-divert",
	"apt",
	"apt-get",
	"apt-cache",
	"apt-mark",
	"apt-key",
	"rpm",
	"rpmdb",
	"rpmkeys",
	"dnf",
	"dnf-3",
	"dnf5",
	"microdnf",
	"yum",
	"zypper",
	"apk",
	"pacman",
	"gpgv",
	"gpg",
};

static const char *const library_dirs[] = {
	"/lib",
	"/lib64",
	"/usr/lib",
	"/usr/lib64",
	"/lib/x86_64-linux-gnu",
	"/usr/lib/x86_64-linux-gnu",
	"/lib/aarch64-linux-gnu",
	"/usr/lib/aarch64-linux-gnu",
	"/lib/i386-linux-gnu",
	"/usr/lib/i386-linux-gnu",
	"/lib/arm-linux-gnueabihf",
	"/usr/lib/arm-linux-gnueabihf",
	"/lib/riscv64-linux-gnu",
	"/usr/lib/riscv64-linux-gnu",
	"/lib/powerpc64le-linux-gnu",
	"/usr/lib/powerpc64le-linux-gnu",
	"/lib/s390x-linux-gnu",
	"/usr/lib/s390x-linux-gnu",
};

static const char *const libraries[] = {
	/* of the C library; one that is of the loader's making is there under one of these names too */
	"libc.so.6",
	"libpthread.so.0",
	"libm.so.6",
	"libmvec.so.1",
	"libdl.so.2",
	"librt.so.1",
	"libutil.so.1",
	"libresolv.so.2",
	"libnsl.so.1",
	"libnsl.so.2",
	"libanl.so.1",
	"libthread_db.so.1",
	"libnss_files.so.2",
	"libnss_dns.so.2",
	"libnss_compat.so.2",
	"libnss_hesiod.so.2",
	"libnss_systemd.so.2",
	"libnss_myhostname.so.2",
	"libnss_mymachines.so.2",
	"libnss_resolve.so.2",
	"libnss_sss.so.2",
	"libnss_ldap.so.2",
	"libnss_winbind.so.2",
	"libc.musl-x86_64.so.1",
	"libc.musl-aarch64.so.1",
	"libgcc_s.so.1",
	"libstdc++.so.6",
	/* who may come in, and what may be done */
	"libcrypt.so.1",
	"libcrypt.so.2",
	"libpam.so.0",
	"libpam_misc.so.0",
	"libpamc.so.0",
	"libselinux.so.1",
	"libsemanage.so.1",
	"libsemanage.so.2",
	"libsepol.so.1",
	"libsepol.so.2",
	"libapparmor.so.1",
	"libaudit.so.1",
	"libauparse.so.0",
	"libcap.so.2",
	"libcap-ng.so.0",
	"libseccomp.so.2",
	"libtirpc.so.3",
	"libgssapi_krb5.so.2",
	"libkrb5.so.3",
	"libk5crypto.so.3",
	"libkrb5support.so.0",
	"libcom_err.so.2",
	"libkeyutils.so.1",
	"libwrap.so.0",
	/* ciphers, compression */
	"libcrypto.so.1.1",
	"libcrypto.so.3",
	"libssl.so.1.1",
	"libssl.so.3",
	"libgcrypt.so.20",
	"libgpg-error.so.0",
	"libgnutls.so.30",
	"libnettle.so.8",
	"libhogweed.so.6",
	"libgmp.so.10",
	"libp11-kit.so.0",
	"libtasn1.so.6",
	"libz.so.1",
	"libbz2.so.1",
	"libbz2.so.1.0",
	"liblzma.so.5",
	"liblz4.so.1",
	"libzstd.so.1",
	"libxxhash.so.0",
	/* systemd, its tools, shells */
	"libsystemd.so.0",
	"libudev.so.1",
	"libmount.so.1",
	"libblkid.so.1",
	"libuuid.so.1",
	"libsmartcols.so.1",
	"libfdisk.so.1",
	"libkmod.so.2",
	"libacl.so.1",
	"libattr.so.1",
	"libip4tc.so.2",
	"libcryptsetup.so.12",
	"libdevmapper.so.1.02.1",
	"libdevmapper.so.1.02",
	"libjson-c.so.5",
	"libpcre2-8.so.0",
	"libtinfo.so.5",
	"libtinfo.so.6",
	"libncursesw.so.6",
	"libreadline.so.8",
	"libdbus-1.so.3",
	"libexpat.so.1",
	"libext2fs.so.2",
	"libe2p.so.2",
	/* packages */
	"libapt-pkg.so.6.0",
	"libapt-private.so.0.0",
	"libmd.so.0",
	"librpm.so.9",
	"librpm.so.10",
	"librpmio.so.9",
	"librpmio.so.10",
	"librpmbuild.so.9",
	"librpmsign.so.9",
	"libdnf.so.2",
	"libdnf5.so.2",
	"libsolv.so.1",
	"libsolvext.so.1",
	"librepo.so.0",
	"libmodulemd.so.2",
	"libsqlite3.so.0",
	"liblua5.3.so.0",
	"liblua-5.4.so",
	"libpopt.so.0",
	"libcurl.so.4",
	"libapk.so.2.14.0",
	"libalpm.so.13",
	/* the suite's own */
	"libevent-2.1.so.7",
	"libevent_core-2.1.so.7",
	"libprotobuf-c.so.1",
	"libconfuse.so.2",
	"libedit.so.2",
	"libclamav.so.11",
	"libclamav.so.12",
};

static const char *const prefixes[] = {
	"/boot/",
	"/lib/modules/",
	"/usr/lib/modules/",
	"/lib/systemd/",
	"/usr/lib/systemd/",
	"/lib/security/",
	"/lib64/security/",
	"/usr/lib/security/",
	"/usr/lib64/security/",
	"/lib/x86_64-linux-gnu/security/",
	"/usr/lib/x86_64-linux-gnu/security/",
	"/lib/aarch64-linux-gnu/security/",
	"/usr/lib/aarch64-linux-gnu/security/",
	"/lib/i386-linux-gnu/security/",
	"/usr/lib/i386-linux-gnu/security/",
	"/lib/arm-linux-gnueabihf/security/",
	"/usr/lib/arm-linux-gnueabihf/security/",
	"/lib/riscv64-linux-gnu/security/",
	"/usr/lib/riscv64-linux-gnu/security/",
	"/lib/powerpc64le-linux-gnu/security/",
	"/usr/lib/powerpc64le-linux-gnu/security/",
	"/lib/s390x-linux-gnu/security/",
	"/usr/lib/s390x-linux-gnu/security/",
	"/usr/lib/x86_64-linux-gnu/systemd/",
	"/usr/lib/aarch64-linux-gnu/systemd/",
	"/usr/lib/apt/",
	"/usr/lib/dpkg/",
	"/usr/lib/rpm/",
};

static void forget(struct paths *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->path[i]);
	free(p->path);
	*p = (struct paths){NULL, 0};
}

static void forget_hints(struct foundation *f)
{
	for (size_t i = 0; i < HINTS; i++) {
		free(f->hints[i].path);
		f->hints[i] = (struct hint){0, NULL};
	}
}

int foundation_init(struct scand *s)
{
	s->foundation = calloc(1, sizeof(*s->foundation));
	return s->foundation ? 0 : -1;
}

void foundation_free(struct scand *s)
{
	if (!s->foundation)
		return;
	forget(&s->foundation->told);
	forget(&s->foundation->next);
	forget_hints(s->foundation);
	free(s->foundation);
	s->foundation = NULL;
}

static bool is_path(const ProtobufCBinaryData *p)
{
	return p->len > 1 && p->len < AMP_PATH_MAX && p->data[0] == '/' && !memchr(p->data, 0, p->len);
}

static int add(struct paths *p, const ProtobufCBinaryData *path)
{
	char **more = p->count % AMP_PATHS_BATCH
			      ? p->path
			      : reallocarray(p->path, p->count + AMP_PATHS_BATCH, sizeof(*more));

	if (!more)
		return -1;
	p->path = more;
	p->path[p->count] = strndup((const char *)path->data, path->len);
	if (!p->path[p->count])
		return -1;
	p->count++;
	return 0;
}

int foundation_paths(struct scand *s, const Amp__Foundation *f)
{
	struct paths *next = &s->foundation->next;

	if (f->n_paths > AMP_PATHS_BATCH)
		return -1;
	for (size_t i = 0; i < f->n_paths; i++) {
		if (!is_path(&f->paths[i]))
			return -1;
		if (next->count == PATHS_MAX || add(next, &f->paths[i]) != 0)
			amp_error("no room for a path of the foundations");
	}
	if (f->more)
		return 0;
	forget_hints(s->foundation);
	forget(&s->foundation->told);
	s->foundation->told = *next;
	*next = (struct paths){NULL, 0};
	return 0;
}

/* -- comparing -- */

/* Others can neither have made it nor changed it. */
static bool is_roots(const struct amp_identity *id)
{
	return id->uid == 0 && (id->mode & 022) == 0;
}

/*
 * The same inode. Where the machine's own root is an overlay its files have
 * another device than the layer's by which they are judged: there number, size
 * and change time must do, and nobody sets a change time.
 */
static bool is_inode(const struct amp_identity *there, const struct amp_identity *file)
{
	if (there->ino == file->ino && there->dev_major == file->dev_major &&
	    there->dev_minor == file->dev_minor)
		return true;
	return (there->ino & ~XINO_MASK) == (file->ino & ~XINO_MASK) && there->size == file->size &&
	       there->ctime_ns == file->ctime_ns;
}

static bool is_there(const char *path, const struct amp_identity *file)
{
	struct amp_identity there;

	return amp_statx_identity(AT_FDCWD, path, 0, &there) == 0 && is_roots(&there) &&
	       is_inode(&there, file);
}

/* The same is asked again and again when a signature convicts what runs often. */
static void note(struct foundation *f, const char *path, const struct amp_identity *file)
{
	struct hint *h = &f->hints[file->ino % HINTS];

	free(h->path);
	h->path = strdup(path);
	h->ino = file->ino;
}

static bool is_as_before(const struct foundation *f, const struct amp_identity *file)
{
	const struct hint *h = &f->hints[file->ino % HINTS];

	return h->path && h->ino == file->ino && is_there(h->path, file);
}

static bool leads_to(struct scand *s, const char *path, const struct amp_identity *file)
{
	if (!is_there(path, file))
		return false;
	note(s->foundation, path, file);
	return true;
}

static bool below_leads_to(struct scand *s, const char *dir, const char *name,
			   const struct amp_identity *file)
{
	char path[4096]; /* the kernel takes no longer one */
	int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

	return n > 0 && (size_t)n < sizeof(path) && leads_to(s, path, file);
}

static bool any_leads_to(struct scand *s, const char *const *paths, size_t n, const struct amp_identity *file)
{
	for (size_t i = 0; i < n; i++)
		if (leads_to(s, paths[i], file))
			return true;
	return false;
}

/* Most of the directories are not there, or another's link: looked through once each. */
static bool any_below_leads_to(struct scand *s, const char *const *dirs, size_t dir_count,
			       const char *const *names, size_t n, const struct amp_identity *file)
{
	struct amp_identity seen[DIRS_MAX];
	size_t known = 0;

	for (size_t d = 0; d < dir_count && known < DIRS_MAX; d++) {
		size_t same = 0;

		if (amp_statx_identity(AT_FDCWD, dirs[d], 0, &seen[known]) != 0)
			continue;
		while (!is_inode(&seen[same], &seen[known]))
			same++;
		if (same < known)
			continue;
		known++;
		for (size_t i = 0; i < n; i++)
			if (below_leads_to(s, dirs[d], names[i], file))
				return true;
	}
	return false;
}

static bool is_below(const char *path, const char *prefix)
{
	size_t n = strlen(prefix);

	while (n && prefix[n - 1] == '/')
		n--;
	return strncmp(path, prefix, n) == 0 && path[n] == '/';
}

static bool has_prefix(const struct scand *s, const char *path)
{
	if (s->bin_dir && s->bin_dir[0] == '/' && s->bin_dir[1] && is_below(path, s->bin_dir))
		return true;
	for (size_t i = 0; i < COUNT(prefixes); i++)
		if (is_below(path, prefixes[i]))
			return true;
	return false;
}

/* A directory that only root may search is not looked into: the path came from the kernel. */
static bool is_below_prefix(const struct scand *s, const char *path, const struct amp_identity *file)
{
	struct amp_identity there;

	if (!path || !has_prefix(s, path))
		return false;
	if (amp_statx_identity(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &there) != 0)
		return errno == EACCES;
	return is_roots(&there) && is_inode(&there, file);
}

static bool is_own_program(struct scand *s, const struct amp_identity *file)
{
	if (!s->bin_dir)
		return false;
	for (enum amp_role_id r = AMP_ROLE_MON; r < AMP_ROLE_COUNT; r++)
		if (below_leads_to(s, s->bin_dir, amp_role(r)->name, file))
			return true;
	return below_leads_to(s, s->bin_dir, "ampcli", file);
}

static bool is_one(struct scand *s, const struct amp_identity *file, const char *path)
{
	const struct paths *told = &s->foundation->told;

	if (!is_roots(file))
		return false;
	return is_as_before(s->foundation, file) || is_below_prefix(s, path, file) ||
	       is_own_program(s, file) ||
	       any_leads_to(s, (const char *const *)told->path, told->count, file) ||
	       any_leads_to(s, fixed, COUNT(fixed), file) ||
	       any_below_leads_to(s, program_dirs, COUNT(program_dirs), programs, COUNT(programs), file) ||
	       any_below_leads_to(s, library_dirs, COUNT(library_dirs), libraries, COUNT(libraries), file);
}

/* -- in the middle of an upgrade -- */

/*
 * The new one lies beside the old for a moment, and under the old one's name right after the
 * question: dpkg's NAME.dpkg-new (and .dpkg-tmp, a link to the old), rpm's NAME;HEX. Returns the
 * size of NAME's path; 0: it is no such name.
 */
static size_t without_suffix(const char *path)
{
	static const char *const dpkgs[] = {".dpkg-new", ".dpkg-tmp"};
	size_t size = strlen(path), hex;
	const char *at;

	for (size_t i = 0; i < COUNT(dpkgs); i++) {
		size_t n = strlen(dpkgs[i]);

		if (size > n && strcmp(path + size - n, dpkgs[i]) == 0)
			return path[size - n - 1] == '/' ? 0 : size - n;
	}
	at = strrchr(path, ';');
	hex = at ? strlen(at + 1) : 0;
	if (hex == 0 || strspn(at + 1, "0123456789abcdefABCDEF") != hex || at == path || at[-1] == '/')
		return 0;
	return (size_t)(at - path);
}

static bool is_among(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* By the text alone: there may be none yet. */
static bool is_name_of_one(const struct scand *s, const char *path, const char *dir, const char *name)
{
	const struct paths *told = &s->foundation->told;

	return is_among(fixed, COUNT(fixed), path) ||
	       is_among((const char *const *)told->path, told->count, path) ||
	       (is_among(program_dirs, COUNT(program_dirs), dir) &&
		is_among(programs, COUNT(programs), name)) ||
	       (is_among(library_dirs, COUNT(library_dirs), dir) &&
		is_among(libraries, COUNT(libraries), name));
}

static bool is_place_of_one(struct scand *s, const char *path, const char *dir)
{
	struct amp_identity there;

	if (is_name_of_one(s, path, dir, strrchr(path, '/') + 1))
		return true;
	return amp_statx_identity(AT_FDCWD, path, 0, &there) == 0 && is_one(s, &there, path);
}

/* A library's new version often has another name: libz.so.1.3 is what libz.so.1 will lead to. */
static bool cut_version(char *path)
{
	char *dot = strrchr(path, '.');
	size_t digits = dot ? strspn(dot + 1, "0123456789") : 0;

	if (digits == 0 || dot[1 + digits] != '\0' || dot[-1] == '/')
		return false;
	*dot = '\0';
	return true;
}

/* Nobody but root gives names there: a name tells something. */
static bool is_in_roots_directory(const char *dir)
{
	struct amp_identity id;

	return amp_statx_identity(AT_FDCWD, dir, 0, &id) == 0 && is_roots(&id);
}

/* It may have got its name since it was judged. */
static bool is_here_or_there(const char *path, const char *name, const struct amp_identity *file)
{
	struct amp_identity there;

	if (amp_statx_identity(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &there) == 0 && is_inode(&there, file))
		return true;
	return amp_statx_identity(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW, &there) == 0 && is_inode(&there, file);
}

static bool is_new_version(struct scand *s, const char *path, const struct amp_identity *file)
{
	size_t size = path && path[0] == '/' ? without_suffix(path) : 0;
	char name[4096], dir[4096]; /* the kernel takes no longer one */

	if (size == 0 || size >= sizeof(name))
		return false;
	memcpy(name, path, size);
	name[size] = '\0';
	memcpy(dir, name, size + 1);
	*strrchr(dir, '/') = '\0';
	if (!dir[0] || !is_in_roots_directory(dir) || !is_here_or_there(path, name, file))
		return false;
	do
		if (is_place_of_one(s, name, dir))
			return true;
	while (cut_version(name));
	return false;
}

bool foundation_has(struct scand *s, const struct amp_identity *file, const char *path)
{
	return is_one(s, file, path) || (is_roots(file) && is_new_version(s, path, file));
}

/* -- the fault -- */

void foundation_convicted(struct scand *s, const char *signature, const char *path)
{
	struct foundation *f = s->foundation;
	char text[512], detail[sizeof(f->detail)];

	snprintf(detail, sizeof(detail), "%s: %s", signature,
		 path && path[0] ? amp_text_escape(path, strlen(path), text, sizeof(text)) : "(no path)");
	/* Every start of such a program is a conviction: said once. */
	if (f->raised && f->generation == engine_generation(s) && strcmp(detail, f->detail) == 0)
		return;
	amp_error("a signature convicts a foundation of this machine: %s", detail);
	f->raised = true;
	memcpy(f->detail, detail, sizeof(detail));
	f->generation = engine_generation(s);
	amp_room_fault(s->room, AMP_FAULT_FOUNDATION, true, detail);
}

/* Other signatures: if those convict one as well, they will say so. */
void foundation_look(struct scand *s)
{
	struct foundation *f = s->foundation;
	uint64_t now = f->raised ? engine_generation(s) : 0;

	if (now == 0 || now == f->generation)
		return;
	f->raised = false;
	amp_room_fault(s->room, AMP_FAULT_FOUNDATION, false, "");
}
