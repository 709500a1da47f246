/*
 * tests/system/probe_serve.h - many runs of a probe by one process.
 *
 * Owns: a fork for each, its descriptors, what it said and how it ended. Must not
 * own: what is run. To execute a probe again and again takes longer than what it
 * tries, above all on an emulated machine.
 */
#ifndef TESTS_SYSTEM_PROBE_SERVE_H
#define TESTS_SYSTEM_PROBE_SERVE_H

/*
 * Each line of stdin is the arguments of a run, between spaces: run() is called
 * with them in a child, with argv[0] the program's and pipes for stdout and
 * stderr. The answer is "STATUS N M\n", N bytes of stdout, M of stderr; STATUS is
 * the child's exit status, or a signal's number below zero. Returns at the end of
 * stdin; what a main() returns.
 */
int probe_serve(const char *program, int (*run)(int argc, char **argv));

#endif
