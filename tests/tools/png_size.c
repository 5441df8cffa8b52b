/* What a PNG holds, for tests that are scripts: png_size <FILE prints its width, its height and how
 * many different bytes its unpacked pixels have, between blanks. Exit code 1 with a message if it
 * is torn, damaged (each chunk has a checksum), or no PNG. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { CHUNK_LIMIT = 1 << 26, PIECE = 1 << 16 };

typedef struct {
    uint32_t width, height;
    z_stream unpack;
    bool unpacked, seen[256];
} picture;

static bool fail(const char *what) {
    fprintf(stderr, "png_size: %s\n", what);
    return false;
}

static uint32_t big_endian(const unsigned char *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Unpacks a piece of the pixels and notes which bytes they have. */
static bool see(picture *p, unsigned char *bytes, uint32_t count) {
    unsigned char out[PIECE];
    p->unpack.next_in = bytes;
    p->unpack.avail_in = count;
    do {
        p->unpack.next_out = out;
        p->unpack.avail_out = PIECE;
        int code = inflate(&p->unpack, Z_NO_FLUSH);
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
            return fail("its pixels cannot be unpacked");
        p->unpacked = code == Z_STREAM_END;
        for (size_t i = 0; i < PIECE - p->unpack.avail_out; i++) p->seen[out[i]] = true;
    } while (!p->unpack.avail_out);
    return true;
}

/* Reads one chunk: length, kind, contents, checksum. The contents are the caller's to free. */
static bool read_chunk(unsigned char **body, uint32_t *count, char kind[5]) {
    unsigned char head[8], tail[4];
    *body = NULL;
    if (fread(head, 1, 8, stdin) != 8) return fail("it ends before its end");
    *count = big_endian(head);
    memcpy(kind, head + 4, 4);
    kind[4] = 0;
    if (*count > CHUNK_LIMIT) return fail("a chunk's length is damaged");
    *body = malloc((size_t)*count + 1);
    if (!*body) return fail("no memory");
    if (fread(*body, 1, *count, stdin) != *count || fread(tail, 1, 4, stdin) != 4)
        return fail("it ends within a chunk");
    uLong crc = crc32(crc32(0, head + 4, 4), *body, *count);
    return crc == big_endian(tail) || fail("a chunk's checksum differs");
}

static bool read_picture(picture *p) {
    unsigned char magic[8];
    if (fread(magic, 1, 8, stdin) != 8 || memcmp(magic, "\x89PNG\r\n\x1a\n", 8))
        return fail("it is no PNG");
    char kind[5] = "";
    while (strcmp(kind, "IEND")) {
        unsigned char *body;
        uint32_t count = 0;
        bool good = read_chunk(&body, &count, kind);
        if (good && !strcmp(kind, "IHDR") && count >= 8) {
            p->width = big_endian(body);
            p->height = big_endian(body + 4);
        }
        if (good && !strcmp(kind, "IDAT")) good = see(p, body, count);
        free(body);
        if (!good) return false;
    }
    if (getchar() != EOF) return fail("something follows its end");
    return p->unpacked || fail("its pixels are torn");
}

int main(void) {
    picture p = {.width = 0};
    if (inflateInit(&p.unpack) != Z_OK) return 1;
    bool good = read_picture(&p);
    inflateEnd(&p.unpack);
    int different = 0;
    for (int i = 0; i < 256; i++) different += p.seen[i];
    if (good) printf("%u %u %d\n", p.width, p.height, different);
    return !good;
}
