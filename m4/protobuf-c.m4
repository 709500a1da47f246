dnl AMP_CHECK_PROTOBUF_C - the library and the compiler.
AC_DEFUN([AMP_CHECK_PROTOBUF_C], [
  PKG_CHECK_MODULES([PROTOBUF_C], [libprotobuf-c >= 1.3], [],
    [AC_MSG_ERROR([libprotobuf-c was not found; on Debian install libprotobuf-c-dev])])
  AC_PATH_PROG([PROTOC_C], [protoc-c])
  AS_IF([test -z "$PROTOC_C"],
    [AC_MSG_ERROR([protoc-c was not found; on Debian install protobuf-c-compiler])])
])
