dnl AMP_CHECK_LIBCAP - libcap >= 2.44 by pkg-config; an error without it.
AC_DEFUN([AMP_CHECK_LIBCAP], [
  PKG_CHECK_MODULES([LIBCAP], [libcap >= 2.44], [],
    [AC_MSG_ERROR([libcap >= 2.44 was not found; on Debian install libcap-dev])])
])
