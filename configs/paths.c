/* Paths as values: "~/x" lies in the home directory; a list has commas between its items. */
#include "configs/options.h"

#include <stdlib.h>
#include <string.h>

/* A character that a backslash before it makes part of an item (data/files.h reads them so). */
static bool is_escaped(const char *at) {
    return *at == '\\' && at[1] && strchr(",\\ ", at[1]);
}

void conf_print_item(FILE *to, const char *item) {
    size_t length = strlen(item), first = strspn(item, " "), last = length;
    while (last && item[last - 1] == ' ') last--;
    for (size_t i = 0; i < length; i++) {
        bool outer = item[i] == ' ' && (i < first || i >= last);
        if (outer || item[i] == ',' || item[i] == '\\') putc('\\', to);
        putc(item[i], to);
    }
}

/* Is there a tilde that stands for the home directory? A list's item ends at a comma, too. */
static bool is_home(const char *at, bool list) {
    return *at == '~' && (!at[1] || at[1] == '/' || (list && (at[1] == ',' || at[1] == ' ')));
}

static kern_status print_home(FILE *to, bool list) {
    const char *home = getenv("HOME");
    if (!home || !*home)
        return kern_fail(KERN_ERR_CONFIG, "~ stands for $HOME, which is not set; write it out");
    if (list)
        conf_print_item(to, home);
    else
        fputs(home, to);
    return KERN_OK;
}

kern_status conf_expand_home(char **expanded, const char *text, bool list) {
    kern_status status = KERN_OK;
    size_t bytes = 0;
    *expanded = NULL;
    FILE *to = open_memstream(expanded, &bytes);
    if (!to) return kern_fail(KERN_ERR_MEMORY, "no memory for a path");
    for (bool begins = true; *text && status == KERN_OK; text++) {
        bool escaped = list && is_escaped(text);
        if (begins && is_home(text, list)) {
            status = print_home(to, list);
        } else {
            if (escaped) putc(*text++, to);
            putc(*text, to);
        }
        begins = list && !escaped && (*text == ',' || (begins && *text == ' '));
    }
    bool failed = ferror(to) != 0;
    if ((fclose(to) || failed) && status == KERN_OK)
        status = kern_fail(KERN_ERR_MEMORY, "no memory for a path");
    if (status == KERN_OK) return KERN_OK;
    free(*expanded);
    *expanded = NULL;
    return status;
}
