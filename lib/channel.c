/* lib/channel.c */
#include "channel.h"
