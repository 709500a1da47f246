/*
 * lib/counter.c - the registry of counters: a list that only grows.
 * Owns: its head. Must not own: the counters, which live in their modules for
 * as long as the process does (nothing is ever taken off the list).
 */
#include "counter.h"

static _Atomic(struct amp_counter *) first;

void amp_counter_list(struct amp_counter *c)
{
	struct amp_counter *head;

	/* One thread wins the flag, so that the same counter is never pushed twice. */
	if (atomic_load_explicit(&c->listed, memory_order_relaxed) || atomic_exchange(&c->listed, true))
		return;
	head = atomic_load(&first);
	do
		c->next = head;
	while (!atomic_compare_exchange_weak(&first, &head, c));
}

void amp_counter_add(struct amp_counter *c, uint64_t n)
{
	atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
	amp_counter_list(c);
}

uint64_t amp_counter_value(const struct amp_counter *c)
{
	return atomic_load_explicit(&c->value, memory_order_relaxed);
}

const struct amp_counter *amp_counter_first(void)
{
	return atomic_load(&first);
}
