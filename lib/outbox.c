/* lib/outbox.c */
#include "outbox.h"
