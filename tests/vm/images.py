"""What a guest is made of: Debian's kernels and a small Debian with systemd; a bare Debian.

Owns: the cache directory (apt's private lists, unpacked kernels, the root file
systems), and the initramfs. Must not own: QEMU and what runs in it (guest.py).

Nothing of the machine is changed: apt runs with lists, cache and sources of its
own, and packages are unpacked, never installed.
"""

import contextlib
import fcntl
import glob
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MIRROR = os.environ.get("AMP_VM_MIRROR", "http://deb.debian.org/debian")
SECURITY = os.environ.get("AMP_VM_SECURITY_MIRROR", "http://deb.debian.org/debian-security")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITE = "bookworm"
# Packages that depend on the newest kernel of their series.
KERNELS = {"6.1": "linux-image-amd64", "6.12": "linux-image-6.12-amd64"}
# What must be there before there is a file system to load more from.
MODULES = ["virtio_pci", "virtio_rng", "9pnet_virtio", "9p", "overlay"]
MODULES_OF_IMAGE = ["virtio_blk", "ext4"]
APPLETS = ["sh", "cat", "echo", "ifconfig", "insmod", "ln", "mkdir", "mount", "poweroff", "switch_root"]
# The suite's libraries, and what its tests are made of; systemd as PID 1.
SYSTEM_PACKAGES = (
    "systemd systemd-sysv dbus kmod procps iproute2 python3-minimal python3 acl attr e2fsprogs "
    "libprotobuf-c1 libevent-core-2.1-7 libssl3 libsqlite3-0 libcap2 libseccomp2 libconfuse2 libjson-c5 libsystemd0 "
    "libclamav12 libedit2"
)
IMAGE_MIB = 2048
# Nothing is chosen for a bare Debian; this is what it may grow to with all that a check needs.
BARE_MIB = 8192
# Raised when a root file system is made in another way: an old one is made again.
IMAGE_FORM = "2"
BARE_FORM = "1"
# Units that only cost time in a guest without network, terminal and time of its own.
MASKED = ["getty.target", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
          "e2scrub_reap.service", "fstrim.timer", "systemd-timesyncd.service"]


class Trouble(Exception):
    """What is wrong, and what to do."""


def need(program, package):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = shutil.which(program, path=path)
    if not found:
        raise Trouble("%s is missing; remedy: apt-get install %s" % (program, package))
    return found


def quiet(*argv, **kw):
    """Runs a program; its output is shown only if it fails."""
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)
    text = r.stdout.decode(errors="replace")
    if r.returncode != 0:
        raise Trouble("%s ended with status %d:\n%s" % (" ".join(argv), r.returncode, text[-3000:]))
    return text


def say(text):
    print("tests/vm: " + text, file=sys.stderr, flush=True)


# -- the cache -------------------------------------------------------------


