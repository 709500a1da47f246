dnl AMP_CHECK_SYSTEMD - readiness and watchdog messages; optional.
AC_DEFUN([AMP_CHECK_SYSTEMD], [
  AC_ARG_WITH([systemd],
    [AS_HELP_STRING([--with-systemd], [notify systemd @<:@default: where libsystemd is@:>@])],
    [], [with_systemd=check])
  have_systemd=no
  AS_IF([test "x$with_systemd" != xno], [
    PKG_CHECK_MODULES([SYSTEMD], [libsystemd], [have_systemd=yes],
      [AS_IF([test "x$with_systemd" = xyes],
        [AC_MSG_ERROR([libsystemd was not found; on Debian install libsystemd-dev])])])
  ])
  AS_IF([test "x$have_systemd" = xyes], [AC_DEFINE([HAVE_SYSTEMD], [1], [libsystemd is there])])
  AM_CONDITIONAL([HAVE_SYSTEMD], [test "x$have_systemd" = xyes])
])
