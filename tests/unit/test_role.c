/*
 * tests/unit/test_role.c - the role table and the system call table hold
 * together: what no row may ever say, whoever edits it.
 */
#include "role.h"
#include "seccomp_table.h"

#include <fcntl.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CAP(name)    (UINT64_C(1) << (name))
#define ALL_SETS                                                                                             \
	(AMP_SYS_LOOP | AMP_SYS_WHO | AMP_SYS_READ_FILE | AMP_SYS_DATABASE | AMP_SYS_ACCEPT |                \
	 AMP_SYS_EVENTS_FILE | AMP_SYS_QUARANTINE | AMP_SYS_SNAPSHOT | AMP_SYS_ENGINE)
/* Put on beside the room's by who is forked in it. */
#define STACKED_SETS (AMP_SYS_ZYGOTE | AMP_SYS_WORKER | AMP_SYS_LOADING)
#define ENGINE_SETS  (AMP_SYS_ENGINE | STACKED_SETS)

static const enum amp_role_id rooms[] = {AMP_ROLE_SCAN, AMP_ROLE_READ, AMP_ROLE_CLOUD, AMP_ROLE_QUARD,
					 AMP_ROLE_ENGINE};

static void rows_are_found(void **state)
{
	(void)state;
	for (int i = AMP_ROLE_NONE + 1; i < AMP_ROLE_COUNT; i++) {
		const struct amp_role *row = amp_role((enum amp_role_id)i);

		assert_non_null(row);
		assert_int_equal(row->id, i);
		assert_ptr_equal(amp_role_by_name(row->name), row);
		assert_in_range(row->instances, 1, AMP_ROLE_MAX_INSTANCES);
	}
	assert_null(amp_role(AMP_ROLE_NONE));
	assert_null(amp_role(AMP_ROLE_COUNT));
	assert_null(amp_role((enum amp_role_id)999));
	assert_null(amp_role_by_name("ampscan"));
	assert_null(amp_role_by_name(""));
}

static void links_have_two_ends(void **state)
{
	(void)state;
	for (int a = 0; a < AMP_ROLE_COUNT + 1; a++)
		for (int b = 0; b < AMP_ROLE_COUNT + 1; b++)
			assert_int_equal(amp_role_linked((enum amp_role_id)a, (enum amp_role_id)b),
					 amp_role_linked((enum amp_role_id)b, (enum amp_role_id)a));
	assert_true(amp_role_linked(AMP_ROLE_SCAN, AMP_ROLE_READ));
	assert_true(amp_role_linked(AMP_ROLE_SCAN, AMP_ROLE_CLOUD));
	assert_true(amp_role_linked(AMP_ROLE_SCAN, AMP_ROLE_QUARD));
	assert_true(amp_role_linked(AMP_ROLE_QUARD, AMP_ROLE_CLOUD));
	assert_true(amp_role_linked(AMP_ROLE_SCAN, AMP_ROLE_ENGINE));
	/* Who parses hears nothing but what ampscand hands over. */
	assert_false(amp_role_linked(AMP_ROLE_ENGINE, AMP_ROLE_READ));
	assert_false(amp_role_linked(AMP_ROLE_ENGINE, AMP_ROLE_CLOUD));
	assert_false(amp_role_linked(AMP_ROLE_ENGINE, AMP_ROLE_QUARD));
	assert_false(amp_role_linked(AMP_ROLE_READ, AMP_ROLE_CLOUD));
	assert_false(amp_role_linked(AMP_ROLE_READ, AMP_ROLE_QUARD));
	assert_false(amp_role_linked(AMP_ROLE_SCAN, AMP_ROLE_SCAN));
	assert_false(amp_role_linked(AMP_ROLE_NONE, AMP_ROLE_SCAN));
}

static void labels_name_instances(void **state)
{
	char buf[64], tiny[4];

	(void)state;
	assert_string_equal(amp_role_label(AMP_ROLE_READ, 0, buf, sizeof(buf)), "ampread");
	assert_string_equal(amp_role_label(AMP_ROLE_READ, 2, buf, sizeof(buf)), "ampread/2");
	assert_string_equal(amp_role_label((enum amp_role_id)77, 1, buf, sizeof(buf)), "unknown/1");
	assert_string_equal(amp_role_label(AMP_ROLE_READ, 2, tiny, sizeof(tiny)), "amp");
}

