/* PTX as text becomes instructions. What a compiler says for debuggers and for ptxas is left out.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base.h"
#include "tests/kernels/cuda/ptx_code.h"

enum { NAME = 128, BUCKETS = 4096, WORDS = 24, DEPTH = 64 };

typedef struct name {
    struct name *next, *before; /* in its bucket; that was made before it */
    int slot;
    int64_t place; /* of a label */
    char text[];
} name;

/* A text under way. */
typedef struct {
    const char *at, *from;
    name *bucket[BUCKETS], *last;
    name *outer[DEPTH]; /* the last name when a brace was opened */
    int depth;
    ptx_kernel *kernel;
    struct label {
        int64_t instruction;
        char *name;
    } * jump; /* whose labels are not yet known */
    int64_t jumps, jump_capacity;
    struct variable {
        char *name;
        uint64_t address;
        ptx_space space;
    } * variable; /* of the whole text */
    int64_t variables, variable_capacity;
    size_t shared_bytes;
} reader;

_Noreturn void ptx_fail(const ptx_kernel *kernel, const char *text, const char *what) {
    char all[1024];
    snprintf(all, sizeof all, "ptx: %s: %s: %s: %s", kernel ? kernel->from : "",
             kernel ? kernel->name : "", what, text);
    kern_assert_failed(all, __FILE__, __LINE__);
}

static char *copy_of(const char *text, size_t length) {
    char *copy = kern_array((int64_t)length + 1, 1);
    memcpy(copy, text, length);
    return copy;
}

/* ---- names ---- */

static name **bucket_of(reader *r, const char *text) {
    uint32_t hash = 2166136261u;
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 16777619u;
    return &r->bucket[hash % BUCKETS];
}

static name *look(reader *r, const char *text) {
    for (name *n = *bucket_of(r, text); n; n = n->next)
        if (!strcmp(n->text, text)) return n;
    return NULL;
}

static name *declare(reader *r, const char *text, int slot) {
    name *n = kern_array(1, sizeof *n + strlen(text) + 1), **bucket = bucket_of(r, text);
    strcpy(n->text, text);
    n->slot = slot;
    n->next = *bucket;
    n->before = r->last;
    *bucket = r->last = n;
    return n;
}

static void forget(reader *r, const name *until) {
    while (r->last != until) {
        name *n = r->last;
        *bucket_of(r, n->text) = n->next;
        r->last = n->before;
        free(n);
    }
}

/* One slot for each value; it is known as long as the kernel's names are. */
static int constant(reader *r, uint64_t value) {
    ptx_kernel *k = r->kernel;
    for (int64_t i = 0; i < k->constants; i++)
        if (k->constant[i].value == value) return k->constant[i].slot;
    k->constant =
        kern_grow(k->constant, &k->constant_capacity, k->constants + 1, sizeof *k->constant);
    k->constant[k->constants++] = (ptx_constant){k->slots, value};
    return k->slots++;
}

/* ---- words ---- */

static void skip(reader *r) {
    for (;;) {
        while (isspace((unsigned char)*r->at)) r->at++;
        if (r->at[0] == '/' && r->at[1] == '/')
            r->at += strcspn(r->at, "\n");
        else if (r->at[0] == '/' && r->at[1] == '*')
            r->at = strstr(r->at, "*/") + 2;
        else
            return;
    }
}

static bool is_name(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.' || c == ':';
}

/* A name, with the points of an instruction's, or one other character. */
static const char *word(reader *r, char *text) {
    size_t length = 0;
    skip(r);
    while (is_name(r->at[length])) length++;
    if (!length && *r->at) length = 1;
    if (length >= NAME) ptx_fail(r->kernel, r->at, "a name that is too long");
    memcpy(text, r->at, length);
    text[length] = '\0';
    r->at += length;
    return text;
}

static bool take(reader *r, char c) {
    skip(r);
    if (*r->at != c) return false;
    r->at++;
    return true;
}

static void want(reader *r, char c) {
    char line[80];
    snprintf(line, sizeof line, "%.60s", r->at);
    if (!take(r, c)) ptx_fail(r->kernel, line, "not as expected");
}

