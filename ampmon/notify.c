/*
 * ampmon/notify.c - what systemd is told (built where libsystemd is;
 * notify_none.c otherwise). Without a NOTIFY_SOCKET nothing happens.
 * Must not own: when the suite is well (mon.c).
 */
#include "ampmon/mon.h"

#include "clock.h"

#include <systemd/sd-daemon.h>

void mon_notify_ready(void)
{
	sd_notify(0, "READY=1\nSTATUS=Ready for scan");
}

int64_t mon_notify_watchdog(void)
{
	uint64_t usec;

	if (sd_watchdog_enabled(0, &usec) <= 0 || usec > INT64_MAX / 1000)
		return 0;
	return (int64_t)usec * 1000;
}

void mon_notify_well(void)
{
	sd_notify(0, "WATCHDOG=1");
}

void mon_notify_reloading(void)
{
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(amp_clock_monotonic() / 1000));
}

void mon_notify_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}
