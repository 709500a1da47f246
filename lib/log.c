/* lib/log.c */
#include "log.h"
