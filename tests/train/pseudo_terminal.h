/* A terminal for tests of what is shown on one. */
#ifndef TESTS_TRAIN_PSEUDO_TERMINAL_H
#define TESTS_TRAIN_PSEUDO_TERMINAL_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct {
    int master;
    FILE *out;
} pseudo_terminal;

/* Skips the test where there is none. Columns 0: it knows no size. */
static inline pseudo_terminal open_terminal(unsigned short columns) {
    pseudo_terminal terminal = {.master = posix_openpt(O_RDWR | O_NOCTTY)};
    int slave = -1;
    if (terminal.master >= 0 && !grantpt(terminal.master) && !unlockpt(terminal.master))
        slave = open(ptsname(terminal.master), O_WRONLY | O_NOCTTY);
    if (slave < 0) {
        print_message("skipped: no pseudo-terminal here (is /dev/pts mounted?)\n");
        skip();
    }
    terminal.out = fdopen(slave, "w");
    assert_non_null(terminal.out);
    if (columns)
        assert_int_equal(ioctl(slave, TIOCSWINSZ, &(struct winsize){.ws_col = columns}), 0);
    return terminal;
}

/* Closes it and leaves in text [bytes] what was written to it. */
static inline void read_terminal(char *text, size_t bytes, pseudo_terminal terminal) {
    size_t got = 0;
    fclose(terminal.out);
    for (ssize_t more; (more = read(terminal.master, text + got, bytes - 1 - got)) > 0;)
        got += (size_t)more;
    text[got] = 0;
    close(terminal.master);
}

#endif
