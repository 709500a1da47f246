/* lib/sha256.c */
#include "sha256.h"
