#include "scratch.h"

#include <fcntl.h>
#include <omp.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "kernels/matmul.h"
#include "train/signals.h"

static void first_signal_sets_the_flag(void **state) {
    (void)state;
    const int numbers[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU};
    assert_int_equal(sizeof numbers / sizeof *numbers, TRAIN_SIGNALS);
    int quiet = open("/dev/null", O_WRONLY), kept = dup(STDERR_FILENO);
    for (int i = 0; i < TRAIN_SIGNALS; i++) {
        train_signals saved;
        train_signals_install(&saved);
        assert_int_equal(train_signals_received(), 0);
        raise(SIGXFSZ); /* ignored, and no reason to stop */
        raise(SIGPIPE);
        assert_int_equal(train_signals_received(), 0);
        dup2(quiet, STDERR_FILENO);
        raise(numbers[i]);
        dup2(kept, STDERR_FILENO);
        assert_int_equal(train_signals_received(), numbers[i]);
        train_signals_restore(&saved);
        assert_int_equal(train_signals_received(), numbers[i]);
    }
    close(kept);
    close(quiet);
}

/* Signals that are sent in this order say this. */
static void assert_said(const int *numbers, int count, const char *expected) {
    char text[128] = "";
    int ends[2], kept = dup(STDERR_FILENO);
    train_signals saved;
    assert_int_equal(pipe(ends), 0);
    train_signals_install_saying(&saved, "stopping");
    dup2(ends[1], STDERR_FILENO);
    for (int i = 0; i < count; i++) raise(numbers[i]);
    dup2(kept, STDERR_FILENO);
    assert_int_equal(train_signals_received(), numbers[count - 1]);
    train_signals_restore(&saved);
    close(ends[1]);
    ssize_t got = read(ends[0], text, sizeof text - 1);
    assert_true(got >= 0);
    assert_string_equal(text, expected);
    close(kept);
    close(ends[0]);
}

/* Of notices the second says nothing and ends nothing; a demand after them is a first one. */
static void its_message_is_said_once(void **state) {
    (void)state;
    assert_said((int[]){SIGINT}, 1, "stopping; a second Ctrl-C, SIGTERM or SIGQUIT ends at once\n");
    assert_said((int[]){SIGUSR1, SIGUSR1, SIGUSR1}, 3, "stopping\n");
    assert_said((int[]){SIGUSR2, SIGHUP, SIGXCPU, SIGUSR2}, 4, "stopping\n");
    assert_said((int[]){SIGUSR1, SIGTERM}, 2,
                "stopping\nstopping; a second Ctrl-C, SIGTERM or SIGQUIT ends at once\n");
}

static int own_calls;
static void own_handler(int number) {
    own_calls += number == SIGINT;
}

static void old_handlers_come_back(void **state) {
    (void)state;
    struct sigaction own = {.sa_handler = own_handler}, before, now;
    train_signals saved;
    assert_int_equal(sigaction(SIGINT, &own, &before), 0);
    train_signals_install(&saved);
    train_signals_restore(&saved);
    raise(SIGINT);
    assert_int_equal(own_calls, 1);
    assert_int_equal(sigaction(SIGINT, &before, NULL), 0);
    assert_int_equal(sigaction(SIGTERM, NULL, &now), 0);
    assert_true(now.sa_handler == SIG_DFL);
    assert_int_equal(sigaction(SIGUSR2, NULL, &now), 0);
    assert_true(now.sa_handler == SIG_DFL);
    assert_int_equal(sigaction(SIGXFSZ, NULL, &now), 0);
    assert_true(now.sa_handler == SIG_DFL);
    assert_int_equal(sigaction(SIGPIPE, NULL, &now), 0);
    assert_true(now.sa_handler == SIG_DFL);
}

static void hangup_under_nohup_is_ignored(void **state) {
    (void)state;
    struct sigaction before, now;
    train_signals saved;
    assert_int_equal(sigaction(SIGHUP, &(struct sigaction){.sa_handler = SIG_IGN}, &before), 0);
    train_signals_install(&saved);
    raise(SIGHUP);
    assert_int_equal(train_signals_received(), 0);
    train_signals_restore(&saved);
    assert_int_equal(sigaction(SIGHUP, &before, &now), 0);
    assert_true(now.sa_handler == SIG_IGN);
}

/* The child says on a pipe that it survived the first signal and waits for the second. */
static void second_signal_ends_at_once(void **state) {
    (void)state;
    const int first[] = {SIGINT, SIGTERM, SIGINT, SIGQUIT};
    const int second[] = {SIGINT, SIGTERM, SIGTERM, SIGQUIT};
    for (int i = 0; i < 4; i++) {
        int ends[2], code;
        char byte = 0;
        assert_int_equal(pipe(ends), 0);
        fflush(NULL);
        pid_t child = fork();
        if (!child) {
            train_signals saved;
            setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
            alarm(20);               /* no test that fails waits for ever */
            close(STDERR_FILENO);    /* also: a closed stderr does no harm */
            signal(SIGINT, SIG_IGN); /* as in the background of a shell */
            train_signals_install(&saved);
            raise(first[i]);
            byte = train_signals_received() == first[i] ? 'y' : 'n';
            if (write(ends[1], &byte, 1) != 1) _exit(1);
            for (;;) pause();
        }
        assert_int_equal(read(ends[0], &byte, 1), 1);
        assert_int_equal(byte, 'y');
        assert_int_equal(waitpid(child, &code, WNOHANG), 0);
        assert_int_equal(kill(child, second[i]), 0);
        assert_int_equal(waitpid(child, &code, 0), child);
        assert_true(WIFSIGNALED(code));
        assert_int_equal(WTERMSIG(code), second[i]);
        close(ends[0]);
        close(ends[1]);
    }
}

