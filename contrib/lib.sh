# contrib/lib.sh - what quickstart and check share; sourced, never run.
# Owns: messages, the log of steps, the lists of packages, installing them.

# ---- packages: the one place that names them ----

APT_BUILD="gcc make autoconf automake pkg-config protobuf-c-compiler libprotobuf-c-dev libevent-dev
	libssl-dev libsqlite3-dev libcap-dev libseccomp-dev libconfuse-dev libjson-c-dev libedit-dev
	libclamav-dev linux-libc-dev"
APT_CHECK="libcmocka-dev clang libclang-rt-14-dev clang-format valgrind python3 e2fsprogs util-linux
	btrfs-progs dosfstools liburing-dev sqlite3 acl attr xz-utils clamav clamav-testfiles"
# Guests with Debian's kernels (tests/vm); only where apt is.
APT_VM="qemu-system-x86 busybox-static kmod zstd debootstrap e2fsprogs
	debian-archive-keyring git python3 gcc-12 make"
DNF_BUILD="gcc make autoconf automake pkgconf-pkg-config protobuf-c-compiler protobuf-c-devel libevent-devel
	openssl-devel sqlite-devel libcap-devel libseccomp-devel libconfuse-devel json-c-devel libedit-devel
	clamav-devel kernel-headers"
DNF_CHECK="libcmocka-devel clang compiler-rt clang-tools-extra valgrind python3 e2fsprogs util-linux
	btrfs-progs dosfstools liburing-devel sqlite acl attr xz clamav"
# systemd's library is used where systemd is.
APT_SYSTEMD="libsystemd-dev"
DNF_SYSTEMD="systemd-devel"

# ---- messages ----

LOG=${LOG:-/dev/null} # every step and error, once the directory is there

note() { # a line for the log only
	printf '%s %s\n' "$(date '+%Y-%m-%dT%H:%M:%S%z')" "$*" >>"$LOG"
}

say() {
	printf '%s\n' "$*"
	note "$*"
}

step() {
	say "==> $*"
}

# die WHAT REMEDY
die() {
	printf '%s: error: %s\n    remedy: %s\n' "${0##*/}" "$1" "$2" >&2
	note "error: $1; remedy: $2"
	exit 1
}

# logged REMEDY COMMAND...: output to the log; on failure its end is shown.
logged() {
	local remedy=$1 out rc=0
	shift
	note "run: $*"
	out=$(mktemp)
	"$@" >"$out" 2>&1 </dev/null || rc=$?
	cat "$out" >>"$LOG"
	if [ "$rc" != 0 ]; then
		tail -n 20 "$out" >&2
		rm -f "$out"
		die "\"$*\" ended with status $rc" "$remedy"
	fi
	rm -f "$out"
}

# ---- the machine ----

runs_systemd() {
	[ -d /run/systemd/system ] && [ "$(cat /proc/1/comm 2>/dev/null)" = systemd ]
}

# Free MiB where path is, or will be.
free_mib() {
	local path=$1
	while [ ! -e "$path" ]; do path=$(dirname "$path"); done
	df -Pm "$path" | awk 'NR == 2 {print $4}'
}

# need_space PATH MIB WHAT-FOR
need_space() {
	local free
	free=$(free_mib "$1")
	[ "${free:-0}" -ge "$2" ] ||
		die "$1 has ${free:-0} MiB free; $3 needs $2 MiB" "free some space there, or choose another place"
}

apt_missing() {
	local p
	for p in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || printf '%s ' "$p"
	done
}

rpm_missing() {
	local p
	for p in "$@"; do
		rpm -q --whatprovides "$p" >/dev/null 2>&1 || printf '%s ' "$p"
	done
}

install_apt() {
	local missing
	missing=$(apt_missing "$@")
	[ -n "$missing" ] || return 0
	[ "$(id -u)" = 0 ] || die "these packages are missing: $missing" "run as root: apt-get install $missing"
	say "    installing $missing"
	need_space /var/cache/apt 500 "installing packages"
	export DEBIAN_FRONTEND=noninteractive
	logged "check the network and /etc/apt/sources.list" apt-get -q update
	# shellcheck disable=SC2086
	logged "install them by hand: apt-get install $missing" apt-get -q -y --no-install-recommends install $missing
}

install_dnf() {
	local missing
	missing=$(rpm_missing "$@")
	[ -n "$missing" ] || return 0
	[ "$(id -u)" = 0 ] || die "these packages are missing: $missing" "run as root: dnf install $missing"
	say "    installing $missing"
	need_space /var/cache 500 "installing packages"
	# On Enterprise Linux some -devel packages live in CRB; harmless where there is none.
	dnf -q config-manager --set-enabled crb >>"$LOG" 2>&1 || true
	# shellcheck disable=SC2086
	logged "install them by hand: dnf install $missing" dnf -q -y install $missing
}

# install_packages build|check
install_packages() {
	local apt=$APT_BUILD dnf=$DNF_BUILD
	if runs_systemd; then
		apt="$apt $APT_SYSTEMD"
		dnf="$dnf $DNF_SYSTEMD"
	fi
	if [ "$1" = check ]; then
		apt="$apt $APT_CHECK"
		dnf="$dnf $DNF_CHECK"
	fi
	# shellcheck disable=SC2086
	if command -v apt-get >/dev/null 2>&1; then
		install_apt $apt
	elif command -v dnf >/dev/null 2>&1; then
		install_dnf $dnf
	else
		die "neither apt-get nor dnf is here" "install by hand what docs/dependencies.md lists, then run again"
	fi
}

# The tree must be clean of a build of its own: objects go into directories apart.
prepare_tree() {
	[ ! -e "$1/config.status" ] ||
		die "$1 is configured in itself" "run \"make distclean\" there: builds have directories of their own"
	if [ ! -e "$1/Makefile.in" ] || [ ! "$1/configure" -nt "$1/configure.ac" ]; then
		(cd "$1" && autoreconf -fi)
	fi
}
