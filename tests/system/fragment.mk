# programs of the system tests
include tests/system/walls.mk
include tests/system/hostile.mk
