/*
 * ampquard/step.h - named places of the work, where a crash must do no harm.
 *
 * Owns: nothing. The tests link an ampquard whose step() kills itself at the
 * n-th place (tests/system/step_die.c) and prove that nothing is lost.
 */
#ifndef AMPQUARD_STEP_H
#define AMPQUARD_STEP_H

void step(const char *place);

#endif
