/* lib/arena.c */
#include "arena.h"
