# `make bench`: as root, in namespaces of its own. It measures; it never fails for slowness.
EXTRA_PROGRAMS += tests/bench/bench_ops
tests_bench_bench_ops_SOURCES = tests/bench/bench_ops.c
tests_bench_bench_ops_CFLAGS = $(AM_CFLAGS)
# Static, so that the time of an exec is the kernel's and not the loader's.
tests_bench_bench_ops_LDFLAGS = -static
tests_bench_bench_ops_LDADD =
EXTRA_DIST += tests/bench/bench.py tests/bench/bench_engine.py

.PHONY: bench
bench: $(bin_PROGRAMS) tests/bench/bench_ops
	AMP_BUILD=$(abs_top_builddir) python3 $(top_srcdir)/tests/bench/bench.py $(BENCH_FLAGS)
