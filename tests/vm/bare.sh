# tests/vm/bare.sh IMAGE SEED ARCHIVES POINT NAME - what a new user types on a bare Debian, and
# whether it does what README.md says. bare.py runs it as the first process of its namespaces.
# Owns: the file systems there, the commands, what is asked of them. Prints ok / not ok.
set -u
IMAGE=$1 SEED=$2 ARCHIVES=$3 POINT=$4 NAME=$5
OUT=/root/out
bad=0

result() { # NAME STATUS WHY
	if [ "$2" = 0 ]; then
		echo "ok $1"
	else
		echo "not ok $1: $3"
		bad=1
	fi
}

die() {
	echo "not ok a bare Debian can be entered: $1"
	exit 1
}

# ---- entering ----

# Devices of our own: nothing that is done to them is done to the machine's.
make_devices() {
	local dev=$POINT/dev entry name i
	mount -t tmpfs -o mode=755,nosuid dev "$dev" || return 1
	for entry in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
		IFS=: read -r name major minor <<<"$entry"
		mknod -m 666 "$dev/$name" c "$major" "$minor" || return 1
	done
	mknod -m 600 "$dev/loop-control" c 10 237
	for i in $(seq 0 31); do mknod -m 600 "$dev/loop$i" b 7 "$i"; done
	mkdir "$dev/pts" "$dev/shm"
	mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$dev/pts" && ln -s pts/ptmx "$dev/ptmx" || return 1
	mount -t tmpfs -o mode=1777,nosuid,nodev shm "$dev/shm" || return 1
	ln -s /proc/self/fd "$dev/fd"
}

# The archives stay reachable by descriptor 9, and only by it.
enter() {
	mount --make-rprivate / || die "mounts are shared"
	mount -o loop "$IMAGE" "$POINT" || die "its file system cannot be mounted"
	rm -f "$IMAGE"
	cp -r --preserve=mode,timestamps "$SEED/." "$POINT/" || die "its file system is full"
	make_devices || die "it has no devices"
	mount -t proc proc "$POINT/proc" && mount -t sysfs -o ro sysfs "$POINT/sys" || die "it has no /proc or /sys"
	mount -t tmpfs -o mode=755,nosuid,nodev run "$POINT/run" && mkdir -m 1777 "$POINT/run/lock" || die "it has no /run"
	exec 9<"$ARCHIVES" || die "there are no archives"
	hostname bare
	cd "$POINT" && pivot_root . mnt && cd / || die "its root cannot be ours"
	umount -l /mnt || die "the machine's root stays"
	hash -r
}

# Packages that were fetched before; apt checks every one by its hash.
bring_archives() {
	find -L /proc/self/fd/9 -maxdepth 1 -name '*.deb' -exec cp -t /var/cache/apt/archives {} +
}

