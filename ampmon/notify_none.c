/*
 * ampmon/notify_none.c - in place of notify.c where there is no libsystemd:
 * nobody is to be told.
 */
#include "ampmon/mon.h"

void mon_notify_ready(void)
{
}

int64_t mon_notify_watchdog(void)
{
	return 0;
}

void mon_notify_well(void)
{
}

void mon_notify_reloading(void)
{
}

void mon_notify_stopping(void)
{
}
