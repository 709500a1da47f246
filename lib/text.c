/* lib/text.c */
#include "text.h"
