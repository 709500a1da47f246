/*
 * tests/unit/skip.h - a test that cannot run says what it lacks.
 * contrib/check shows that line beside the name of the test.
 */
#ifndef AMP_TEST_SKIP_H
#define AMP_TEST_SKIP_H

/* After <cmocka.h>. lacking: what is not here, a string literal. */
#define SKIP_WITHOUT(lacking)                                                                                \
	do {                                                                                                 \
		print_message("# skipped without " lacking "\n");                                            \
		skip();                                                                                      \
	} while (0)

#endif
