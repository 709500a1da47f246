# The system tests (contrib/check runs every test_*.py) and their programs.
EXTRA_DIST += $(wildcard $(srcdir)/tests/system/*.py)

include tests/system/walls.mk
include tests/system/hostile.mk
include tests/system/step.mk
include tests/system/engine_seam.mk
include tests/system/zygote_seam.mk
