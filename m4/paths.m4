dnl Directories and users. The configuration file can say otherwise for each.
AC_DEFUN([AMP_PATHS], [
  AC_PREFIX_DEFAULT([/opt/cisco/amp])
  AC_ARG_WITH([rundir], [AS_HELP_STRING([--with-rundir=DIR], [sockets and pid file @<:@/run/sfampd@:>@])],
    [RUNDIR="$withval"], [RUNDIR=/run/sfampd])
  AC_ARG_WITH([logdir], [AS_HELP_STRING([--with-logdir=DIR], [logs @<:@/var/log/cisco@:>@])],
    [LOGDIR="$withval"], [LOGDIR=/var/log/cisco])
  AC_ARG_WITH([cli-group], [AS_HELP_STRING([--with-cli-group=NAME], [group that may ask @<:@amp@:>@])],
    [CLI_GROUP="$withval"], [CLI_GROUP=amp])
  AC_SUBST([RUNDIR])
  AC_SUBST([LOGDIR])
  AC_SUBST([CLI_GROUP])
  AS_IF([test "x$sysconfdir" = 'x${prefix}/etc'], [sysconfdir='${prefix}/etc'])
])
