dnl AMP_TRY_CFLAG(VAR, FLAG) adds FLAG to VAR if the compiler takes it.
AC_DEFUN([AMP_TRY_CFLAG], [
  AC_MSG_CHECKING([whether $CC takes $2])
  amp_save_cflags="$CFLAGS"
  CFLAGS="$CFLAGS -Werror $2"
  AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])],
    [AC_MSG_RESULT([yes]); $1="$$1 $2"; amp_flag_ok=yes],
    [AC_MSG_RESULT([no]); amp_flag_ok=no])
  CFLAGS="$amp_save_cflags"
])
AC_DEFUN([AMP_TRY_LDFLAG], [
  AC_MSG_CHECKING([whether the linker takes $2])
  amp_save_ldflags="$LDFLAGS"
  LDFLAGS="$LDFLAGS $2"
  AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
    [AC_MSG_RESULT([yes]); $1="$$1 $2"; amp_flag_ok=yes],
    [AC_MSG_RESULT([no]); amp_flag_ok=no])
  LDFLAGS="$amp_save_ldflags"
])
AC_DEFUN([AMP_WARNINGS], [
  AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [warnings are errors (CI)])], [], [enable_werror=no])
  AMP_WARN_CFLAGS=
  for f in -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla; do
    AMP_TRY_CFLAG([AMP_WARN_CFLAGS], [$f])
  done
  AS_IF([test "x$enable_werror" = xyes], [AMP_WARN_CFLAGS="$AMP_WARN_CFLAGS -Werror"])
  AC_SUBST([AMP_WARN_CFLAGS])
])
