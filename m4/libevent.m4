dnl AMP_CHECK_LIBEVENT - libevent_core >= 2.1 by pkg-config; an error without it.
AC_DEFUN([AMP_CHECK_LIBEVENT], [
  PKG_CHECK_MODULES([LIBEVENT], [libevent_core >= 2.1], [],
    [AC_MSG_ERROR([libevent_core >= 2.1 was not found; on Debian install libevent-dev])])
])
