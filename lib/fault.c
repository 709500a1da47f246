/* lib/fault.c */
#include "fault.h"
