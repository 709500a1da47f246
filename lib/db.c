/* lib/db.c */
#include "db.h"
