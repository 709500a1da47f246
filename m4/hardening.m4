dnl Hardening, flag by flag; --disable-hardening for a debugger's sake only.
AC_DEFUN([AMP_HARDENING], [
  AC_ARG_ENABLE([hardening], [AS_HELP_STRING([--disable-hardening], [no compiler hardening])], [], [enable_hardening=yes])
  AMP_HARD_CFLAGS=
  AMP_HARD_LDFLAGS=
  AS_IF([test "x$enable_hardening" = xyes], [
    for f in -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
             -fno-delete-null-pointer-checks; do
      AMP_TRY_CFLAG([AMP_HARD_CFLAGS], [$f])
    done
    for f in -pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,separate-code; do
      AMP_TRY_LDFLAG([AMP_HARD_LDFLAGS], [$f])
    done
    AS_IF([test "x$enable_sanitizers$enable_fuzzers" = xnono], [AMP_HARDENING_FORGIVING])
  ])
  AC_SUBST([AMP_HARD_CFLAGS])
  AC_SUBST([AMP_HARD_LDFLAGS])
])
dnl What makes a mistake harmless hides it from the sanitizers: not with them.
AC_DEFUN([AMP_HARDENING_FORGIVING], [
  AMP_TRY_CFLAG([AMP_HARD_CFLAGS], [-fno-strict-overflow])
  AMP_TRY_CFLAG([AMP_HARD_CFLAGS], [-ftrivial-auto-var-init=zero])
  dnl clang before 16 takes it only with a promise.
  AS_IF([test "x$amp_flag_ok" != xyes],
    [AMP_TRY_CFLAG([AMP_HARD_CFLAGS],
      [-ftrivial-auto-var-init=zero -enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang])])
  AMP_HARD_CFLAGS="$AMP_HARD_CFLAGS -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"
])
