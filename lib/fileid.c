/* lib/fileid.c */
#include "fileid.h"
