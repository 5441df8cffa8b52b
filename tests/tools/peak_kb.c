/* The most memory that a command had, for tests that are scripts: peak_kb COMMAND WORDS... runs it,
 * what it says thrown away, and prints the peak in KB. Exit code 1 if it fails. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **word) {
    if (count < 2) return 2;
    pid_t child = fork();
    if (child == 0) {
        int nowhere = open("/dev/null", O_WRONLY);
        if (nowhere >= 0 && dup2(nowhere, 1) == 1 && dup2(nowhere, 2) == 2)
            execvp(word[1], word + 1);
        _exit(127);
    }
    int status;
    struct rusage used;
    if (child < 0 || wait4(child, &status, 0, &used) != child || status) {
        fprintf(stderr, "peak_kb: %s fails\n", word[1]);
        return 1;
    }
    printf("%ld\n", used.ru_maxrss);
    return 0;
}
