/* lib/seccomp_table.c */
#include "seccomp_table.h"
