# programs of the system tests
