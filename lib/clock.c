/*
 * lib/clock.c - the time, and RFC 3339 without the C library's time zones.
 * Owns: clock_gettime(2), the frozen clock of tests, reading and writing of
 * dates. Must not own: timers (libevent's), any file: gmtime(3) and timegm(3)
 * are avoided because glibc opens /etc/localtime in both, which a room's
 * filter forbids.
 */
#include "clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECONDS_PER_DAY 86400LL

static _Atomic bool frozen;
static _Atomic int64_t frozen_monotonic;
static _Atomic int64_t frozen_realtime;

static int64_t read_clock(clockid_t which)
{
	struct timespec ts;

	/* Cannot fail for these clocks and a valid address. */
	clock_gettime(which, &ts);
	return (int64_t)ts.tv_sec * AMP_NS_PER_SEC + ts.tv_nsec;
}

int64_t amp_clock_kernel_monotonic(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t amp_clock_kernel_boottime(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

int64_t amp_clock_monotonic(void)
{
	return atomic_load(&frozen) ? atomic_load(&frozen_monotonic) : read_clock(CLOCK_MONOTONIC);
}

int64_t amp_clock_realtime(void)
{
	return atomic_load(&frozen) ? atomic_load(&frozen_realtime) : read_clock(CLOCK_REALTIME);
}

void amp_clock_freeze(int64_t monotonic_ns, int64_t realtime_ns)
{
	atomic_store(&frozen_monotonic, monotonic_ns);
	atomic_store(&frozen_realtime, realtime_ns);
	atomic_store(&frozen, true);
}

void amp_clock_advance(int64_t ns)
{
	atomic_fetch_add(&frozen_monotonic, ns);
	atomic_fetch_add(&frozen_realtime, ns);
}

void amp_clock_release(void)
{
	atomic_store(&frozen, false);
}

/*
 * Days since 1970-01-01 of a day of the Gregorian calendar. Years are counted
 * from March, so that the leap day is the last of its year; 400 years (an
 * era) have 146097 days.
 */
static int64_t days_of_date(int64_t year, int64_t month, int64_t day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return era * 146097 + day_of_era - 719468;
}

/* The way back. */
static void date_of_days(int64_t days, int64_t *year, int *month, int *day)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;

	*day = (int)(doy - (153 * mp + 2) / 5 + 1);
	*month = (int)(mp < 10 ? mp + 3 : mp - 9);
	*year = yoe + era * 400 + (*month <= 2);
}

/* Division that rounds down, so that times before 1970 come out right. */
static int64_t floor_div(int64_t a, int64_t b)
{
	int64_t q = a / b;

	return a % b < 0 ? q - 1 : q;
}

const char *amp_clock_rfc3339(int64_t realtime_ns, char *buf, size_t size)
{
	int64_t seconds = floor_div(realtime_ns, AMP_NS_PER_SEC);
	int64_t days = floor_div(seconds, SECONDS_PER_DAY);
	int of_day = (int)(seconds - days * SECONDS_PER_DAY);
	int64_t fraction = realtime_ns % AMP_NS_PER_SEC; /* negative before 1970 */
	int ms = (int)((fraction < 0 ? fraction + AMP_NS_PER_SEC : fraction) / AMP_NS_PER_MS);
	int64_t year;
	int month, day;

	date_of_days(days, &year, &month, &day);
	snprintf(buf, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)year, month, day, of_day / 3600,
		 of_day / 60 % 60, of_day % 60, ms);
	return buf;
}

/* Exactly n digits at *p, which moves on. -1: not digits. */
static int digits(const char **p, int n)
{
	int value = 0;

	for (int i = 0; i < n; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		value = value * 10 + (**p - '0');
	}
	return value;
}

static bool take(const char **p, const char *any_of)
{
	if (!**p || !strchr(any_of, **p))
		return false;
	(*p)++;
	return true;
}

static int days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* "YYYY-MM-DD" in days since the epoch. */
static int parse_date(const char **p, int64_t *days)
{
	int year = digits(p, 4);
	int month = year >= 0 && take(p, "-") ? digits(p, 2) : -1;
	int day = month >= 0 && take(p, "-") ? digits(p, 2) : -1;

	if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
		return -1;
	*days = days_of_date(year, month, day);
	return 0;
}

/* The digits behind a decimal point, cut to nanoseconds. */
static int parse_fraction(const char **p, int64_t *ns)
{
	int64_t unit = AMP_NS_PER_SEC / 10;

	*ns = 0;
	if (**p < '0' || **p > '9')
		return -1;
	for (; **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
		*ns += (**p - '0') * unit;
	return 0;
}

/* "HH:MM[:SS[.fraction]]"; 60 is a leap second. */
static int parse_time(const char **p, int64_t *seconds, int64_t *ns)
{
	int hour = digits(p, 2);
	int minute = hour >= 0 && take(p, ":") ? digits(p, 2) : -1;
	int second = 0;

	*ns = 0;
	if (hour < 0 || hour > 23 || minute < 0 || minute > 59)
		return -1;
	if (take(p, ":")) {
		second = digits(p, 2);
		if (second < 0 || second > 60 || (take(p, ".") && parse_fraction(p, ns)))
			return -1;
	}
	*seconds = hour * 3600 + minute * 60 + second;
	return 0;
}

/* "Z", "+HH:MM", "-HH:MM" or nothing: seconds to take from the local time. */
static int parse_zone(const char **p, int64_t *offset)
{
	bool west = **p == '-';
	int hour, minute;

	*offset = 0;
	if (!**p || take(p, "Zz"))
		return 0;
	if (!take(p, "+-"))
		return -1;
	hour = digits(p, 2);
	minute = hour >= 0 && take(p, ":") ? digits(p, 2) : -1;
	if (hour < 0 || hour > 23 || minute < 0 || minute > 59)
		return -1;
	*offset = (hour * 3600 + minute * 60) * (west ? -1 : 1);
	return 0;
}

static int parse_moment(const char *text, int64_t *realtime_ns)
{
	const char *p = text;
	int64_t days, seconds = 0, ns = 0, offset = 0, value;

	if (parse_date(&p, &days))
		return -1;
	if (take(&p, "Tt ") && (parse_time(&p, &seconds, &ns) || parse_zone(&p, &offset)))
		return -1;
	if (*p)
		return -1;
	if (__builtin_mul_overflow(days * SECONDS_PER_DAY + seconds - offset, AMP_NS_PER_SEC, &value) ||
	    __builtin_add_overflow(value, ns, &value))
		return -1;
	*realtime_ns = value;
	return 0;
}

/* "15m": that long ago. */
static int parse_span(const char *text, int64_t *realtime_ns)
{
	static const struct {
		char letter;
		int64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', SECONDS_PER_DAY}};
	const char *p = text;
	int64_t n = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
			return -1;
	}
	if (p == text || !p[0] || p[1])
		return -1;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (units[i].letter != *p)
			continue;
		if (__builtin_mul_overflow(n, units[i].seconds * AMP_NS_PER_SEC, &n) ||
		    __builtin_sub_overflow(amp_clock_realtime(), n, &n))
			return -1;
		*realtime_ns = n;
		return 0;
	}
	return -1;
}

int amp_clock_parse(const char *text, int64_t *realtime_ns)
{
	if (!text || (parse_span(text, realtime_ns) && parse_moment(text, realtime_ns))) {
		errno = EINVAL;
		return -1;
	}
	return 0;
}
