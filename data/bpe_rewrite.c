#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/bpe_rewrite.h"
#include "data/bpe_unicode.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Unicode's White_Space, and what is not, as the inside of a class. */
#define SPACE                                                                                      \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define NO_SPACE                                                                                   \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-"         \
    "\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"        \
    "\\x{3001}-\\x{10ffff}"
/* What words have beyond the categories named in add_many: letters in circles and squares. */
#define WORD_SYMBOLS                                                                               \
    "\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
/* Oniguruma's \w has them too, but in a class it has not. */
#define WORD_FRACTIONS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define ALL "\\x{0}-\\x{10ffff}"

typedef struct {
    char *bytes; /* [length], and a 0 behind them */
    int64_t length, capacity;
} text;

/* A class as it is put together: what may stand between its brackets, and what may not, as
 * alternatives for one character, each with a | before it. */
typedef struct {
    text inside, others;
    bool negated;
} set;

typedef struct {
    const char *regex, *called;
    const char *at;
    text out;
    bool anchored;
    bool later;    /* what came after PCRE2's Unicode is added */
    bool prefixed; /* PCRE2 knows \p{sc:Han} from \p{scx:Han} */
} rewriting;

static void put_bytes(text *to, const char *from, size_t bytes) {
    to->bytes = kern_grow(to->bytes, &to->capacity, to->length + (int64_t)bytes + 1, 1);
    memcpy(to->bytes + to->length, from, bytes);
    to->length += (int64_t)bytes;
    to->bytes[to->length] = 0;
}

static void put(text *to, const char *from) {
    if (from) put_bytes(to, from, strlen(from));
}

static void put_all(text *to, const char *before, const text *from, const char *after) {
    put(to, before);
    put(to, from->bytes);
    put(to, after);
}

static kern_status refuse(const rewriting *r, int length) {
    return kern_fail(KERN_ERR_DATA,
                     "%s: the pattern %.200s has '%.*s' at byte %lld, which is not supported",
                     r->called, r->regex, length, r->at, (long long)(r->at - r->regex));
}

/* `name` is a category's, of one letter or two, or a script's. */
static bool has(const char *name, const char *member) {
    if (!strcmp(name, "LC")) return member[0] == 'L' && strchr("ult", member[1]);
    return name[1] ? !strcmp(name, member) : name[0] == member[0] && strlen(member) == 2;
}

/* Whether a range came to `name`, or else went from it. */
static bool moved(const data_bpe_unicode_range *range, const char *name, bool came) {
    if (came) return has(name, range->name);
    const char *before = range->first == DATA_BPE_UNICODE_WAS_MN ? "Mn" : "Cn";
    return has(name, before) && !has(name, range->name);
}

static void put_moved(text *to, const char *name, bool came) {
    int64_t count;
    const data_bpe_unicode_range *range = data_bpe_unicode_later(&count), *end = range + count;
    while (range < end) {
        char line[32];
        int32_t first = range->first, last = range->last;
        if (!moved(range++, name, came)) continue;
        for (; range < end && range->first == last + 1 && moved(range, name, came); range++)
            last = range->last;
        snprintf(line, sizeof line, "\\x{%x}-\\x{%x}", (unsigned)first, (unsigned)last);
        put(to, line);
    }
}

/* To members: what PCRE2 calls `name`, and what came to it; to gone: what went from it. */
static void put_named(const rewriting *r, text *members, text *gone, const char *name) {
    bool script = !strcmp(name, "Han");
    if (!strcmp(name, "LC")) {
        put(members, "\\p{Lu}\\p{Ll}\\p{Lt}");
    } else {
        put(members, script && r->prefixed ? "\\p{sc:" : "\\p{");
        put(members, name);
        put(members, "}");
    }
    if (!r->later) return;
    put_moved(members, name, true);
    put_moved(gone, name, false);
}

/* Where \p{...} names a category or Han, in any spelling, its name here; else NULL. */
static const char *known_name(const char *spelt, size_t length) {
    static const char *const names[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "LC", "M",  "Mn", "Mc",
                                        "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe",
                                        "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs",
                                        "Zl", "Zp", "C",  "Cc", "Cf", "Cn", "Co", "Cs", "Han"};
    char plain[8] = "";
    size_t kept = 0;
    for (size_t i = 0; i < length; i++) {
        if (strchr(" _-", spelt[i])) continue;
        if (kept == sizeof plain - 1) return NULL;
        bool capital = spelt[i] >= 'A' && spelt[i] <= 'Z';
        plain[kept++] = (char)(capital ? spelt[i] + 'a' - 'A' : spelt[i]);
    }
    if (!strcmp(plain, "l&")) return "LC";
    if (!strcmp(plain, "hani")) return "Han";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *name = names[i];
        size_t same = 0;
        while (name[same] && (name[same] | 0x20) == plain[same]) same++;
        if (!name[same] && !plain[same]) return name;
    }
    return NULL;
}

