dnl AMP_CHECK_SECCOMP - libseccomp >= 2.5 by pkg-config; an error without it.
AC_DEFUN([AMP_CHECK_SECCOMP], [
  PKG_CHECK_MODULES([SECCOMP], [libseccomp >= 2.5], [],
    [AC_MSG_ERROR([libseccomp >= 2.5 was not found; on Debian install libseccomp-dev])])
])
