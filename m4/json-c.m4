dnl AMP_CHECK_JSON_C - json-c >= 0.15 by pkg-config; an error without it.
AC_DEFUN([AMP_CHECK_JSON_C], [
  PKG_CHECK_MODULES([JSONC], [json-c >= 0.15], [],
    [AC_MSG_ERROR([json-c >= 0.15 was not found; on Debian install libjson-c-dev])])
])