/* Any of these leads back to root or round another wall. */
static void rooms_have_no_great_capability(void **state)
{
	const uint64_t never = CAP(CAP_SETUID) | CAP(CAP_SETGID) | CAP(CAP_SETPCAP) | CAP(CAP_SYS_ADMIN) |
			       CAP(CAP_SYS_MODULE) | CAP(CAP_SYS_RAWIO) | CAP(CAP_SYS_CHROOT) |
			       CAP(CAP_MKNOD) | CAP(CAP_NET_ADMIN) | CAP(CAP_KILL) | CAP(CAP_LEASE);
	/* What changes files of others: the keeper's alone, who takes them away and gives them back. */
	const uint64_t files = CAP(CAP_DAC_OVERRIDE) | CAP(CAP_FOWNER) | CAP(CAP_CHOWN) | CAP(CAP_FSETID) |
			       CAP(CAP_SETFCAP) | CAP(CAP_LINUX_IMMUTABLE);

	(void)state;
	for (size_t i = 0; i < COUNT(rooms); i++) {
		const struct amp_role *row = amp_role(rooms[i]);

		assert_int_equal(row->capabilities & never, 0);
		/* ampread has CAP_FOWNER for O_NOATIME; its filter has no call that changes a file. */
		assert_int_equal(row->capabilities & files, row->id == AMP_ROLE_QUARD  ? files
							    : row->id == AMP_ROLE_READ ? CAP(CAP_FOWNER)
										       : 0);
	}
	assert_int_equal(amp_role(AMP_ROLE_QUARD)->capabilities, files);
	assert_int_equal(amp_role(AMP_ROLE_ENGINE)->capabilities, 0);
	/* Reading any file and looking at any process: never the same room. */
	for (size_t i = 0; i < COUNT(rooms); i++)
		assert_int_not_equal(amp_role(rooms[i])->capabilities &
					     (CAP(CAP_DAC_READ_SEARCH) | CAP(CAP_SYS_PTRACE)),
				     CAP(CAP_DAC_READ_SEARCH) | CAP(CAP_SYS_PTRACE));
}

static void rooms_have_walls(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rooms); i++) {
		const struct amp_role *row = amp_role(rooms[i]);

		assert_string_not_equal(row->user, "root");
		assert_true(row->syscalls & AMP_SYS_LOOP);
		assert_int_equal(row->syscalls & ~(unsigned)ALL_SETS, 0);
		assert_int_equal(!!(row->syscalls & AMP_SYS_ACCEPT), row->cli_socket);
		assert_true(row->own_network);
		assert_true(row->nofile > 0 && row->file_size > 0);
		/* /proc/PID/exe is closed to who is under Landlock. */
		assert_false(row->landlock && (row->syscalls & AMP_SYS_WHO));
		/* Who may open for writing does it in a view of its own; the keeper's work is the host's
		 * files. */
		if ((row->syscalls & AMP_SYS_DATABASE) && row->id != AMP_ROLE_QUARD)
			assert_true(row->view == AMP_VIEW_PIVOTED && row->landlock);
		/* Who forks is one room, in a view of its own, without a way to other rooms. */
		assert_int_equal(row->processes > 0, row->id == AMP_ROLE_ENGINE);
		assert_int_equal(!!(row->syscalls & AMP_SYS_ENGINE), row->id == AMP_ROLE_ENGINE);
		if (row->syscalls & AMP_SYS_ENGINE)
			assert_true(row->view == AMP_VIEW_PIVOTED && !row->cli_socket);
		assert_true(row->idle_last < row->instances);
	}
}

static void users_are_apart(void **state)
{
	(void)state;
	for (size_t a = 0; a < COUNT(rooms); a++)
		for (size_t b = a + 1; b < COUNT(rooms); b++) {
			assert_string_not_equal(amp_role(rooms[a])->user, amp_role(rooms[b])->user);
			assert_string_not_equal(amp_role(rooms[a])->name, amp_role(rooms[b])->name);
			assert_int_not_equal(amp_role(rooms[a])->start_order,
					     amp_role(rooms[b])->start_order);
		}
}

static size_t args_of(const struct amp_sys_rule *rule)
{
	size_t n = 0;

	while (n < AMP_SYS_MAX_ARGS && rule->args[n].op != AMP_SYS_NONE)
		n++;
	return n;
}

static void each_rule(void (*fn)(const struct amp_sys_rules *set, const struct amp_sys_rule *rule))
{
	size_t n;
	const struct amp_sys_rules *table = amp_seccomp_table(&n);

	for (size_t s = 0; s < n; s++)
		for (size_t r = 0; r < table[s].count; r++)
			fn(&table[s], &table[s].rules[r]);
}

/* One row of the table may serve several sets of the engine's. */
static bool engines(const struct amp_sys_rules *set)
{
	return set->set != ~0U && !(set->set & ~(unsigned)ENGINE_SETS);
}

static bool named(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(name, list[i]) == 0)
			return true;
	return false;
}

