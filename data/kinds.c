#include "data/kinds.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { CONTROL_SHARE = 32, DELETE = 0x7F };
/* Control characters that texts have: colours of a terminal's record are begun by an escape. */
#define USUAL "\a\b\t\n\v\f\r\x1B"

#define UNPACK(tool) "unpack it first: " tool " -dc FILE >TEXT, or hand its output on by a pipe"
#define CONVERT(code) "convert it: iconv -f " code " -t UTF-8 FILE >TEXT"
#define TAKE_OUT "take the text out of it first"

/* Of two that fit, the one that comes first. */
static const struct {
    data_kind kind;
    int offset, length;
    const char *bytes;
} known[] = {
    {{DATA_PACKED_GZIP, "gzip", UNPACK("gzip"), true}, 0, 3, "\x1F\x8B\x08"},
    {{DATA_PACKED_ZSTD, "zstd", UNPACK("zstd"), true}, 0, 4, "\x28\xB5\x2F\xFD"},
    {{0, "an xz file", UNPACK("xz"), true},
     0,
     6,
     "\xFD"
     "7zXZ"},
    {{0, "an lzma file", UNPACK("xz"), true}, 0, 3, "\x5D\0\0"},
    {{0, "a bzip2 file", UNPACK("bzip2"), true}, 4, 6, "1AY&SY"},
    {{0, "an lz4 file", UNPACK("lz4"), true}, 0, 4, "\x04\x22\x4D\x18"},
    {{0, "a compressed file (.Z)", UNPACK("gzip"), true}, 0, 2, "\x1F\x9D"},
    {{0, "a zip archive (so are .docx, .epub, .npz and .pt files)", TAKE_OUT, false},
     0,
     4,
     "PK\x03\x04"},
    {{0, "a 7-zip archive", TAKE_OUT, false}, 0, 6, "7z\xBC\xAF\x27\x1C"},
    {{0, "a rar archive", TAKE_OUT, false}, 0, 6, "Rar!\x1A\x07"},
    {{0, "a tar archive", "unpack it and name its files", true}, 257, 5, "ustar"},
    {{0, "UTF-32", CONVERT("UTF-32"), true}, 0, 4, "\xFF\xFE\0\0"},
    {{0, "UTF-32", CONVERT("UTF-32"), true}, 0, 4, "\0\0\xFE\xFF"},
    {{0, "UTF-16", CONVERT("UTF-16"), true}, 0, 2, "\xFF\xFE"},
    {{0, "UTF-16", CONVERT("UTF-16"), true}, 0, 2, "\xFE\xFF"},
    {{0, "a Parquet file", "write its texts as lines of JSON first", false}, 0, 4, "PAR1"},
    {{0, "an Arrow file", "write its texts as lines of JSON first", false}, 0, 6, "ARROW1"},
    {{0, "an Avro file", "write its texts as lines of JSON first", false}, 0, 4, "Obj\x01"},
    {{0, "a PDF file", "take its text out first: pdftotext FILE TEXT", false}, 0, 5, "%PDF-"},
    {{0, "a shard, whose text is tokens already", "name the text that it was packed from", false},
     0,
     8,
     "TTTSHARD"},
    {{0, "an HDF5 file", TAKE_OUT, false}, 0, 8, "\x89HDF\r\n\x1A\n"},
    {{0, "a pointer of Git LFS in place of the file", "fetch it: git lfs pull", true},
     0,
     23,
     "version https://git-lfs"},
    {{0, "a GGUF model", "it has no text", false}, 0, 4, "GGUF"},
    {{0, "a NumPy array", TAKE_OUT, false}, 0, 6, "\x93NUMPY"},
    {{0, "an SQLite database", TAKE_OUT, false}, 0, 16, "SQLite format 3"},
    {{0, "an old Word, Excel or PowerPoint file", TAKE_OUT, false},
     0,
     8,
     "\xD0\xCF\x11\xE0\xA1\xB1\x1A"
     "\xE1"},
    {{0, "an RTF file", TAKE_OUT, false}, 0, 5, "{\\rtf"},
    {{0, "a PNG picture", "it has no text", false}, 0, 8, "\x89PNG\r\n\x1A\n"},
    {{0, "a JPEG picture", "it has no text", false}, 0, 3, "\xFF\xD8\xFF"},
    {{0, "a program", "it has no text", false},
     0,
     4,
     "\x7F"
     "ELF"},
};

