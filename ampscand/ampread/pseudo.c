/*
 * ampscand/ampread/pseudo.c - file systems without files (see pseudo.h).
 */
#include "pseudo.h"

#include "open.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The numbers of linux/magic.h, and those that are in the kernel's sources only. */
static const struct {
	const char *name;
	uint64_t type;
} table[] = {
	{"proc", 0x9fa0},
	{"sysfs", 0x62656572},
	{"debugfs", 0x64626720},
	{"tracefs", 0x74726163},
	{"securityfs", 0x73636673},
	{"selinuxfs", 0xf97cff8c},
	{"smackfs", 0x43415d53},
	{"cgroup", 0x27e0eb},
	{"cgroup2", 0x63677270},
	{"devpts", 0x1cd1},
	{"mqueue", 0x19800202},
	{"configfs", 0x62656570},
	{"pstore", 0x6165676c},
	{"efivarfs", 0xde5e81e4},
	{"bpf", 0xcafe4a11},
	{"binfmt_misc", 0x42494e4d},
	{"autofs", 0x0187},
	{"fusectl", 0x65735543},
	{"nsfs", 0x6e736673},
	{"pidfs", 0x50494446},
	{"sockfs", 0x534f434b},
	{"pipefs", 0x50495045},
	{"anon_inodefs", 0x09041934},
	{"rpc_pipefs", 0x67596969},
	{"nfsd", 0x6e667364},
	{"resctrl", 0x7655821},
	{"usbdevfs", 0x9fa2},
	{"binder", 0x6c6f6f70},
	{"xenfs", 0xabba1974},
	{"secretmem", 0x5345434d},
};

bool amp_pseudo_type(uint64_t type)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].type == type)
			return true;
	return false;
}

static bool has_name(const char *name, size_t n)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strlen(table[i].name) == n && memcmp(table[i].name, name, n) == 0)
			return true;
	return false;
}

/* "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw": spaces in names are octal. */
static bool line_says(const char *line, uint64_t mount_id)
{
	const char *type = strstr(line, " - ");

	return strtoull(line, NULL, 10) == mount_id && type && has_name(type + 3, strcspn(type + 3, " "));
}

bool amp_pseudo_mount(uint64_t mount_id)
{
	int fd = amp_open_proc("self/mountinfo");
	FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
	char *line = NULL;
	size_t room = 0;
	bool found = false;

	if (!f) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (!found && getline(&line, &room, f) > 0)
		found = line_says(line, mount_id);
	free(line);
	fclose(f);
	return found;
}