keep_archives() {
	local deb
	apt-get -qq autoclean >/dev/null 2>&1 9<&-
	for deb in /proc/self/fd/9/*.deb; do
		[ -e "/var/cache/apt/archives/${deb##*/}" ] || rm -f "$deb"
	done
	cp -n /var/cache/apt/archives/*.deb /proc/self/fd/9/
}

# ---- asking ----

# typed SECONDS COMMAND: as in a shell of its own; output to $OUT.
typed() {
	local rc=0
	echo "# $2"
	timeout -k 10 "$1" bash -c "$2" >"$OUT" 2>&1 </dev/null 9<&- || rc=$?
	return $rc
}

why() {
	tail -n 40 "$OUT" | sed 's/^/#     /'
	echo "# disk: $(df -h --output=used,avail / | tail -n 1)"
}

# succeeds NAME SECONDS COMMAND
succeeds() {
	local rc=0 begin=$SECONDS
	typed "$2" "$3" || rc=$?
	[ "$rc" = 0 ] || why
	result "$1" $rc "status $rc, after $((SECONDS - begin)) s"
	echo "# $((SECONDS - begin)) s"
}

says() { # NAME PATTERN
	local rc=0
	grep -Eq "$2" "$OUT" || rc=1
	[ "$rc" = 0 ] || why
	result "$1" $rc "no line has \"$2\""
}

# The README's commands, as they stand there; without sudo, which a bare system has not.
readme_command() { # NUMBER
	sed -n 's,^    sudo \(\./contrib/[a-z]*\) .*,\1,p' README.md | sed -n "$1p"
}

check_bare() {
	local p there=
	for p in cc gcc make git python3 sudo autoconf clang; do
		if command -v "$p" >/dev/null; then there="$there $p"; fi
	done
	test -z "$there"
	result "nothing is there but the base system" $? "there is$there"
}

check_readme() {
	[ "$(readme_command 1)" = ./contrib/quickstart ] && [ "$(readme_command 2)" = ./contrib/check ]
	result "README.md begins with two commands" $? "$(head -n 8 README.md | tr '\n' '|')"
	grep -q 'apt-get install git' README.md
	result "README.md says how to get git" $? "no such command in it"
}

programs() {
	local n=0 exe
	for exe in /proc/[0-9]*/exe; do
		case $(readlink "$exe") in /opt/cisco/amp/bin/*) n=$((n + 1)) ;; esac
	done
	echo $n
}

try_quickstart() { # first|second
	succeeds "quickstart, the $1 time" 900 "$(readme_command 1)"
	says "the $1 time it is detected" 'EICAR-Test-File'
	says "the $1 time it is taken away" 'quarantined, and gone from'
	says "the $1 time it says that it protects" '^Protected: yes'
}

try_suite() {
	local n
	typed 60 'ampcli=/opt/cisco/amp/bin/ampcli; $ampcli status && $ampcli posture && $ampcli faults'
	result "status, posture and faults answer" $? "$(tail -n 1 "$OUT")"
	grep -q 'namespace mnt' "$OUT" && ! grep -q '^  ! ' "$OUT"
	result "every wall stands" $? "$(grep '^  ! ' "$OUT" | tr '\n' '|')"
	n=$(programs)
	test "$n" -ge 7
	result "all processes run" $? "$n do"
}

# The suite that quickstart started runs, as it does for a new user: the checks stop it while they last.
try_check() {
	local n
	succeeds "the checks: packages, build with gcc, unit tests" 1300 "$(readme_command 2) --only packages --only gcc"
	says "their last line counts" '^[0-9]+ passed, 0 failed, [0-9]+ skipped$'
	echo "# $(tail -n 1 "$OUT")"
	n=$(sed -n '$s/ passed.*//p' "$OUT")
	test "${n:-0}" -gt 300
	result "the unit tests were run" $? "${n:-none} passed"
	succeeds "the checks again, with a system test" 900 \
		"AMP_ONLY=test_kill.py $(readme_command 2) --only packages --only gcc --only system"
	says "their last line counts again" '^[0-9]+ passed, 0 failed, [0-9]+ skipped$'
	echo "# $(tail -n 1 "$OUT")"
}

leave() {
	local n
	n=$(programs)
	test "$n" -ge 7
	result "the suite runs again after the checks" $? "$n programs"
	succeeds "the suite goes" 180 "$(readme_command 1) --uninstall --remove-quarantine"
	# What hands and workers had is ended with ampmon, as soon as they get a processor to end on.
	for n in $(seq 150); do
		[ "$(programs)" != 0 ] || break
		sleep 0.2
	done
	test "$(programs)" = 0
	result "no process is left" $? "$(programs) run"
}

main() {
	enter
	mkdir -p "$HOME"
	cd "/root/$NAME" || die "the clone is not there"
	check_bare
	check_readme
	bring_archives
	try_quickstart first
	try_quickstart second
	try_suite
	try_check
	leave
	keep_archives
}

main
exit $bad