class Cache:
    def __init__(self, directory=None):
        default = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "amp-vm")
        self.dir = os.path.abspath(directory or os.environ.get("AMP_VM_CACHE") or default)
        os.makedirs(self.dir, exist_ok=True)
        self.updated = False

    def path(self, *names):
        return os.path.join(self.dir, *names)

    @contextlib.contextmanager
    def locked(self):
        """One at a time fills the cache; who waited finds it filled."""
        with open(self.path("lock"), "w") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield

    def fill(self, name, make, refresh=False):
        """The directory `name`, made by make(directory) under another name first."""
        final = self.path(name)
        if os.path.isdir(final) and not refresh:
            return final
        with self.locked():
            if os.path.isdir(final) and not refresh:
                return final
            fresh = final + ".new"
            shutil.rmtree(fresh, ignore_errors=True)
            os.makedirs(fresh)
            try:
                make(fresh)
                shutil.rmtree(final, ignore_errors=True)
                os.rename(fresh, final)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return final

    # apt with nothing of the system's but its keys and its proxy

    def apt(self, tool, *argv, **kw):
        options = {
            "Dir::Etc::sourcelist": self.path("apt", "sources.list"),
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": self.path("apt", "state"),
            "Dir::State::status": self.path("apt", "status"),
            "Dir::Cache": self.path("apt", "cache"),
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        args = [a for key, value in options.items() for a in ("-o", "%s=%s" % (key, value))]
        return quiet(need(tool, "apt"), *args, *argv, **kw)

    def update(self):
        if self.updated:
            return
        if not os.path.exists(KEYRING):
            raise Trouble("%s is missing; remedy: apt-get install debian-archive-keyring" % KEYRING)
        for d in ("state/lists/partial", "cache/archives/partial"):
            os.makedirs(self.path("apt", d), exist_ok=True)
        open(self.path("apt", "status"), "w").close()
        with open(self.path("apt", "sources.list"), "w") as f:
            for uri, suite in ((MIRROR, SUITE), (MIRROR, SUITE + "-updates"), (SECURITY, SUITE + "-security")):
                f.write("deb [signed-by=%s] %s %s main\n" % (KEYRING, uri, suite))
        self.apt("apt-get", "-q", "update")
        self.updated = True

    # kernels

    def kernel(self, series, refresh=False):
        if series not in KERNELS:
            raise Trouble("there is no kernel %s; remedy: one of %s" % (series, ", ".join(KERNELS)))
        return Kernel(self.fill("kernel-" + series, lambda d: self._make_kernel(series, d), refresh))

    def _make_kernel(self, series, directory):
        say("fetching Debian's kernel %s" % series)
        self.update()
        lines = self.apt("apt-cache", "depends", KERNELS[series]).splitlines()
        names = [l.split()[-1] for l in lines if "Depends: linux-image-" in l]
        if not names:
            raise Trouble("the archive has no %s" % KERNELS[series])
        self.apt("apt-get", "-q", "download", names[0], cwd=directory)
        deb = glob.glob(directory + "/*.deb")[0]
        quiet(need("dpkg", "dpkg"), "-x", deb, directory + "/root")
        os.unlink(deb)
        version = names[0][len("linux-image-"):]
        image = "%s/root/boot/vmlinuz-%s" % (directory, version)
        with open(directory + "/vmlinux", "wb") as f:
            f.write(uncompressed(open(image, "rb").read()))
        shutil.rmtree(directory + "/root/boot")
        shutil.rmtree(directory + "/root/usr", ignore_errors=True)
        quiet(need("depmod", "kmod"), "-b", directory + "/root", version)
        with open(directory + "/version", "w") as f:
            f.write(version + "\n")

    def headers(self, series):
        """The directory that modules for that kernel are built with (make -C)."""
        version = self.kernel(series).version
        top = self.fill("headers-" + version, lambda d: self._make_headers(version, d))
        return "%s/usr/src/linux-headers-%s" % (top, version)

    def _make_headers(self, version, directory):
        say("fetching the headers of %s" % version)
        self.update()
        common = re.sub("-amd64$", "-common", version)
        names = ["linux-headers-" + version, "linux-headers-" + common]
        lines = self.apt("apt-cache", "depends", names[0]).splitlines()
        names += [l.split()[-1] for l in lines if "Depends: linux-kbuild-" in l]
        self.apt("apt-get", "-q", "download", *names, cwd=directory)
        for deb in glob.glob(directory + "/*.deb"):
            quiet(need("dpkg", "dpkg"), "-x", deb, directory)
            os.unlink(deb)
        # They are not installed: the one absolute path leads beside them.
        with open("%s/usr/src/linux-headers-%s/Makefile" % (directory, version), "w") as f:
            f.write("include %s/usr/src/linux-headers-%s/Makefile\n" % (re.sub(r"\.new$", "", directory), common))

    # the Debian with systemd

    def image(self, refresh=False):
        return self.fill("system-" + IMAGE_FORM, self._make_image, refresh) + "/root.ext4"

    def _make_image(self, directory):
        if os.geteuid() != 0:
            raise Trouble("debootstrap needs root for the root file system; remedy: run this once as root")
        say("making a Debian %s with systemd (minutes, once)" % SUITE)
        tree = debootstrap(directory, "--variant=minbase", "--include=" + ",".join(SYSTEM_PACKAGES.split()))
        dress(tree)
        into_image(tree, directory + "/root.ext4", IMAGE_MIB)

    # a Debian as debootstrap leaves it

    def bare(self, refresh=False):
        return self.fill("bare-" + BARE_FORM, self._make_bare, refresh) + "/root.ext4"

    def _make_bare(self, directory):
        if os.geteuid() != 0:
            raise Trouble("debootstrap needs root for the root file system; remedy: run this once as root")
        say("making a bare Debian %s (minutes, once)" % SUITE)
        tree = debootstrap(directory)
        remove_archives(tree)
        into_image(tree, directory + "/root.ext4", BARE_MIB)


def debootstrap(directory, *options):
    tree = directory + "/tree"
    if not os.path.exists(KEYRING):
        raise Trouble("%s is missing; remedy: apt-get install debian-archive-keyring" % KEYRING)
    quiet(need("debootstrap", "debootstrap"), "--keyring=" + KEYRING, *options, SUITE, tree, MIRROR,
          env=dict(os.environ, PATH="/usr/sbin:/usr/bin:/sbin:/bin"))
    return tree


def into_image(tree, image, mib):
    """The tree becomes a file with an ext4 file system."""
    with open(image, "wb") as f:
        f.truncate(mib << 20)
    quiet(need("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", "-F", "-L", "amp-vm", "-m", "0", "-d", tree, image)
    shutil.rmtree(tree)


def remove_archives(tree):
    for name in os.listdir(tree + "/var/cache/apt/archives"):
        if name.endswith(".deb"):
            os.unlink(tree + "/var/cache/apt/archives/" + name)


def uncompressed(image):
    """The ELF file inside a compressed kernel: it boots in half the time."""
    at = image.find(b"\xfd7zXZ\0")
    if at >= 0:
        data = lzma.LZMADecompressor().decompress(image[at:])
        if data.startswith(b"\x7fELF"):
            return data
    at = image.find(b"\x28\xb5\x2f\xfd")
    while at >= 0:
        # Garbage behind its end makes zstd fail after all of it was written.
        r = subprocess.run([need("zstd", "zstd"), "-dcq"], input=image[at:], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, check=False)
        if r.stdout.startswith(b"\x7fELF"):
            return r.stdout
        at = image.find(b"\x28\xb5\x2f\xfd", at + 1)
    raise Trouble("the kernel is compressed in a way that is not known here")


def dress(tree):
    """Makes a debootstrap tree one that boots in a guest."""
    for name in MASKED:
        with contextlib.suppress(FileExistsError):
            os.symlink("/dev/null", tree + "/etc/systemd/system/" + name)
    with open(tree + "/etc/hostname", "w") as f:
        f.write("amp-vm\n")
    with open(tree + "/etc/hosts", "w") as f:
        f.write("127.0.0.1 localhost amp-vm\n")
    with open(tree + "/etc/fstab", "w") as f:
        f.write("# the guest's first process mounts all there is\n")
    os.makedirs(tree + "/host", exist_ok=True)
    remove_archives(tree)


# -- the initramfs ---------------------------------------------------------


class Kernel:
    def __init__(self, directory):
        self.dir = directory
        self.vmlinux = directory + "/vmlinux"
        self.version = open(directory + "/version").read().strip()
        self.modules = "%s/root/lib/modules/%s" % (directory, self.version)

    def files_of(self, names):
        """Files of the modules and of all they need, in the order to load them."""
        text = quiet(need("modprobe", "kmod"), "-d", self.dir + "/root", "-S", self.version, "-a", "--show-depends",
                     "-C", "/dev/null", *names)
        files = [l.split()[1] for l in text.splitlines() if l.startswith("insmod ")]
        return list(dict.fromkeys(files))

    def write_initramfs(self, path, with_image):
        busybox = need("busybox", "busybox-static")
        names = MODULES + (MODULES_OF_IMAGE if with_image else [])
        with open(path, "wb") as f:
            out = Archive(f)
            for d in ("bin", "dev", "host", "modules", "proc", "root", "rw"):
                out.directory(d)
            out.node("dev/console", 5, 1)
            out.file("bin/busybox", open(busybox, "rb").read(), 0o755)
            for applet in APPLETS:
                out.link("bin/" + applet, "busybox")
            for n, module in enumerate(self.files_of(names)):
                data = open(module, "rb").read()
                base = os.path.basename(module)
                if base.endswith(".xz"):
                    data, base = lzma.decompress(data), base[:-3]
                out.file("modules/%02d-%s" % (n, base), data, 0o644)
            out.file("init", open(HERE + "/init", "rb").read(), 0o755)
            out.end()


class Archive:
    """A cpio archive as the kernel reads it ("newc")."""

    def __init__(self, f):
        self.f = f
        self.inode = 0

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        self.inode += 1
        fields = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % v for v in fields) + name.encode() + b"\0"
        for part in (head, data):
            self.f.write(part + b"\0" * (-len(part) % 4))

    def directory(self, name):
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode):
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def node(self, name, major, minor):
        self._entry(name, stat.S_IFCHR | 0o600, rdev=(major, minor))

    def end(self):
        self._entry("TRAILER!!!", 0)
