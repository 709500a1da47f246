/* lib/room.c */
#include "room.h"
