/* lib/iothread.c */
#include "iothread.h"
