/* lib/cliserver.c */
#include "cliserver.h"
