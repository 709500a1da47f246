# A room taken over: sends what tests/system/test_hostile.py tells it to.
check_PROGRAMS += tests/system/hostile
tests_system_hostile_SOURCES = tests/system/hostile.c
tests_system_hostile_LDADD = $(AMP_LIBS)
