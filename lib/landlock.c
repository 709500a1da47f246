/* lib/landlock.c */
#include "landlock.h"
