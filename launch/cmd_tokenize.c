/* ttt tokenize: text -> token ids and back. */
#include "data/bpe.h"
#include "data/stream.h"
#include "launch/arguments.h"
#include "launch/commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char about_tokenize[] =
    "Reads text from the standard input and prints the ids of its tokens, one a line.\n"
    "FILE is a .tiktoken file, Llama's tokenizer.model, GPT-2's vocab.bpe or a\n"
    "tokenizer.json, gzipped or not. The first three name no pattern that cuts text\n"
    "into pieces; --pattern does (gpt2, cl100k_base, o200k_base, llama3, or a regular\n"
    "expression), and is guessed from the number of tokens where it is not given.\n"
    "\n"
    "    ttt tokenize --tokenizer vocab.bpe <book.txt >ids.txt\n"
    "    ttt tokenize --tokenizer vocab.bpe --decode <ids.txt >book.txt\n"
    "\n"
    "Text may be compressed with gzip or zstd. Any bytes are text and survive, but files\n"
    "that are known to be none (a PDF, UTF-16) are refused. Names of special tokens are\n"
    "ordinary text unless --special is given.";

enum { BLOCK = 1 << 18, DIGITS = 12 };

typedef struct {
    data_bpe_options how;
    const char *tokenizer;
    bool decode, json, special, time;
} choices;

/* At most `bytes` from the standard input; fewer at its end alone. */
static kern_status read_ids(char *text, int64_t bytes, int64_t *got) {
    for (*got = 0; *got < bytes;) {
        ssize_t more = read(STDIN_FILENO, text + *got, (size_t)(bytes - *got));
        if (more < 0 && errno == EINTR) continue;
        if (more < 0)
            return kern_fail(KERN_ERR_FILE, "the standard input cannot be read: %s",
                             strerror(errno));
        if (more == 0) break;
        *got += more;
    }
    return KERN_OK;
}

static void print_ids(const data_tokens *tokens, bool json, bool first) {
    for (int64_t i = 0; i < tokens->count; i++) {
        char text[DIGITS];
        int at = DIGITS;
        uint32_t id = (uint32_t)tokens->ids[i];
        if (!json) text[--at] = '\n';
        do text[--at] = (char)('0' + id % 10);
        while (id /= 10);
        if (json && !(first && i == 0)) text[--at] = ',';
        fwrite_unlocked(text + at, 1, (size_t)(DIGITS - at), stdout);
    }
}

static kern_status encode(const choices *chosen, const data_vocabulary *vocabulary) {
    kern_status status = KERN_OK;
    data_encoder *encoder = NULL;
    data_tokens tokens = {0};
    data_stream *stream = NULL;
    char *text = NULL;
    int64_t capacity = 0, held = 0, got, consumed;
    double seconds = 0;
    long long bytes = 0, count = 0;
    bool first = true;
    TRY(data_encoder_create(&encoder, vocabulary));
    TRY(data_stream_open(&stream, &(data_stream_options){.path = "-"}));
    if (chosen->json) putchar('[');
    for (bool last = false; !last;) {
        text = kern_grow(text, &capacity, held + BLOCK, 1);
        TRY(data_stream_fill(stream, text + held, capacity - held, &got));
        last = got < capacity - held;
        held += got;
        tokens.count = 0;
        double begin = kern_seconds();
        TRY(data_encode(&tokens, &consumed, encoder, text, held, last, chosen->special));
        seconds += kern_seconds() - begin;
        bytes += consumed;
        count += tokens.count;
        held -= consumed;
        memmove(text, text + consumed, (size_t)held);
        print_ids(&tokens, chosen->json, first);
        first = first && tokens.count == 0;
    }
    if (chosen->json) puts("]");
    if (chosen->time)
        fprintf(stderr, "%lld bytes, %lld tokens, %.3f s to encode, %.1f MB/s\n", bytes, count,
                seconds, seconds > 0 ? (double)bytes / seconds / 1e6 : 0.0);
done:
    data_stream_destroy(stream);
    free(text);
    free(tokens.ids);
    data_encoder_destroy(encoder);
    return status;
}

