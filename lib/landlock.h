#ifndef AMP_LANDLOCK_H
#define AMP_LANDLOCK_H
#endif
