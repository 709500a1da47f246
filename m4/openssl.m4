dnl AMP_CHECK_OPENSSL - libcrypto >= 3.0 by pkg-config; an error without it.
AC_DEFUN([AMP_CHECK_OPENSSL], [
  PKG_CHECK_MODULES([OPENSSL], [libcrypto >= 3.0], [],
    [AC_MSG_ERROR([libcrypto >= 3.0 was not found; on Debian install libssl-dev])])
])
