# The walls, tried from inside: `make check-walls` as root.
check_PROGRAMS += tests/system/probe
tests_system_probe_SOURCES = tests/system/probe.c tests/system/attempts.c tests/system/attempts.h \
	tests/system/probe_serve.c tests/system/probe_serve.h \
	tests/system/work.c \
	ampmon/posture.c ampmon/posture.h
tests_system_probe_LDADD = $(AMP_LIBS)

# The same as a zygote and as a worker of ampengine, in the walls of its own files.
check_PROGRAMS += tests/system/probe-engine
tests_system_probe_engine_SOURCES = tests/system/probe_engine.c tests/system/attempts.c tests/system/attempts.h \
	tests/system/probe_serve.c tests/system/probe_serve.h \
	tests/system/work.c
tests_system_probe_engine_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=worker_main
tests_system_probe_engine_LDADD = $(AMP_ENGINE_LIBS)

.PHONY: check-walls
check-walls: tests/system/probe tests/system/probe-engine
	python3 $(top_srcdir)/tests/system/test_walls.py $(abs_builddir)/tests/system/probe
