# programs of the system tests
include tests/system/walls.mk
