# unit tests and fuzz targets: channel
UNIT_TESTS += tests/unit/test_channel tests/unit/test_cliserver tests/unit/test_room
tests_unit_test_channel_SOURCES = tests/unit/test_channel.c
tests_unit_test_channel_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_channel_LDADD = $(UNIT_LIBS)
tests_unit_test_cliserver_SOURCES = tests/unit/test_cliserver.c
tests_unit_test_cliserver_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_cliserver_LDADD = $(UNIT_LIBS)
tests_unit_test_room_SOURCES = tests/unit/test_room.c
tests_unit_test_room_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_room_LDADD = $(UNIT_LIBS)
