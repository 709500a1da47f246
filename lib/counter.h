/*
 * lib/counter.h - named counters of a process.
 * Owns: the registry. Every lossy place has one (loss = true): those that are
 * not zero are shown by `ampcli status`. Thread safe to add.
 */
#ifndef AMP_COUNTER_H
#define AMP_COUNTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct amp_counter {
	const char *name; /* "events.overflow": dots, lower case */
	bool loss;
	_Atomic uint64_t value;
	struct amp_counter *next;
	_Atomic bool listed;
};

/* In file scope: static struct amp_counter c = AMP_COUNTER("a.b", true); */
#define AMP_COUNTER(text, is_loss)                                                                           \
	{                                                                                                    \
		.name = (text), .loss = (is_loss)                                                            \
	}

/* Adds n; puts the counter on the registry the first time. */
void amp_counter_add(struct amp_counter *c, uint64_t n);
uint64_t amp_counter_value(const struct amp_counter *c);

/* Puts it on the registry with its value, so that zero is shown as well. */
void amp_counter_list(struct amp_counter *c);

/* First of the registry; follow ->next. */
const struct amp_counter *amp_counter_first(void);

#endif