static const data_kind safetensors = {0, "a safetensors file, as models and states are",
                                      "it has no text", false};

/* The length of a header, and the header, which is JSON. */
bool data_kind_is_safetensors(const char *head, int64_t bytes) {
    uint64_t length = 0;
    if (bytes < 10 || head[8] != '{') return false;
    for (int i = 0; i < 8; i++) length |= (uint64_t)(unsigned char)head[i] << 8 * i;
    return length >= 2 && length < UINT64_C(1) << 32 && strchr("\"} \n", head[9]) != NULL;
}

static const data_kind arrow = {0, "an Arrow file", "write its texts as lines of JSON first",
                                false};

/* A stream, as the package datasets saves it: a mark, and how many bytes the schema has. */
static bool is_arrow_stream(const char *head, int64_t bytes) {
    return bytes >= 8 && !memcmp(head, "\xFF\xFF\xFF\xFF", 4) && head[4] % 8 == 0 && !head[7];
}

static const data_kind utf16[2] = {{0, "UTF-16 (without its mark)", CONVERT("UTF-16BE"), true},
                                   {0, "UTF-16 (without its mark)", CONVERT("UTF-16LE"), true}};

/* Every other byte is zero, nearly: Latin letters, of which each has two bytes. Which byte it is, 0
 * or 1, or -1. */
static int zero_byte(const char *head, int64_t bytes) {
    int64_t zeros[2] = {0};
    if (bytes < 8) return -1;
    for (int64_t i = 0; i < bytes; i++) zeros[i % 2] += !head[i];
    for (int i = 0; i < 2; i++)
        if (zeros[i] >= bytes / 2 - bytes / 8 && zeros[1 - i] <= bytes / 64) return i;
    return -1;
}

const data_kind *data_kind_of(const char *head, int64_t bytes) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].offset + known[i].length <= bytes &&
            !memcmp(head + known[i].offset, known[i].bytes, (size_t)known[i].length))
            return &known[i].kind;
    /* A skippable frame, with which a zstd file may begin. */
    if (bytes >= 4 && (head[0] & 0xF0) == 0x50 && !memcmp(head + 1, "\x2A\x4D\x18", 3))
        return &known[1].kind;
    if (data_kind_is_safetensors(head, bytes)) return &safetensors;
    if (is_arrow_stream(head, bytes)) return &arrow;
    int zero = zero_byte(head, bytes);
    return zero < 0 ? NULL : &utf16[zero];
}

bool data_kind_is_binary(char reason[DATA_KIND_REASON], const char *head, int64_t bytes) {
    int64_t controls = 0;
    const char *zero = bytes ? memchr(head, 0, (size_t)bytes) : NULL;
    for (int64_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)head[i];
        controls += byte == DELETE || (byte < ' ' && !strchr(USUAL, byte));
    }
    if (zero)
        snprintf(reason, DATA_KIND_REASON, "its byte %lld is zero", (long long)(zero - head + 1));
    else if (controls * CONTROL_SHARE > bytes)
        snprintf(reason, DATA_KIND_REASON, "%lld of its first %lld bytes are control characters",
                 (long long)controls, (long long)bytes);
    return zero || controls * CONTROL_SHARE > bytes;
}

bool data_kind_is_json_array(const char *head, int64_t bytes) {
    static const char begins[] = "[{\"";
    int64_t found = 0;
    for (int64_t i = 0; i < bytes && begins[found]; i++) {
        if (strchr(" \t\r\n", head[i]) && head[i]) continue;
        if (head[i] != begins[found++]) return false;
    }
    return !begins[found];
}
