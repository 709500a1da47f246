AC_DEFUN([AMP_SANITIZERS], [
  AC_ARG_ENABLE([sanitizers], [AS_HELP_STRING([--enable-sanitizers], [AddressSanitizer and UBSan])], [], [enable_sanitizers=no])
  AMP_SAN_FLAGS=
  AS_IF([test "x$enable_sanitizers" = xyes], [
    AMP_SAN_FLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
    AC_DEFINE([AMP_SANITIZED], [1], [built with sanitizers: their own system calls are let through])
  ])
  AC_SUBST([AMP_SAN_FLAGS])
])
AC_DEFUN([AMP_FUZZERS], [
  AC_ARG_ENABLE([fuzzers], [AS_HELP_STRING([--enable-fuzzers], [libFuzzer targets (clang)])], [], [enable_fuzzers=no])
  AS_IF([test "x$enable_fuzzers" = xyes], [
    AMP_TRY_CFLAG([AMP_FUZZ_CFLAGS], [-fsanitize=fuzzer-no-link])
    AS_IF([test "x$amp_flag_ok" != xyes], [AC_MSG_ERROR([--enable-fuzzers needs clang (CC=clang)])])
    AC_DEFINE([AMP_SANITIZED], [1], [built with sanitizers: their own system calls are let through])
    AMP_SAN_FLAGS="-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
  ])
  AM_CONDITIONAL([ENABLE_FUZZERS], [test "x$enable_fuzzers" = xyes])
])
