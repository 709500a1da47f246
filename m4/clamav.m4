dnl AMP_CHECK_CLAMAV - libclamav >= 1.0 by pkg-config; an error without it.
AC_DEFUN([AMP_CHECK_CLAMAV], [
  PKG_CHECK_MODULES([CLAMAV], [libclamav >= 1.0], [],
    [AC_MSG_ERROR([libclamav >= 1.0 was not found; on Debian install libclamav-dev])])
])