/* A name that only PCRE2 knows, said to be a script's where it can be one. */
static void put_foreign(const rewriting *r, text *to, bool negated, const char *name,
                        size_t length) {
    static const char *const properties[] = {"Any",         "ASCII",     "Alphabetic",
                                             "White_Space", "Uppercase", "Lowercase"};
    bool script = r->prefixed && !memchr(name, ':', length) && !memchr(name, '=', length);
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++)
        if (length == strlen(properties[i]) && !memcmp(properties[i], name, length)) script = false;
    put(to, negated ? "\\P{" : "\\p{");
    put(to, script ? "sc:" : "");
    put_bytes(to, name, length);
    put(to, "}");
}

static void add(set *to, const text *members, const text *gone, bool negated) {
    if (negated) {
        put_all(&to->others, "|[^", members, "]");
        if (gone->length) put_all(&to->others, "|[", gone, "]");
    } else if (gone->length) {
        put_all(&to->others, "|(?![", gone, "])");
        put_all(&to->others, "[", members, "]");
    } else {
        put(&to->inside, members->bytes);
    }
}

/* \pL, \p{L}, \p{^L}, \P{L} from r->at on. */
static kern_status add_property(rewriting *r, set *to, bool negated) {
    text members = {0}, gone = {0};
    const char *name = r->at + 2;
    size_t length = 1;
    r->at += 3;
    if (*name == '{') {
        length = strcspn(++name, "}");
        if (!name[length]) {
            r->at -= 3;
            return refuse(r, 3);
        }
        r->at = name + length + 1;
        if (*name == '^') negated = !negated, name++, length--;
    }
    const char *known = known_name(name, length);
    if (known) {
        put_named(r, &members, &gone, known);
        add(to, &members, &gone, negated);
    } else {
        put_foreign(r, &to->inside, negated, name, length);
    }
    free(members.bytes);
    free(gone.bytes);
    return KERN_OK;
}

/* An escape that stands for many characters. */
static bool is_many(const char *at) {
    return *at == '\\' && at[1] && strchr("sSwWdDpP", at[1]);
}

/* Such an escape, added to a set; `negated`: its opposite. `alone`: outside classes. */
static kern_status add_many(rewriting *r, set *to, bool negated, bool alone) {
    static const char *const word[] = {"L", "M", "Nd", "Nl", "Pc", NULL};
    static const char *const digit[] = {"Nd", NULL};
    char kind = r->at[1];
    bool capital = kind >= 'A' && kind <= 'Z', digits = kind == 'd' || kind == 'D';
    negated = negated != capital;
    if (kind == 'p' || kind == 'P') {
        if (!r->at[2]) return refuse(r, 2);
        return add_property(r, to, negated);
    }
    r->at += 2;
    if (kind == 's' || kind == 'S') {
        put(&to->inside, negated ? NO_SPACE : SPACE);
        return KERN_OK;
    }
    text members = {0}, gone = {0};
    for (const char *const *name = digits ? digit : word; *name; name++)
        put_named(r, &members, &gone, *name);
    if (!digits) put(&members, WORD_SYMBOLS);
    if (!digits && alone) put(&members, WORD_FRACTIONS);
    add(to, &members, &gone, negated);
    free(members.bytes);
    free(gone.bytes);
    return KERN_OK;
}

static void put_set(text *to, const set *from) {
    const text *inside = &from->inside, *others = &from->others;
    bool property = inside->length && !strncmp(inside->bytes, "\\p{", 3);
    if (!others->length && !from->negated && property &&
        strchr(inside->bytes, '}') + 1 == inside->bytes + inside->length) {
        put(to, inside->bytes); /* alone it is matched faster than in a class */
    } else if (!others->length) {
        put_all(to, from->negated ? "[^" : "[", inside, "]");
    } else if (from->negated) {
        put(to, "(?:(?!");
        put(to, others->bytes + 1);
        put(to, ")");
        if (inside->length)
            put_all(to, "[^", inside, "])");
        else
            put(to, "[" ALL "])");
    } else {
        put(to, "(?:");
        if (inside->length) put_all(to, "[", inside, "]");
        put(to, others->bytes + (inside->length ? 0 : 1));
        put(to, ")");
    }
}

