dnl AMP_CHECK_LIBEDIT - libedit >= 3.1 by pkg-config; an error without it.
AC_DEFUN([AMP_CHECK_LIBEDIT], [
  PKG_CHECK_MODULES([LIBEDIT], [libedit >= 3.1], [],
    [AC_MSG_ERROR([libedit >= 3.1 was not found; on Debian install libedit-dev])])
])
