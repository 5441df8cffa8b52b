/* PTX as text becomes instructions. What a compiler says for debuggers and for ptxas is left out.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base.h"
#include "tests/kernels/cuda/ptx_words.h"

/* ---- declarations ---- */

static size_t aligned(size_t bytes, int64_t to) {
    return (bytes + (size_t)to - 1) / (size_t)to * (size_t)to;
}

/* ".align 8 .b8 name[160]" or ".u64 name", behind `used` bytes, which grow. */
static size_t place_variable(ptx_reader *r, char *text, size_t *used) {
    int64_t align = 0, count = 1;
    ptx_word(r, text);
    if (!strcmp(text, ".align")) {
        align = ptx_number(r);
        ptx_word(r, text);
    }
    int bytes = ptx_bytes_of(r, text);
    if (!align) align = bytes;
    ptx_word(r, text);
    if (ptx_take(r, '[')) {
        count = ptx_take(r, ']') ? 0 : ptx_number(r);
        if (count) ptx_want(r, ']');
    }
    size_t at = aligned(*used, align);
    *used = at + (size_t)count * (size_t)bytes;
    return at;
}

/* .reg .b32 %r<82>; or of single names. */
static void read_registers(ptx_reader *r) {
    char text[PTX_NAME], one[PTX_NAME + 24];
    ptx_bytes_of(r, ptx_word(r, text));
    do {
        ptx_word(r, text);
        if (ptx_take(r, '<')) {
            int64_t count = ptx_number(r);
            ptx_want(r, '>');
            for (int64_t i = 0; i < count; i++) {
                snprintf(one, sizeof one, "%s%lld", text, (long long)i);
                ptx_declare(r, one, r->kernel->slots++);
            }
        } else {
            ptx_declare(r, text, r->kernel->slots++);
        }
    } while (ptx_take(r, ','));
    ptx_want(r, ';');
}

static void read_local(ptx_reader *r) {
    char text[PTX_NAME];
    size_t at = place_variable(r, text, &r->kernel->local_bytes);
    ptx_declare(r, text, ptx_constant_slot(r, PTX_LOCAL_BASE + at));
    ptx_want(r, ';');
}

static void read_shared(ptx_reader *r, bool is_extern) {
    char text[PTX_NAME];
    size_t none = 0;
    size_t at = place_variable(r, text, is_extern ? &none : &r->shared_bytes);
    r->variable =
        kern_grow(r->variable, &r->variable_capacity, r->variables + 1, sizeof *r->variable);
    r->variable[r->variables++] =
        (ptx_variable){ptx_copy_of(text, strlen(text)), PTX_SHARED_BASE + at, is_extern};
    ptx_want(r, ';');
}

/* ---- operands ---- */

/* -5, 0x1F, 0f3F800000, 0d3FF0000000000000 */
static uint64_t immediate(ptx_reader *r) {
    bool negative = ptx_take(r, '-');
    char text[PTX_NAME], *end;
    uint64_t value;
    ptx_word(r, text);
    if (text[0] == '0' && strchr("fFdD", text[1]) && text[1])
        value = strtoull(text + 2, &end, 16);
    else
        value = strtoull(text, &end, 0);
    if (*end == 'U') end++;
    if (*end) ptx_fail(r->kernel, text, "a number that is not one");
    return negative ? 0 - value : value;
}

static uint64_t address_of(ptx_reader *r, const ptx_variable *v) {
    return v->last ? PTX_SHARED_BASE + aligned(r->shared_bytes, 16) : v->address;
}

static int operand(ptx_reader *r) {
    char text[PTX_NAME];
    ptx_skip(r);
    if (isdigit((unsigned char)*r->at) || *r->at == '-') return ptx_constant_slot(r, immediate(r));
    ptx_word(r, text);
    if (!strcmp(text, "_")) return r->kernel->slots++; /* a result that nobody reads */
    const ptx_name *n = ptx_look(r, text);
    if (n) return n->slot;
    for (int64_t i = 0; i < r->variables; i++)
        if (!strcmp(r->variable[i].name, text))
            return ptx_constant_slot(r, address_of(r, &r->variable[i]));
    ptx_fail(r->kernel, text, "a name that is not known");
}

typedef struct {
    int slot[PTX_SLOTS], count;
    int group[PTX_SLOTS], groups; /* how many in each of those between commas */
    int64_t offset;
} operands;

static void add_operand(ptx_reader *r, operands *o) {
    if (o->count == PTX_SLOTS) ptx_fail(r->kernel, r->at, "too many operands");
    o->slot[o->count++] = operand(r);
}