static int64_t number(reader *r) {
    char *end;
    skip(r);
    int64_t value = strtoll(r->at, &end, 0);
    if (end == r->at) ptx_fail(r->kernel, "a number", "missing");
    r->at = end;
    return value;
}

static int bytes_of(reader *r, const char *type) {
    static const char *const known[] = {".pred", ".b8",  ".u8",  ".s8",  ".b16",
                                        ".u16",  ".s16", ".b32", ".u32", ".s32",
                                        ".f32",  ".b64", ".u64", ".s64", ".f64"};
    static const int bytes[] = {1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        if (!strcmp(type, known[i])) return bytes[i];
    ptx_fail(r->kernel, type, "a type that is not known");
}

/* ---- declarations ---- */

static size_t aligned(size_t bytes, int64_t to) {
    return (bytes + (size_t)to - 1) / (size_t)to * (size_t)to;
}

/* ".align 8 .b8 name[160]" or ".u64 name", behind `used` bytes, which grow. */
static size_t place_variable(reader *r, char *text, size_t *used) {
    int64_t align = 0, count = 1;
    word(r, text);
    if (!strcmp(text, ".align")) {
        align = number(r);
        word(r, text);
    }
    int bytes = bytes_of(r, text);
    if (!align) align = bytes;
    word(r, text);
    if (take(r, '[')) {
        count = take(r, ']') ? 0 : number(r);
        if (count) want(r, ']');
    }
    size_t at = aligned(*used, align);
    *used = at + (size_t)count * (size_t)bytes;
    return at;
}

static void keep_variable(reader *r, const char *text, ptx_space space, uint64_t address) {
    r->variable =
        kern_grow(r->variable, &r->variable_capacity, r->variables + 1, sizeof *r->variable);
    r->variable[r->variables++] = (struct variable){copy_of(text, strlen(text)), address, space};
}

/* .reg .b32 %r<82>; or of single names. */
static void read_registers(reader *r) {
    char text[NAME], one[NAME + 24];
    bytes_of(r, word(r, text));
    do {
        word(r, text);
        if (take(r, '<')) {
            int64_t count = number(r);
            want(r, '>');
            for (int64_t i = 0; i < count; i++) {
                snprintf(one, sizeof one, "%s%lld", text, (long long)i);
                declare(r, one, r->kernel->slots++);
            }
        } else {
            declare(r, text, r->kernel->slots++);
        }
    } while (take(r, ','));
    want(r, ';');
}

static void read_local(reader *r) {
    char text[NAME];
    size_t at = place_variable(r, text, &r->kernel->local_bytes);
    declare(r, text, constant(r, PTX_LOCAL_BASE + at));
    want(r, ';');
}

static void read_shared(reader *r, bool is_extern) {
    char text[NAME];
    size_t none = 0;
    size_t at = place_variable(r, text, is_extern ? &none : &r->shared_bytes);
    keep_variable(r, text, PTX_SHARED, is_extern ? UINT64_MAX : PTX_SHARED_BASE + at);
    want(r, ';');
}

/* ---- operands ---- */

/* -5, 0x1F, 0f3F800000, 0d3FF0000000000000 */
static uint64_t immediate(reader *r) {
    bool negative = take(r, '-');
    char text[NAME], *end;
    uint64_t value;
    word(r, text);
    if (text[0] == '0' && strchr("fFdD", text[1]) && text[1])
        value = strtoull(text + 2, &end, 16);
    else
        value = strtoull(text, &end, 0);
    if (*end == 'U') end++;
    if (*end) ptx_fail(r->kernel, text, "a number that is not one");
    return negative ? 0 - value : value;
}

static uint64_t address_of(reader *r, const struct variable *v) {
    return v->address != UINT64_MAX ? v->address : PTX_SHARED_BASE + aligned(r->shared_bytes, 16);
}

static int operand(reader *r) {
    char text[NAME];
    skip(r);
    if (isdigit((unsigned char)*r->at) || *r->at == '-') return constant(r, immediate(r));
    word(r, text);
    if (!strcmp(text, "_")) return r->kernel->slots++; /* a result that nobody reads */
    const name *n = look(r, text);
    if (n) return n->slot;
    for (int64_t i = 0; i < r->variables; i++)
        if (!strcmp(r->variable[i].name, text)) return constant(r, address_of(r, &r->variable[i]));
    ptx_fail(r->kernel, text, "a name that is not known");
}

typedef struct {
    int slot[PTX_SLOTS], count;
    int group[PTX_SLOTS], groups; /* how many in each of those between commas */
    int64_t offset;
} operands;

static void add_operand(reader *r, operands *o) {
    if (o->count == PTX_SLOTS) ptx_fail(r->kernel, r->at, "too many operands");
    o->slot[o->count++] = operand(r);
}

static void read_operands(reader *r, operands *o) {
    while (!take(r, ';')) {
        int before = o->count;
        if (o->groups == PTX_SLOTS) ptx_fail(r->kernel, r->at, "too many operands");
        if (take(r, '{')) {
            do add_operand(r, o);
            while (take(r, ','));
            want(r, '}');
        } else if (take(r, '[')) {
            add_operand(r, o);
            if (take(r, '+')) o->offset = number(r);
            want(r, ']');
        } else {
            add_operand(r, o);
        }
        o->group[o->groups++] = o->count - before;
        take(r, ',');
    }
}

/* ---- instructions ---- */

static bool begins(const char **text, const char *with) {
    size_t length = strlen(with);
    if (strncmp(*text, with, length) != 0) return false;
    *text += length;
    return true;
}

/* ld.global.v2.u32: what stands behind ld or st. */
static bool decode_access(reader *r, ptx_instruction *i, const char *at) {
    i->kind = begins(&at, "ld.") ? PTX_LOAD : begins(&at, "st.") ? PTX_STORE : PTX_RETURN;
    if (i->kind == PTX_RETURN) return false;
    at--;
    i->space = begins(&at, ".global")   ? PTX_GLOBAL
               : begins(&at, ".shared") ? PTX_SHARED
               : begins(&at, ".local")  ? PTX_LOCAL
               : begins(&at, ".param")  ? PTX_PARAM
                                        : PTX_GENERIC;
    if (i->space == PTX_GLOBAL) begins(&at, ".nc");
    if (!begins(&at, ".v2")) begins(&at, ".v4");
    i->is_signed = at[1] == 's';
    i->bytes = bytes_of(r, at);
    return true;
}

static const struct {
    const char *name;
    ptx_kind kind;
    int results; /* of the slots */
} collective[] = {
    {"bar.sync", PTX_BARRIER, 0},
    {"barrier.sync", PTX_BARRIER, 0},
    {"bar.warp.sync", PTX_SYNC, 0},
    {"shfl.sync.idx.b32", PTX_SHUFFLE, 1},
    {"vote.sync.ballot.b32", PTX_BALLOT, 1},
    {"ldmatrix.sync.aligned.m8n8.x4.shared.b16", PTX_MATRIX, 4},
    {"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", PTX_MATRIX, 4},
    {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", PTX_MMA, 4},
    {"cp.async.cg.shared.global", PTX_COPY, 0},
    {"cp.async.commit_group", PTX_COMMIT, 0},
    {"cp.async.wait_group", PTX_WAIT, 0},
    {"bra", PTX_BRANCH, 0},
    {"bra.uni", PTX_BRANCH, 0},
    {"ret", PTX_RETURN, 0},
};

static bool decode_collective(ptx_instruction *i, const char *text) {
    for (size_t c = 0; c < sizeof collective / sizeof *collective; c++)
        if (!strcmp(text, collective[c].name)) {
            i->kind = collective[c].kind;
            i->results = collective[c].results;
            i->transposed = strstr(text, ".trans.") != NULL;
            if (i->kind == PTX_MATRIX || i->kind == PTX_COPY) i->bytes = 16;
            return true;
        }
    return false;
}

/* Which of the slots are results, once the operands are there. */
static bool share_out(ptx_instruction *i, const operands *o, int sources) {
    if (i->kind == PTX_LOAD || i->kind == PTX_COMPUTE) i->results = o->group[0];
    if (i->kind == PTX_COMPUTE && o->groups == 2 && o->group[0] + o->group[1] > 2) {
        i->kind = o->group[0] == 1 ? PTX_PACK : PTX_UNPACK;
        sources = o->group[1];
    }
    i->sources = o->count - i->results;
    i->offset = o->offset;
    memcpy(i->slot, o->slot, sizeof i->slot);
    return i->kind == PTX_COMPUTE || i->kind == PTX_PACK || i->kind == PTX_UNPACK
               ? i->sources == sources
               : true;
}

/* A store's address stands first, and so it does among the slots. */
static void read_instruction(reader *r) {
    ptx_kernel *k = r->kernel;
    ptx_instruction i = {.guard = -1};
    char text[NAME];
    const char *begin = r->at;
    int sources = 0;
    operands o = {.count = 0};
    if (take(r, '@')) {
        i.guard_not = take(r, '!');
        i.guard = operand(r);
    }
    word(r, text);
    if (decode_collective(&i, text)) {
        if (i.kind == PTX_BRANCH) {
            char label[NAME];
            word(r, label);
            want(r, ';');
            r->jump = kern_grow(r->jump, &r->jump_capacity, r->jumps + 1, sizeof *r->jump);
            r->jump[r->jumps++] = (struct label){k->count, copy_of(label, strlen(label))};
        } else if (i.kind == PTX_WAIT) {
            i.target = number(r);
            want(r, ';');
        } else {
            read_operands(r, &o);
        }
    } else {
        bool known = decode_access(r, &i, text);
        if (!known && (known = ptx_look_up(text, &i.compute, &sources))) i.kind = PTX_COMPUTE;
        if (known) read_operands(r, &o);
        if (known && !strncmp(text, "mov.b", 5)) i.bytes = atoi(text + 5) / 8;
        if (!known) ptx_fail(k, text, "an instruction that is not known");
    }
    i.text = copy_of(begin, (size_t)(r->at - begin));
    if (!share_out(&i, &o, sources)) ptx_fail(k, i.text, "not so many operands");
    if (i.kind == PTX_PACK) i.bytes /= i.sources;
    if (i.kind == PTX_UNPACK) i.bytes /= i.results;
    k->code = kern_grow(k->code, &k->capacity, k->count + 1, sizeof *k->code);
    k->code[k->count++] = i;
}

/* A label, if one stands here: its name and a colon. */
static bool read_label(reader *r) {
    size_t length = 0;
    char text[NAME];
    while (is_name(r->at[length]) && r->at[length] != ':') length++;
    if (!length || r->at[length] != ':' || length >= NAME) return false;
    memcpy(text, r->at, length);
    text[length] = '\0';
    declare(r, text, -1)->place = r->kernel->count;
    r->at += length + 1;
    return true;
}

static void skip_line(reader *r) {
    r->at += strcspn(r->at, "\n");
}

/* ---- kernels ---- */

static void read_parameters(reader *r) {
    ptx_kernel *k = r->kernel;
    char text[NAME];
    want(r, '(');
    while (!take(r, ')')) {
        word(r, text);
        if (strcmp(text, ".param") != 0) ptx_fail(k, text, "not a parameter");
        size_t at = place_variable(r, text, &k->argument_bytes);
        declare(r, text, constant(r, PTX_PARAM_BASE + at));
        take(r, ',');
    }
}

static void read_body(reader *r) {
    want(r, '{');
    r->depth = 0;
    r->outer[r->depth++] = r->last;
    while (r->depth) {
        char text[NAME];
        skip(r);
        if (!*r->at) ptx_fail(r->kernel, "", "it does not end");
        const char *at = r->at;
        if (take(r, '{')) {
            ASSERT(r->depth < DEPTH);
            r->outer[r->depth++] = r->last;
        } else if (take(r, '}')) {
            if (--r->depth) forget(r, r->outer[r->depth]);
        } else if (*r->at == '.') {
            word(r, text);
            if (!strcmp(text, ".reg"))
                read_registers(r);
            else if (!strcmp(text, ".local"))
                read_local(r);
            else if (!strcmp(text, ".shared"))
                read_shared(r, false);
            else if (!strcmp(text, ".loc") || !strcmp(text, ".pragma"))
                skip_line(r);
            else
                ptx_fail(r->kernel, text, "not known");
        } else if (!read_label(r)) {
            r->at = at;
            read_instruction(r);
        }
    }
}

static void find_labels(reader *r) {
    for (int64_t i = 0; i < r->jumps; i++) {
        const name *n = look(r, r->jump[i].name);
        if (!n || n->slot != -1) ptx_fail(r->kernel, r->jump[i].name, "no such label");
        r->kernel->code[r->jump[i].instruction].target = n->place;
        free(r->jump[i].name);
    }
    r->jumps = 0;
}

static void find_unit(ptx_kernel *k) {
    k->shared_unit = 16;
    for (int64_t i = 0; i < k->count; i++) {
        const ptx_instruction *in = &k->code[i];
        bool is = (in->kind == PTX_LOAD || in->kind == PTX_STORE) &&
                  (in->space == PTX_SHARED || in->space == PTX_GENERIC);
        if (is && in->bytes < k->shared_unit) k->shared_unit = in->bytes;
    }
}

static void read_kernel(reader *r, const ptx_kernel **first) {
    static const char *const special[] = {
#define PTX_TEXT(name, text) text,
        PTX_SPECIAL(PTX_TEXT)
#undef PTX_TEXT
    };
    char text[NAME];
    ptx_kernel *k = kern_array(1, sizeof *k);
    word(r, text);
    k->name = copy_of(text, strlen(text));
    k->from = r->from;
    k->most_threads = PTX_MOST_THREADS;
    r->kernel = k;
    for (int i = 0; i < PTX_SPECIALS; i++) declare(r, special[i], k->slots++);
    read_parameters(r);
    while (skip(r), *r->at == '.') {
        word(r, text);
        if (!strcmp(text, ".maxntid")) k->most_threads = (int)number(r);
        skip_line(r);
    }
    read_body(r);
    /* Past the end. */
    k->code = kern_grow(k->code, &k->capacity, k->count + 1, sizeof *k->code);
    k->code[k->count++] = (ptx_instruction){.kind = PTX_RETURN, .guard = -1, .text = "}"};
    find_labels(r);
    find_unit(k);
    forget(r, NULL);
    k->shared_bytes = aligned(r->shared_bytes, 16);
    k->next = *first;
    *first = k;
    r->kernel = NULL;
}

const ptx_kernel *ptx_read(const char *text, const char *from, const ptx_kernel *others) {
    reader *r = kern_array(1, sizeof *r);
    const ptx_kernel *first = others;
    char one[NAME];
    bool is_extern = false;
    r->at = text;
    r->from = copy_of(from, strlen(from));
    while (skip(r), *r->at) {
        word(r, one);
        if (!strcmp(one, ".extern")) {
            is_extern = true;
        } else if (!strcmp(one, ".shared")) {
            read_shared(r, is_extern);
            is_extern = false;
        } else if (!strcmp(one, ".entry")) {
            read_kernel(r, &first);
        } else if (!strcmp(one, ".section")) {
            r->at += strcspn(r->at, "}");
            want(r, '}');
        } else if (strcmp(one, ".visible") != 0) {
            /* .version, .target, .file and their like */
            if (*one != '.' && *one != '}') ptx_fail(NULL, one, "not known outside a kernel");
            skip_line(r);
        }
    }
    for (int64_t i = 0; i < r->variables; i++) free(r->variable[i].name);
    free(r->variable);
    free(r->jump);
    free(r);
    return first;
}

const ptx_kernel *ptx_find(const ptx_kernel *first, const char *of) {
    for (const ptx_kernel *k = first; k; k = k->next)
        if (!strcmp(k->name, of)) return k;
    return NULL;
}

size_t ptx_argument_bytes(const ptx_kernel *kernel) {
    return kernel->argument_bytes;
}