static volatile uintptr_t frame;
static void where(int number) {
    char here = 0;
    frame = number == SIGINT ? (uintptr_t)&here : 0;
}

/* Products run with the stack pointer in a heap buffer: no handler may use the stack it interrupts,
 * and no thread without a stack of its own for it may take the signal. */
static void handler_leaves_the_stack_alone(void **state) {
    (void)state;
    train_signals saved;
    struct sigaction installed;
    stack_t stack, old;
    int blocked = 0, workers = 0;
    assert_int_equal(sigaltstack(NULL, &old), 0);
    train_signals_install(&saved);
    assert_int_equal(sigaction(SIGINT, NULL, &installed), 0);
    assert_true(installed.sa_flags & SA_ONSTACK);
    struct sigaction probe = {.sa_handler = where, .sa_flags = installed.sa_flags};
    assert_int_equal(sigaction(SIGINT, &probe, NULL), 0);
    raise(SIGINT);
    assert_int_equal(sigaltstack(NULL, &stack), 0);
    assert_true(frame > (uintptr_t)stack.ss_sp && frame < (uintptr_t)stack.ss_sp + stack.ss_size);
#pragma omp parallel reduction(+ : blocked, workers)
    if (omp_get_thread_num()) {
        sigset_t mask;
        pthread_sigmask(SIG_BLOCK, NULL, &mask);
        blocked += sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) &&
                   sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGXCPU);
        workers++;
    }
    assert_int_equal(blocked, workers);
    train_signals_restore(&saved);
    assert_int_equal(sigaltstack(NULL, &stack), 0);
    assert_true(stack.ss_sp == old.ss_sp && stack.ss_flags == old.ss_flags);
}

/* A signal at any moment of a matrix product harms no memory: the product library has code in which
 * the stack pointer is no stack's. Handlers that run on the interrupted stack ruin the heap here.
 */
static void interrupted_products(void) {
    static const int64_t sizes[][3] = {{32, 32, 32}, {32, 48, 32},  {32, 257, 32},
                                       {48, 32, 32}, {32, 48, 512}, {257, 32, 512}};
    enum { SIZES = sizeof sizes / sizeof *sizes, ROUNDS = 1200 };
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGINT};
    timer_t timer;
    ASSERT(!timer_create(CLOCK_MONOTONIC, &event, &timer));
    omp_set_num_threads(1);
    for (int round = 0; round < ROUNDS; round++) {
        const int64_t *size = sizes[round % SIZES];
        kern_matmul_shape shape = {.dtype = KERN_F32, .batch = 1};
        shape.m = size[0], shape.n = size[1], shape.k = size[2];
        shape.transpose_a = round / SIZES % 2;
        shape.transpose_b = round / SIZES / 2 % 2;
        kern_matmul *matmul;
        train_signals saved;
        ASSERT(kern_matmul_create(&matmul, &shape) == KERN_OK);
        float *a = calloc((size_t)(shape.m * shape.k), sizeof *a);
        float *b = calloc((size_t)(shape.k * shape.n), sizeof *b);
        float *c = calloc((size_t)(shape.m * shape.n), sizeof *c);
        void *workspace = malloc(kern_matmul_workspace(matmul, 1) + 1);
        ASSERT(a && b && c && workspace);
        train_signals_install(&saved);
        struct itimerspec once = {.it_value.tv_nsec = 20000 + round * 9973 % 100000};
        ASSERT(!timer_settime(timer, 0, &once, NULL));
        while (!train_signals_received()) kern_matmul_run(matmul, c, a, b, workspace);
        train_signals_restore(&saved);
        kern_matmul_destroy(matmul);
        free(a), free(b), free(c), free(workspace);
    }
}

static void products_may_be_interrupted(void **state) {
    (void)state;
    int code;
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        alarm(100); /* no test that fails waits for ever */
        close(STDERR_FILENO);
        interrupted_products();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_signal_ends_at_once), /* first: it forks, and a team does not */
        cmocka_unit_test(first_signal_sets_the_flag),
        cmocka_unit_test(its_message_is_said_once),
        cmocka_unit_test(hangup_under_nohup_is_ignored),
        cmocka_unit_test(products_may_be_interrupted),
        cmocka_unit_test(old_handlers_come_back),
        cmocka_unit_test(handler_leaves_the_stack_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
