/* lib/drop.c */
#include "drop.h"
