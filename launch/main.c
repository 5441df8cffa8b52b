/* The program: finds the command that the first word names and returns its exit code. */
#include "configs/options.h"
#include "kernels/crowding.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/ranks.h"
#include "train/terminal.h"

#include <fcntl.h>
#include <malloc.h>
#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <ttt_commit.h>
#include <unistd.h>

#define VERSION "0.1.0"

typedef struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
    bool ranks; /* several processes may do it together */
} command;

/* In the order in which one meets them; ends with the row without a name. */
static const command commands[] = {
    {"pack", "turns text files into shards of tokens, and verifies shards", launch_pack, false},
    {"tokenize", "text to token ids of a known vocabulary, and back", launch_tokenize, false},
    {"train", "trains a model from a configuration, or goes on with a run", launch_train, true},
    {"sweep", "runs a study: many points from one file, to its end", launch_sweep_command, false},
    {"eval", "measures the loss on held-out texts, or of a text token by token", launch_eval, true},
    {"niah", "hides a needle in a long text and asks runs for it", launch_niah, true},
    {"report", "turns runs and studies into one page of figures", launch_report_command, false},
    {"infer", "reads a text with inner steps, and writes on", launch_infer, true},
    {"state", "shows what a saved state has learned", launch_state, false},
    {"configs", "lists configurations, prints one with every option at its value", launch_configs,
     false},
    {"plan", "what a configuration needs: parameters, work, disk, memory", launch_plan, false},
    {"bench", "how fast steps and ops run, against the machine's own peak", launch_bench, true},
    {NULL, NULL, NULL, false},
};

enum { MOST_COMMANDS = 32 };
_Static_assert(sizeof commands / sizeof *commands < MOST_COMMANDS, "nearest name has no room");

static void print_usage(FILE *to) {
    fprintf(to, "usage: ttt COMMAND [words and options]\n\n"
                "Language models that learn while they read: trained end to end to take one\n"
                "gradient step per chunk of text.\n\ncommands:\n");
    for (const command *row = commands; row->name; row++)
        fprintf(to, "  %-10s %s\n", row->name, row->summary);
    fprintf(to, "  %-10s %s\n", "help", "what a command does and its options: ttt help COMMAND");
    fprintf(to, "\nttt --version prints the version and its commit.\n");
}

static const command *find_command(const char *name) {
    for (const command *row = commands; row->name; row++)
        if (!strcmp(row->name, name)) return row;
    return NULL;
}

static int unknown_command(const char *name) {
    static const char version[] = "version";
    const char *names[MOST_COMMANDS];
    const char *word = name + strspn(name, "-");
    int64_t count = 0;
    for (const command *row = commands; row->name; row++) names[count++] = row->name;
    names[count++] = "help";
    names[count++] = version;
    const char *nearest = strcasecmp(word, "v") ? conf_nearest(word, names, count) : version;
    char *plain = train_terminal_plain(name);
    fprintf(stderr, "ttt: no command '%s'; ", plain);
    free(plain);
    if (nearest == version)
        fprintf(stderr, "did you mean 'ttt --version'?\n");
    else if (nearest)
        fprintf(stderr, "did you mean '%s'?\n", nearest);
    else
        fprintf(stderr, "ttt --help lists them\n");
    return 2;
}

static int help(int argc, char **argv) {
    if (argc < 2 || !strcmp(argv[1], "help")) {
        print_usage(stdout);
        return 0;
    }
    const command *row = find_command(argv[1]);
    if (!row) return unknown_command(argv[1]);
    char name[] = "help", option[] = "--help";
    char *words[] = {name, option, NULL};
    return row->run(2, words);
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help"))
        return help(argc - 1, argv + 1);
    if (!strcmp(name, "--version")) {
        printf("ttt " VERSION " (commit " TTT_COMMIT ")\n");
        return 0;
    }
    const command *row = find_command(name);
    if (!row) return unknown_command(name);
    if (!row->ranks && launch_ranks_count() > 1)
        return launch_report(name, kern_fail(KERN_ERR_USAGE,
                                             "%d ranks were started, and this command is for one; "
                                             "start it without mpirun or srun",
                                             launch_ranks_count()));
    return row->run(argc - 1, argv + 1);
}

/* Output that could not be written (a full disk) is a fault even where the command did not look. */
static int close_output(int code) {
    bool failed = ferror(stdout) != 0;
    if (!fflush(stdout) && !failed) return code;
    fprintf(stderr, "ttt: the output could not be written; is there room on its disk?\n");
    return code ? code : 1;
}

/* A standard stream that the parent closed would be the first file that is opened: a shard would be
 * read as the standard input, or messages be written into a checkpoint. Its place is taken by
 * something that can be neither read nor written, as it would be. */
static void occupy_streams(void) {
    for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
        if (fcntl(i, F_GETFD) < 0) (void)open("/dev/null", i ? O_RDONLY : O_WRONLY);
}

/* What a shell gives (1024, often) is there for programs of long ago, and may be raised freely. */
static void raise_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* where that is refused, what there was has to do */
}

/* malloc reserves 64 MB for the heap of each thread, which a limit on addresses counts. */
static void share_one_heap(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY) return;
    mallopt(M_ARENA_MAX, 1);
}

int main(int argc, char **argv) {
    /* A reader that goes away (ttt configs | head) ends us quietly, also under a parent that
     * ignores SIGPIPE. */
    signal(SIGPIPE, SIG_DFL);
    occupy_streams();
    raise_open_files();
    share_one_heap();
    omp_set_dynamic(0); /* a team whose size changes is ended and started over */
    kern_status status = launch_ranks_begin(); /* before threads that use its processors */
    kern_watch_crowding();
    int code = status == KERN_OK ? dispatch(argc, argv)
                                 : launch_report(argc > 1 ? argv[1] : "ttt", status);
    return launch_ranks_end(close_output(code));
}
