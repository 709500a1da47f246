# The walls, tried from inside: `make check-walls` as root.
check_PROGRAMS += tests/system/probe
tests_system_probe_SOURCES = tests/system/probe.c tests/system/attempts.c tests/system/attempts.h \
	tests/system/work.c \
	ampmon/posture.c ampmon/posture.h
tests_system_probe_LDADD = $(AMP_LIBS)

.PHONY: check-walls
check-walls: tests/system/probe
	python3 $(top_srcdir)/tests/system/test_walls.py $(abs_builddir)/tests/system/probe
