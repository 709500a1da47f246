# Unit tests (cmocka), fuzz targets and the programs of the system tests.
# Each module's tests register themselves in a fragment of their own.
UNIT_TESTS =
UNIT_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
UNIT_LIBS = $(AMP_LIBS) $(CMOCKA_LIBS)
FUZZERS =

include tests/unit/base.mk
include tests/unit/channel.mk
include tests/unit/walls.mk
include tests/unit/mon.mk
include tests/unit/conf.mk
include tests/unit/watch.mk
include tests/unit/cloud.mk
include tests/unit/read.mk
include tests/unit/scan.mk
include tests/unit/demand.mk
include tests/unit/cli.mk
include tests/unit/vault.mk
include tests/unit/quarnames.mk
include tests/unit/qstore.mk
include tests/unit/engine.mk
include tests/unit/brake.mk
include tests/system/fragment.mk

if HAVE_CMOCKA
check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
endif
if ENABLE_FUZZERS
noinst_PROGRAMS += $(FUZZERS)
endif
include tests/bench/fragment.mk
include tests/vm/fragment.mk
