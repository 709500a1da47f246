dnl AMP_CHECK_LIBCONFUSE - libconfuse >= 3.0 by pkg-config; an error without it.
AC_DEFUN([AMP_CHECK_LIBCONFUSE], [
  PKG_CHECK_MODULES([CONFUSE], [libconfuse >= 3.0], [],
    [AC_MSG_ERROR([libconfuse >= 3.0 was not found; on Debian install libconfuse-dev])])
])
