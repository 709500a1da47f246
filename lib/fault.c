/*
 * lib/fault.c - the table of faults: what is wrong, in words, and what to do.
 * Owns: that table. Must not own: which faults stand (ampmon keeps them). A
 * fault's own detail (which room, which file system) goes with the message
 * that raises it; here is what holds for every occurrence.
 */
#include "fault.h"

static const struct amp_fault_info table[AMP_FAULT_MAX] = {
	[AMP_FAULT_ROOM_THROTTLED] =
		{AMP_FAULT_ROOM_THROTTLED, AMP_FAULT_CRITICAL,
		 "a process of the suite dies too often and is started with delays",
		 "see its log and ampmon.log; install the newest version; report the crash"},
	[AMP_FAULT_ROOM_SILENT] = {AMP_FAULT_ROOM_SILENT, AMP_FAULT_WARNING,
				   "a process of the suite did not answer and was killed",
				   "see whether the machine is out of CPU time or memory; see its log"},
	[AMP_FAULT_DISK_STALLED] = {AMP_FAULT_DISK_STALLED, AMP_FAULT_WARNING,
				    "a disk does not answer; files there are judged late",
				    "see the kernel's log for I/O errors of the file system named"},
	[AMP_FAULT_PEER_HOSTILE] =
		{AMP_FAULT_PEER_HOSTILE, AMP_FAULT_CRITICAL,
		 "a process of the suite broke the protocol and was replaced",
		 "treat it as a break-in into that process: keep the logs, find the file it had in "
		 "hand, see that all programs of the suite are of the same version"},
	[AMP_FAULT_EVENTS_LOST] =
		{AMP_FAULT_EVENTS_LOST, AMP_FAULT_WARNING,
		 "file events were lost; a repair looks at everything changed since",
		 "none if it clears; if it returns often, exclude the directories of the busiest "
		 "writers or set queue_limit = \"unlimited\""},
	[AMP_FAULT_REPAIR_FAILED] = {AMP_FAULT_REPAIR_FAILED, AMP_FAULT_CRITICAL,
				     "what was lost could not be looked at again",
				     "see the log for the reason; restart the service to repair once more"},
	[AMP_FAULT_NOT_WATCHED] =
		{AMP_FAULT_NOT_WATCHED, AMP_FAULT_WARNING, "a local file system cannot be watched",
		 "see the reason in `ampcli status`; take its type from filesystem_types or its mount "
		 "point from watch if it need not be"},
	[AMP_FAULT_CONFIGURATION] = {AMP_FAULT_CONFIGURATION, AMP_FAULT_CRITICAL,
				     "the configuration or policy was refused; the one before, or at a start "
				     "another, is in force",
				     "correct the file and line named, then reload"},
	[AMP_FAULT_POLICY_ENTRIES] = {AMP_FAULT_POLICY_ENTRIES, AMP_FAULT_WARNING,
				      "some entries of the policy's lists cannot be read and are skipped",
				      "correct the lines named in ampmon's log, then reload"},
	[AMP_FAULT_DATABASE_FULL] = {AMP_FAULT_DATABASE_FULL, AMP_FAULT_CRITICAL,
				     "the event database has no space, or only its reserve",
				     "make space on the file system of the cloud directory"},
	[AMP_FAULT_DATABASE_BROKEN] =
		{AMP_FAULT_DATABASE_BROKEN, AMP_FAULT_CRITICAL,
		 "a database was found unusable: damaged, or of another version",
		 "do as the detail says; check the disk; a damaged file is kept beside the new one"},
	[AMP_FAULT_EVENT_SET_ASIDE] =
		{AMP_FAULT_EVENT_SET_ASIDE, AMP_FAULT_WARNING,
		 "an event could not be stored after three tries and was set aside",
		 "see the logs of ampcloudd and of its sender; report the event named there"},
	[AMP_FAULT_ROOM_USER] =
		{AMP_FAULT_ROOM_USER, AMP_FAULT_CRITICAL,
		 "a service user is missing; its process cannot be started",
		 "create the user named, or name another in ampmon.conf, then restart the service"},
	[AMP_FAULT_WALL] =
		{AMP_FAULT_WALL, AMP_FAULT_CRITICAL,
		 "the wall of a process could not be built; it does not run without",
		 "see its log for the wall named; the kernel must have seccomp filters and namespaces"},
	[AMP_FAULT_EXCLUSION_UNSAFE] =
		{AMP_FAULT_EXCLUSION_UNSAFE, AMP_FAULT_WARNING,
		 "others than root can write at an excluded path: anyone can hide files there",
		 "take the exclusion away, or the right to write from the directory named"},
	[AMP_FAULT_LOG_LOST] =
		{AMP_FAULT_LOG_LOST, AMP_FAULT_WARNING, "lines of a log were lost",
		 "make space on the file system of the logs; a busy log needs a higher log_level"},
	[AMP_FAULT_QUARANTINE_FAILED] = {AMP_FAULT_QUARANTINE_FAILED, AMP_FAULT_CRITICAL,
					 "convicted files are still where they were found",
					 "`ampcli quarantine list` has the reason of each; they are tried "
					 "again by themselves; make space or remove the reason named"},
	[AMP_FAULT_VAULT] =
		{AMP_FAULT_VAULT, AMP_FAULT_CRITICAL, "the quarantine cannot be used",
		 "do as the detail says; convicted files are taken as soon as it can be used again"},
	[AMP_FAULT_DEFINITIONS] =
		{AMP_FAULT_DEFINITIONS, AMP_FAULT_WARNING,
		 "the offline engine is without usable signatures, or not on the newest",
		 "install clamav-freshclam (dnf: clamav-update) and let it fetch, or put signatures into a "
		 "directory of `definitions` in ampmon.conf; see `ampcli definitions`"},
	[AMP_FAULT_ENGINE] =
		{AMP_FAULT_ENGINE, AMP_FAULT_WARNING,
		 "the offline engine does not work, dies over files, or its processes disagree",
		 "see ampscand's log for the files, and ampengine's; is there memory for its processes? "
		 "What they judged or missed is judged again; report it"},
	[AMP_FAULT_FOUNDATION] =
		{AMP_FAULT_FOUNDATION, AMP_FAULT_CRITICAL,
		 "a signature convicts a file that this machine stands on; nothing was done to it",
		 "see whether the file is its package's (debsums, rpm -V); if so, the signature is wrong: "
		 "ignore it "
		 "with a .ign2 file; if not, the machine must be set up anew"},
	[AMP_FAULT_BRAKE] =
		{AMP_FAULT_BRAKE, AMP_FAULT_CRITICAL,
		 "a signature convicts many old files at once; the brake holds it",
		 "see `ampcli brake show`; if the signature is right, `ampcli brake release`; if not, "
		 "ignore it with a .ign2 file and restore what was taken"},
	[AMP_FAULT_SCAN_FAILED] = {AMP_FAULT_SCAN_FAILED, AMP_FAULT_WARNING,
				   "a scan on demand could not be done",
				   "see `ampcli scan show` for the reason; start it again"},
};

const struct amp_fault_info *amp_fault_info(unsigned number)
{
	if (number >= AMP_FAULT_MAX || !table[number].text)
		return NULL;
	return &table[number];
}

const char *amp_fault_severity_name(enum amp_fault_severity s)
{
	static const char *const names[] = {
		[AMP_FAULT_INFO] = "info",
		[AMP_FAULT_WARNING] = "warning",
		[AMP_FAULT_CRITICAL] = "critical",
	};

	return (unsigned)s < sizeof(names) / sizeof(names[0]) ? names[s] : "unknown";
}