static void destroy_set(set *s) {
    free(s->inside.bytes);
    free(s->others.bytes);
}

/* One byte, or an escape of one character. */
static kern_status put_literal(rewriting *r, text *to) {
    char next = r->at[1];
    size_t length = 1;
    if (*r->at == '\\') {
        bool letter = (next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z');
        if (!next || (letter && !strchr("nrtfaAzx", next))) return refuse(r, next ? 2 : 1);
        r->anchored = r->anchored || next == 'A';
        length = 2;
    }
    put_bytes(to, r->at, length);
    r->at += length;
    return KERN_OK;
}

/* A member of a class, or a range of them. Characters that mean something only at their place are
 * escaped, as others may be taken from around them. */
static kern_status rewrite_member(rewriting *r, set *s, bool *begins) {
    kern_status status = KERN_OK;
    const char *at = r->at;
    bool last = !at[1] || at[1] == ']';
    if (*at == '[') TRY(refuse(r, 1));
    if (!strncmp(at, "&&", 2) || !strncmp(at, "--", 2) || !strncmp(at, "~~", 2)) TRY(refuse(r, 2));
    if (is_many(at)) {
        TRY(add_many(r, s, false, false));
        *begins = false;
        if (*r->at == '-' && r->at[1] && r->at[1] != ']') TRY(refuse(r, 1));
    } else if (*at == '-' && *begins && !last) {
        if (is_many(at + 1)) TRY(refuse(r, 3));
        put(&s->inside, "-");
        r->at++;
        TRY(put_literal(r, &s->inside));
        *begins = false;
    } else if (*at == '-' || *at == '^') {
        put(&s->inside, *at == '-' ? "\\-" : "\\^");
        r->at++;
        *begins = *at == '^';
    } else {
        TRY(put_literal(r, &s->inside));
        *begins = true;
    }
done:
    return status;
}

static kern_status rewrite_class(rewriting *r) {
    kern_status status = KERN_OK;
    set s = {.negated = r->at[1] == '^'};
    bool begins = false;
    const char *opened = r->at;
    r->at += s.negated ? 2 : 1;
    if (*r->at == ']') { /* is the character */
        put(&s.inside, "\\]");
        r->at++;
        begins = true;
    }
    while (*r->at && *r->at != ']') TRY(rewrite_member(r, &s, &begins));
    if (!*r->at) {
        r->at = opened;
        TRY(kern_fail(KERN_ERR_DATA,
                      "%s: the pattern %.200s has a class without an end at byte %lld", r->called,
                      r->regex, (long long)(opened - r->regex)));
    }
    r->at++;
    put_set(&r->out, &s);
done:
    destroy_set(&s);
    return status;
}

/* Outside classes. */
static kern_status rewrite_many(rewriting *r) {
    set s = {0};
    char kind = r->at[1];
    s.negated = kind >= 'A' && kind <= 'Z';
    kern_status status = add_many(r, &s, s.negated, true);
    if (status == KERN_OK) put_set(&r->out, &s);
    destroy_set(&s);
    return status;
}

static void ask_version(rewriting *r) {
    char version[64] = "", unicode[64] = "";
    pcre2_config(PCRE2_CONFIG_VERSION, version);
    pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, unicode);
    r->later = r->later && strtol(unicode, NULL, 10) < DATA_BPE_UNICODE;
    r->prefixed = strncmp(version, "10.4", 4) >= 0;
}

kern_status data_bpe_rewrite(char **out, bool *anchored, const char *regex, const char *called,
                             bool later) {
    kern_status status = KERN_OK;
    rewriting r = {.regex = regex, .called = called, .at = regex, .later = later};
    *out = NULL;
    ask_version(&r);
    put(&r.out, "");
    while (*r.at) {
        if (is_many(r.at)) {
            TRY(rewrite_many(&r));
        } else if (*r.at == '[') {
            TRY(rewrite_class(&r));
        } else {
            r.anchored = r.anchored || *r.at == '^';
            TRY(put_literal(&r, &r.out));
        }
    }
    *anchored = r.anchored;
    *out = r.out.bytes;
    r.out.bytes = NULL;
done:
    free(r.out.bytes);
    return status;
}