static void rule_is_sound(const struct amp_sys_rules *set, const struct amp_sys_rule *rule)
{
	(void)set;
	/* A misspelt name would be skipped in silence. */
	if (seccomp_syscall_resolve_name(rule->name) == __NR_SCMP_ERROR)
		fail_msg("no system call %s", rule->name);
	for (size_t i = 0; i < args_of(rule); i++) {
		const struct amp_sys_arg *a = &rule->args[i];

		assert_in_range(a->index, 0, 5);
		assert_int_not_equal(a->mask, 0);
		if ((a->value & ~a->mask) != 0)
			fail_msg("%s: a condition that never holds", rule->name);
	}
}

static void rules_are_sound(void **state)
{
	(void)state;
	each_rule(rule_is_sound);
}

static void rule_is_no_way_out(const struct amp_sys_rules *set, const struct amp_sys_rule *rule)
{
	static const char *const never[] = {
		"execve",
		"execveat",
		"fork",
		"vfork",
		"clone",
		"clone3",
		"kill",
		"tkill",
		"ptrace",
		"process_vm_readv",
		"process_vm_writev",
		"pidfd_getfd",
		"pidfd_open",
		"pidfd_send_signal",
		"socket",
		"socketpair",
		"connect",
		"bind",
		"listen",
		"open",
		"openat2",
		"creat",
		"mount",
		"umount2",
		"unshare",
		"setns",
		"chroot",
		"pivot_root",
		"bpf",
		"io_uring_setup",
		"io_uring_enter",
		"perf_event_open",
		"keyctl",
		"userfaultfd",
		"seccomp",
		"personality",
		"memfd_create",
		"pkey_mprotect",
		"fanotify_init",
		"fanotify_mark",
		"fchdir",
		"chdir",
		"setresuid",
		"setresgid",
		"capset",
		"prlimit64",
		"setrlimit",
	};

	/* Forks, their ends, and the walls of what is forked: never a worker's. */
	static const char *const of_forks[] = {"clone",	     "kill",	"pidfd_open",	"pidfd_send_signal",
					       "socketpair", "seccomp", "memfd_create", "chdir",
					       "fchdir"};

	if (set->set == ~0U || set->error) /* the sanitizers' own; refused */
		return;
	if (engines(set) && !(set->set & AMP_SYS_WORKER) && named(rule->name, of_forks, COUNT(of_forks)))
		return;
	/* Of itself; a worker may look only. */
	if (engines(set) && strcmp(rule->name, "prlimit64") == 0)
		return;
	if (set->set == AMP_SYS_SNAPSHOT && strcmp(rule->name, "memfd_create") == 0)
		return;
	if (set->set == AMP_SYS_QUARANTINE && strcmp(rule->name, "openat2") == 0)
		return; /* it may open anything anyhow */
	for (size_t i = 0; i < COUNT(never); i++)
		if (strcmp(rule->name, never[i]) == 0)
			fail_msg("%s lets %s through", set->name, rule->name);
}

static void no_set_has_a_way_out(void **state)
{
	(void)state;
	each_rule(rule_is_no_way_out);
}

/* Nothing of a file is changed by a path, which may lead elsewhere the next moment. */
static void rule_changes_by_descriptor(const struct amp_sys_rules *set, const struct amp_sys_rule *rule)
{
	static const char *const by_path[] = {
		"chmod",     "fchmodat", "fchmodat2",	"chown",       "lchown",  "fchownat",  "setxattr",
		"lsetxattr", "utime",	 "utimes",	"mknod",       "mknodat", "truncate",  "link",
		"symlink",   "mkdir",	 "removexattr", "symlinkat",   "rmdir",	  "futimesat", "execve",
		"sendfile",  "splice",	 "mount",	"lremovexattr"};

	/* The engine's slots are its own, in a view without anything else that can be written. */
	static const char *const in_slots[] = {"chmod", "fchmodat", "mkdir", "rmdir"};

	if (engines(set) && named(rule->name, in_slots, COUNT(in_slots))) {
		if (strstr(rule->name, "chmod"))
			assert_int_equal(rule->args[0].op, AMP_SYS_IS);
		return;
	}
	for (size_t i = 0; i < COUNT(by_path); i++)
		if (strcmp(rule->name, by_path[i]) == 0)
			fail_msg("%s lets %s through", set->name, rule->name);
	if (strcmp(rule->name, "utimensat") == 0)
		assert_true(rule->args[0].op == AMP_SYS_IS && rule->args[0].index == 1 &&
			    rule->args[0].value == 0);
	if (strcmp(rule->name, "mkdirat") == 0)
		assert_int_equal(rule->args[0].mask & 077, 077);
}

static void nothing_is_changed_by_path(void **state)
{
	(void)state;
	each_rule(rule_changes_by_descriptor);
}

