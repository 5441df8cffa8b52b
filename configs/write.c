/* The resolved configuration as text, and the option table as help and as a document. */
#include "configs/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Length of the section in front of the dot. */
static int section_length(const conf_option *option) {
    return (int)(strchr(option->name, '.') - option->name);
}

static bool begins_section(const conf_option *options, int64_t i) {
    int length = section_length(&options[i]);
    return i == 0 || strncmp(options[i].name, options[i - 1].name, (size_t)length + 1) != 0;
}

static void print_resolved(FILE *to, const ttt_conf *conf) {
    int64_t count;
    const conf_option *options = conf_options(&count);
    fprintf(to, "# Every option of this configuration, resolved.\nname: %s\n", conf->name);
    for (int64_t i = 0; i < count; i++) {
        int length = section_length(&options[i]);
        if (begins_section(options, i)) fprintf(to, "\n%.*s:\n", length, options[i].name);
        fprintf(to, "  # %s%s%s%s\n  %s: ", options[i].help, *options[i].unit ? " [" : "",
                options[i].unit, *options[i].unit ? "]" : "", options[i].name + length + 1);
        conf_option_print(to, conf, &options[i]);
        putc('\n', to);
    }
}

kern_status conf_text(char **text, const ttt_conf *conf) {
    size_t bytes = 0;
    *text = NULL;
    FILE *to = open_memstream(text, &bytes);
    if (!to) return kern_fail(KERN_ERR_MEMORY, "no memory for the text of a configuration");
    print_resolved(to, conf);
    bool failed = ferror(to) != 0;
    if (!fclose(to) && !failed) return KERN_OK;
    free(*text);
    *text = NULL;
    return kern_fail(KERN_ERR_MEMORY, "no memory for the text of a configuration");
}

kern_status conf_hash(uint64_t *hash, const ttt_conf *conf) {
    char *text;
    kern_status status = conf_text(&text, conf);
    if (status != KERN_OK) return status;
    *hash = UINT64_C(0xcbf29ce484222325);
    for (const char *at = text; *at; at++) {
        *hash ^= (unsigned char)*at;
        *hash *= UINT64_C(0x100000001b3);
    }
    free(text);
    return KERN_OK;
}

static kern_status write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (!file) return kern_fail(KERN_ERR_FILE, "%s: %s", path, strerror(errno));
    bool good = fputs(text, file) >= 0 && !fflush(file) && !fsync(fileno(file));
    int cause = errno;
    if (fclose(file) && good) {
        good = false;
        cause = errno;
    }
    if (!good) return kern_fail(KERN_ERR_FILE, "%s: %s", path, strerror(cause));
    return KERN_OK;
}

kern_status conf_write(const ttt_conf *conf, const char *path) {
    kern_status status = KERN_OK;
    char *text = NULL, *aside = NULL;
    TRY(conf_text(&text, conf));
    if (asprintf(&aside, "%s.tmp", path) < 0) {
        aside = NULL;
        TRY(kern_fail(KERN_ERR_MEMORY, "no memory for a file name"));
    }
    TRY(write_file(aside, text));
    if (rename(aside, path)) TRY(kern_fail(KERN_ERR_FILE, "%s: %s", path, strerror(errno)));
done:
    if (status != KERN_OK && aside) unlink(aside);
    free(aside);
    free(text);
    return status;
}

void conf_print_options(FILE *to) {
    int64_t count;
    const conf_option *options = conf_options(&count);
    for (int64_t i = 0; i < count; i++) {
        const conf_option *option = &options[i];
        if (begins_section(options, i))
            fprintf(to, "%s%.*s:\n", i ? "\n" : "", section_length(option), option->name);
        fprintf(to, "  %-24s %s\n  %-24s default %s; ", option->name, option->help, "",
                *option->fallback ? option->fallback : "empty");
        conf_option_print_allowed(to, option);
        if (*option->unit) fprintf(to, " (%s)", option->unit);
        putc('\n', to);
    }
}

static const char introduction[] =
    "# Options\n"
    "\n"
    "This page is printed by `ttt configs --options --markdown`; a test compares them.\n"
    "\n"
    "A configuration is a YAML 1.2 file with the sections below. Wherever a command takes CONFIG, "
    "a\n"
    "name (`quickstart`, `125m-e2e-8k`; `ttt configs` lists them) or a path (with a slash, or "
    "ending\n"
    "in `.yaml`) will do, and `section.key=value` words after it override single options.\n"
    "`ttt configs CONFIG` prints what results, every option at its value; a run directory holds "
    "the\n"
    "same text, and it can be read again.\n"
    "\n"
    "Whole numbers are written out (8192, not 8k; 1e6 is fine), reals as 0.003 or 3e-3, sizes in\n"
    "bytes with or without kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024), "
    "booleans\n"
    "as true or false. An unknown key, a key given twice, a value out of bounds and a combination\n"
    "that cannot be are errors with file, line and what would be right.\n"
    "\n"
    "## One file from others\n"
    "\n"
    "    include: quickstart          # a name, or a path from this file; also a list of them\n"
    "    name: mine                   # of the run; left out: the file's name\n"
    "    model: {mlp: 352}\n"
    "\n"
    "Included files are read first, in their order, so what the file says itself wins.\n"
    "\n"
    "The configurations of the paper have no file each. SIZE-METHOD-STAGE is put together from\n"
    "`sizes/SIZE.yaml`, `methods/METHOD.yaml` and `stages/STAGE.yaml`, read in this order; the "
    "later\n"
    "wins. What depends on a second axis stands in a `when` list of one of them:\n"
    "\n"
    "    when:\n"
    "      - method: e2e              # a name or a list of names; of several axes all must hold\n"
    "        stage: [16k, 32k]\n"
    "        train: {steps: 120}\n"
    "\n"
    "Within a file, `include` comes first, then the sections, then the matching entries of `when` "
    "from\n"
    "top to bottom. In text, `{size}`, `{method}` and `{stage}` stand for the names. Adding a size "
    "is\n"
    "one file in `sizes/`.\n"
    "\n"
    "Names are looked for in `$TTT_CONFIGS`, then where `cmake --install` puts them "
    "(`share/ttt/configs`\n"
    "of the program's prefix), then in `configs/` of the source tree that the program was built "
    "from, then\n"
    "in `../configs` beside the program.\n"
    "\n"
    "A path may begin with `~/`, in a file and behind `key=`. In a list of paths that is one text, "
    "`\\,` is a\n"
    "comma of a path and `\\\\` a backslash; in a YAML sequence, `train: [a.h5, \"b,c.h5\"]`, "
    "each item is one\n"
    "path as it is.\n";

void conf_print_markdown(FILE *to) {
    int64_t count;
    const conf_option *options = conf_options(&count);
    fputs(introduction, to);
    for (int64_t i = 0; i < count; i++) {
        const conf_option *option = &options[i];
        if (begins_section(options, i))
            fprintf(to,
                    "\n## %.*s\n\n| option | type | default | unit | allowed | meaning |\n"
                    "|---|---|---|---|---|---|\n",
                    section_length(option), option->name);
        fprintf(to, "| %s | %s | %s | %s | ", option->name, conf_type_name(option->type),
                *option->fallback ? option->fallback : "empty", option->unit);
        conf_option_print_allowed(to, option);
        fprintf(to, " | %s |\n", option->help);
    }
}
