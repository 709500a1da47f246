dnl Kernel headers that the walls and the event source cannot do without.
AC_DEFUN([AMP_CHECK_LANDLOCK], [
  AC_CHECK_HEADER([linux/landlock.h], [],
    [AC_MSG_ERROR([linux/landlock.h is missing: kernel headers of 5.13 or later (Debian: linux-libc-dev)])])
  AC_CHECK_HEADER([linux/seccomp.h], [],
    [AC_MSG_ERROR([linux/seccomp.h is missing (Debian: linux-libc-dev)])])
])
AC_DEFUN([AMP_CHECK_FANOTIFY], [
  AC_CHECK_DECL([FAN_REPORT_TARGET_FID], [],
    [AC_MSG_ERROR([FAN_REPORT_TARGET_FID is missing: kernel headers of 5.17 or later (Debian: linux-libc-dev)])],
    [[#include <linux/fanotify.h>]])
])
