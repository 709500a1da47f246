AC_DEFUN([AMP_SUMMARY], [
  cat <<AMP_END

  $PACKAGE_NAME $PACKAGE_VERSION
    compiler       $CC
    prefix         $prefix
    run directory  $RUNDIR
    log directory  $LOGDIR
    asking group   $CLI_GROUP
    warnings      $AMP_WARN_CFLAGS
    hardening      $enable_hardening:$AMP_HARD_CFLAGS$AMP_HARD_LDFLAGS
    sanitizers     $enable_sanitizers
    fuzzers        $enable_fuzzers
    systemd        $have_systemd
    unit tests     $have_cmocka (cmocka)

AMP_END
])