static void read_operands(ptx_reader *r, operands *o) {
    while (!ptx_take(r, ';')) {
        int before = o->count;
        if (o->groups == PTX_SLOTS) ptx_fail(r->kernel, r->at, "too many operands");
        if (ptx_take(r, '{')) {
            do add_operand(r, o);
            while (ptx_take(r, ','));
            ptx_want(r, '}');
        } else if (ptx_take(r, '[')) {
            add_operand(r, o);
            if (ptx_take(r, '+')) o->offset = ptx_number(r);
            ptx_want(r, ']');
        } else {
            add_operand(r, o);
        }
        o->group[o->groups++] = o->count - before;
        ptx_take(r, ',');
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
static bool decode_access(ptx_reader *r, ptx_instruction *i, const char *at) {
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
    i->bytes = ptx_bytes_of(r, at);
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
static void read_instruction(ptx_reader *r) {
    ptx_kernel *k = r->kernel;
    ptx_instruction i = {.guard = -1};
    char text[PTX_NAME];
    const char *begin = r->at;
    int sources = 0;
    operands o = {.count = 0};
    if (ptx_take(r, '@')) {
        i.guard_not = ptx_take(r, '!');
        i.guard = operand(r);
    }
    ptx_word(r, text);
    if (decode_collective(&i, text)) {
        if (i.kind == PTX_BRANCH) {
            char label[PTX_NAME];
            ptx_word(r, label);
            ptx_want(r, ';');
            r->jump = kern_grow(r->jump, &r->jump_capacity, r->jumps + 1, sizeof *r->jump);
            r->jump[r->jumps++] = (ptx_jump){k->count, ptx_copy_of(label, strlen(label))};
        } else if (i.kind == PTX_WAIT) {
            i.target = ptx_number(r);
            ptx_want(r, ';');
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
    i.text = ptx_copy_of(begin, (size_t)(r->at - begin));
    if (!share_out(&i, &o, sources)) ptx_fail(k, i.text, "not so many operands");
    if (i.kind == PTX_PACK) i.bytes /= i.sources;
    if (i.kind == PTX_UNPACK) i.bytes /= i.results;
    k->code = kern_grow(k->code, &k->capacity, k->count + 1, sizeof *k->code);
    k->code[k->count++] = i;
}

/* A label, if one stands here: its name and a colon. */
static bool read_label(ptx_reader *r) {
    size_t length = 0;
    char text[PTX_NAME];
    while (ptx_is_name(r->at[length]) && r->at[length] != ':') length++;
    if (!length || r->at[length] != ':' || length >= PTX_NAME) return false;
    memcpy(text, r->at, length);
    text[length] = '\0';
    ptx_declare(r, text, -1)->place = r->kernel->count;
    r->at += length + 1;
    return true;
}

static void skip_line(ptx_reader *r) {
    r->at += strcspn(r->at, "\n");
}

/* ---- kernels ---- */

static void read_parameters(ptx_reader *r) {
    ptx_kernel *k = r->kernel;
    char text[PTX_NAME];
    ptx_want(r, '(');
    while (!ptx_take(r, ')')) {
        ptx_word(r, text);
        if (strcmp(text, ".param") != 0) ptx_fail(k, text, "not a parameter");
        size_t at = place_variable(r, text, &k->argument_bytes);
        ptx_declare(r, text, ptx_constant_slot(r, PTX_PARAM_BASE + at));
        ptx_take(r, ',');
    }
}

static void read_body(ptx_reader *r) {
    ptx_want(r, '{');
    r->depth = 0;
    r->outer[r->depth++] = r->last;
    while (r->depth) {
        char text[PTX_NAME];
        ptx_skip(r);
        if (!*r->at) ptx_fail(r->kernel, "", "it does not end");
        const char *at = r->at;
        if (ptx_take(r, '{')) {
            ASSERT(r->depth < PTX_DEPTH);
            r->outer[r->depth++] = r->last;
        } else if (ptx_take(r, '}')) {
            if (--r->depth) ptx_forget(r, r->outer[r->depth]);
        } else if (*r->at == '.') {
            ptx_word(r, text);
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

static void find_labels(ptx_reader *r) {
    for (int64_t i = 0; i < r->jumps; i++) {
        const ptx_name *n = ptx_look(r, r->jump[i].name);
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

static void read_kernel(ptx_reader *r, const ptx_kernel **first) {
    static const char *const special[] = {
#define PTX_TEXT(name, text) text,
        PTX_SPECIAL(PTX_TEXT)
#undef PTX_TEXT
    };
    char text[PTX_NAME];
    ptx_kernel *k = kern_array(1, sizeof *k);
    ptx_word(r, text);
    k->name = ptx_copy_of(text, strlen(text));
    k->from = r->from;
    k->most_threads = PTX_MOST_THREADS;
    r->kernel = k;
    for (int i = 0; i < PTX_SPECIALS; i++) ptx_declare(r, special[i], k->slots++);
    read_parameters(r);
    while (ptx_skip(r), *r->at == '.') {
        ptx_word(r, text);
        if (!strcmp(text, ".maxntid")) k->most_threads = (int)ptx_number(r);
        skip_line(r);
    }
    read_body(r);
    /* Past the end. */
    k->code = kern_grow(k->code, &k->capacity, k->count + 1, sizeof *k->code);
    k->code[k->count++] = (ptx_instruction){.kind = PTX_RETURN, .guard = -1, .text = "}"};
    find_labels(r);
    find_unit(k);
    ptx_forget(r, NULL);
    k->shared_bytes = aligned(r->shared_bytes, 16);
    k->next = *first;
    *first = k;
    r->kernel = NULL;
}

const ptx_kernel *ptx_read(const char *text, const char *from, const ptx_kernel *others) {
    ptx_reader *r = kern_array(1, sizeof *r);
    const ptx_kernel *first = others;
    char one[PTX_NAME];
    bool is_extern = false;
    r->at = text;
    r->from = ptx_copy_of(from, strlen(from));
    while (ptx_skip(r), *r->at) {
        ptx_word(r, one);
        if (!strcmp(one, ".extern")) {
            is_extern = true;
        } else if (!strcmp(one, ".shared")) {
            read_shared(r, is_extern);
            is_extern = false;
        } else if (!strcmp(one, ".entry")) {
            read_kernel(r, &first);
        } else if (!strcmp(one, ".section")) {
            r->at += strcspn(r->at, "}");
            ptx_want(r, '}');
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
