/* lib/clock.c */
#include "clock.h"
