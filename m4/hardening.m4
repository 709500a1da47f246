dnl Hardening, flag by flag; --disable-hardening for a debugger's sake only.
AC_DEFUN([AMP_HARDENING], [
  AC_ARG_ENABLE([hardening], [AS_HELP_STRING([--disable-hardening], [no compiler hardening])], [], [enable_hardening=yes])
  AMP_HARD_CFLAGS=
  AMP_HARD_LDFLAGS=
  AS_IF([test "x$enable_hardening" = xyes], [
    for f in -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
             -ftrivial-auto-var-init=zero -fno-delete-null-pointer-checks -fno-strict-overflow; do
      AMP_TRY_CFLAG([AMP_HARD_CFLAGS], [$f])
    done
    for f in -pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,separate-code; do
      AMP_TRY_LDFLAG([AMP_HARD_LDFLAGS], [$f])
    done
    AS_IF([test "x$enable_sanitizers" != xyes], [AMP_HARD_CFLAGS="$AMP_HARD_CFLAGS -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"])
  ])
  AC_SUBST([AMP_HARD_CFLAGS])
  AC_SUBST([AMP_HARD_LDFLAGS])
])
