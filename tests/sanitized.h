/* Whether a sanitizer watches. It looks at where memory is read and written, which a few of many
 * similar cases show; what the numbers are, the plain build's tests see. */
#ifndef TESTS_SANITIZED_H
#define TESTS_SANITIZED_H

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

#endif