static kern_status print_token(const data_vocabulary *vocabulary, int64_t id) {
    const char *text = NULL;
    int64_t bytes = id <= INT32_MAX ? vocabulary->decode(&text, vocabulary, (int32_t)id) : 0;
    if (bytes == 0) {
        text = id <= INT32_MAX ? data_vocabulary_special_name(vocabulary, (int32_t)id) : NULL;
        if (!text)
            return kern_fail(KERN_ERR_DATA, "%lld is not the id of a token of this vocabulary",
                             (long long)id);
        bytes = (int64_t)strlen(text);
    }
    fwrite_unlocked(text, 1, (size_t)bytes, stdout);
    return KERN_OK;
}

/* Ids with white space, commas or brackets between them, so that a JSON array will do too. */
static kern_status decode(const data_vocabulary *vocabulary) {
    kern_status status = KERN_OK;
    char text[4096];
    int64_t got = 1, id = -1, open = 0;
    while (got > 0) {
        TRY(read_ids(text, (int64_t)sizeof text, &got));
        for (int64_t i = 0; i < got; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                if (id <= INT32_MAX) id = (id < 0 ? 0 : id * 10) + (text[i] - '0');
                continue;
            }
            if (!text[i] || !strchr(" \t\r\n,[]", text[i]))
                TRY(kern_fail(KERN_ERR_DATA,
                              "the standard input has a byte 0x%02x, which no list of ids has",
                              (unsigned char)text[i]));
            if (id >= 0) TRY(print_token(vocabulary, id));
            id = -1;
            open += (text[i] == '[') - (text[i] == ']');
            if (open < 0 || open > 1)
                TRY(kern_fail(KERN_ERR_DATA, "the standard input has a %c too many", text[i]));
        }
    }
    if (id >= 0) TRY(print_token(vocabulary, id));
    if (open) TRY(kern_fail(KERN_ERR_DATA, "the standard input ends inside of an array"));
done:
    return status;
}

static kern_status run(const choices *chosen) {
    kern_status status = KERN_OK;
    data_vocabulary *vocabulary = NULL;
    if (!chosen->tokenizer)
        return kern_fail(KERN_ERR_USAGE, "name the vocabulary: --tokenizer FILE");
    if (chosen->decode && chosen->json)
        return kern_fail(KERN_ERR_USAGE, "--decode prints text; --json is for ids");
    TRY(data_bpe_open(&vocabulary, chosen->tokenizer, &chosen->how));
    TRY(chosen->decode ? decode(vocabulary) : encode(chosen, vocabulary));
done:
    data_vocabulary_destroy(vocabulary);
    return status;
}

int launch_tokenize(int argc, char **argv) {
    choices chosen = {0};
    const launch_option options[] = {
        {"tokenizer", LAUNCH_TEXT, &chosen.tokenizer, "FILE", "required: the vocabulary"},
        {"pattern", LAUNCH_TEXT, &chosen.how.pattern, "NAME", "what cuts text into pieces"},
        {"begin", LAUNCH_TEXT, &chosen.how.begin, "NAME", "the token that begins a document"},
        {"special", LAUNCH_FLAG, &chosen.special, NULL, "recognise names of special tokens"},
        {"decode", LAUNCH_FLAG, &chosen.decode, NULL, "ids in, text out"},
        {"time", LAUNCH_FLAG, &chosen.time, NULL, "tell on stderr how fast it was encoded"},
        {"json", LAUNCH_FLAG, &chosen.json, NULL, "print the ids as one array"},
        {0},
    };
    const launch_syntax syntax = {"tokenize", "--tokenizer FILE", about_tokenize, options, 0, 1};
    int code = launch_parse(&syntax, &argc, argv);
    if (code >= 0) return code;
    if (argc > 1)
        return launch_report("tokenize",
                             kern_fail(KERN_ERR_USAGE,
                                       "'%s' is one word too many: it reads the standard input, "
                                       "ttt tokenize --tokenizer FILE <%s",
                                       argv[1], argv[1]));
    return launch_report("tokenize", run(&chosen));
}
