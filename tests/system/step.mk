# A keeper that dies at a step (step_die.c takes the place of step.c).
noinst_PROGRAMS += tests/system/ampquard-steps
tests_system_ampquard_steps_SOURCES = tests/system/step_die.c ampquard/main.c
tests_system_ampquard_steps_LDADD = ampquard/libampquard.a $(AMP_LIBS)
