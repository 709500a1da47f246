dnl AMP_CHECK_SQLITE - sqlite3 >= 3.34 by pkg-config; an error without it.
AC_DEFUN([AMP_CHECK_SQLITE], [
  PKG_CHECK_MODULES([SQLITE], [sqlite3 >= 3.34], [],
    [AC_MSG_ERROR([sqlite3 >= 3.34 was not found; on Debian install libsqlite3-dev])])
])