/* Who may open and change any file of the machine is one room, and it does not go out. */
static void one_room_has_the_quarantine(void **state)
{
	(void)state;
	for (int i = AMP_ROLE_NONE + 1; i < AMP_ROLE_COUNT; i++) {
		const struct amp_role *row = amp_role((enum amp_role_id)i);

		if (row->id == AMP_ROLE_MON)
			continue;
		assert_int_equal(!!(row->syscalls & AMP_SYS_QUARANTINE), row->id == AMP_ROLE_QUARD);
		assert_int_equal(!!(row->syscalls & AMP_SYS_EVENTS_FILE), row->id == AMP_ROLE_CLOUD);
	}
	assert_true(amp_role(AMP_ROLE_QUARD)->own_network);
	assert_int_equal(amp_role(AMP_ROLE_QUARD)->capabilities &
				 (CAP(CAP_DAC_READ_SEARCH) | CAP(CAP_SYS_ADMIN) | CAP(CAP_SETUID)),
			 0);
}

static void rule_is_narrow(const struct amp_sys_rules *set, const struct amp_sys_rule *rule)
{
	static const char *const conditional[] = {"mmap",
						  "mprotect",
						  "ioctl",
						  "prctl",
						  "tgkill",
						  "setsockopt",
						  "getsockopt",
						  "fcntl",
						  "write",
						  "writev",
						  "dup3",
						  "sendto",
						  "openat",
						  "open_by_handle_at",
						  "linkat",
						  "mkdirat",
						  "utimensat",
						  "clone",
						  "kill",
						  "socketpair",
						  "seccomp",
						  "prlimit64",
						  "pidfd_send_signal",
						  "memfd_create",
						  "chmod",
						  "mkdir"};
	static const char *const in_slots[] = {"openat", "write", "writev", "dup3"};

	if (set->error || set->set == ~0U || (engines(set) && named(rule->name, in_slots, COUNT(in_slots))))
		return;
	for (size_t i = 0; i < COUNT(conditional); i++)
		if (strcmp(rule->name, conditional[i]) == 0 && args_of(rule) == 0)
			fail_msg("%s: %s without a condition", set->name, rule->name);
}

static void broad_calls_are_conditional(void **state)
{
	(void)state;
	each_rule(rule_is_narrow);
}

static void rule_opens_for_reading(const struct amp_sys_rules *set, const struct amp_sys_rule *rule)
{
	const uint64_t write_flags = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY);

	if (set->set != AMP_SYS_READ_FILE || strncmp(rule->name, "open", 4) != 0)
		return;
	assert_int_equal(rule->args[0].op, AMP_SYS_IS);
	assert_int_equal(rule->args[0].index, 2);
	assert_int_equal(rule->args[0].value, 0);
	assert_int_equal(rule->args[0].mask & write_flags, write_flags);
}

static void reader_opens_for_reading(void **state)
{
	(void)state;
	each_rule(rule_opens_for_reading);
}

static void rule_maps_no_code(const struct amp_sys_rules *set, const struct amp_sys_rule *rule)
{
	(void)set;
	if (strcmp(rule->name, "mmap") != 0 && strcmp(rule->name, "mprotect") != 0)
		return;
	assert_int_equal(rule->args[0].index, 2);
	assert_int_equal(rule->args[0].value, 0);
	assert_true(rule->args[0].mask & PROT_EXEC);
}

static void nobody_maps_code(void **state)
{
	(void)state;
	each_rule(rule_maps_no_code);
}

static void every_set_has_rules(void **state)
{
	unsigned seen = 0;
	size_t n;
	const struct amp_sys_rules *table = amp_seccomp_table(&n);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		assert_true(table[i].count > 0);
		if (table[i].set == ~0U)
			continue;
		if (!engines(&table[i]))
			assert_int_equal(seen & table[i].set, 0);
		seen |= table[i].set;
	}
	assert_int_equal(seen, ALL_SETS | STACKED_SETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_found),
		cmocka_unit_test(links_have_two_ends),
		cmocka_unit_test(labels_name_instances),
		cmocka_unit_test(rooms_have_no_great_capability),
		cmocka_unit_test(rooms_have_walls),
		cmocka_unit_test(users_are_apart),
		cmocka_unit_test(every_set_has_rules),
		cmocka_unit_test(rules_are_sound),
		cmocka_unit_test(no_set_has_a_way_out),
		cmocka_unit_test(broad_calls_are_conditional),
		cmocka_unit_test(nothing_is_changed_by_path),
		cmocka_unit_test(one_room_has_the_quarantine),
		cmocka_unit_test(reader_opens_for_reading),
		cmocka_unit_test(nobody_maps_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
