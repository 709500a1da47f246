/* lib/counter.c */
#include "counter.h"
