/* The seal of a shard: a block of 512 bytes before the HDF5 part (HDF5's user block) that is
 * written last. It says how long the file is, where its tokens lie, and the checksum of everything
 * else, so that a torn or flipped file is refused before HDF5 parses it. Internal to data/.
 *
 *     byte    0  "TTTSHARD"
 *             8  u32 version of the format: 1
 *            12  u32 CRC-32 of the bytes [512, tokens begin) and [tokens end, end of file)
 *            16  u64 bytes of the file
 *            24  u64 first byte of the tokens
 *            32  u64 bytes of the tokens
 *            40  zeros
 *           508  u32 CRC-32 of the 508 bytes before
 *
 * All numbers are little-endian. All functions are local and thread-safe. */
#ifndef DATA_SEAL_H
#define DATA_SEAL_H

#include "data/aside.h"

enum { DATA_SEAL_BYTES = 512 };

typedef struct {
    int64_t file_bytes, tokens_begin, tokens_bytes;
    uint32_t crc; /* its last word, which names the contents but for the tokens' */
} data_seal;

/* Computes the checksum of what `file` holds and writes the seal over its first bytes. Errors:
 * KERN_ERR_FILE. */
kern_status data_seal_write(data_aside *file, int64_t tokens_begin, int64_t tokens_bytes);

/* Reads and verifies the seal of an open file, everything but the tokens. Errors: KERN_ERR_DATA
 * (foreign, of another version, truncated, flipped), KERN_ERR_FILE, both naming `path`. */
kern_status data_seal_check(data_seal *seal, int descriptor, const char *path);

/* Whether the file that is open has this data_seal; nothing else of it is read. */
bool data_seal_is(const void *seal, int descriptor);

#endif
