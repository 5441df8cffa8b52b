/* CRC-32 (the one of zlib, gzip and PNG: reflected polynomial 0xEDB88320) guards what we write
 * against torn and flipped bits. It is no protection against someone who wants to deceive.
 * All functions are local and thread-safe. */
#ifndef DATA_CHECKSUM_H
#define DATA_CHECKSUM_H

#include "kernels/base.h"

/* The checksum of what `crc` was computed from, followed by `bytes` bytes at `memory`. Begin with
 * crc = 0. */
uint32_t data_crc32(uint32_t crc, const void *memory, size_t bytes);

/* The checksum of two pieces, one behind the other: `second` belongs to `bytes` bytes. */
uint32_t data_crc32_join(uint32_t first, uint32_t second, int64_t bytes);

/* The part of a checksum that some bytes of a message make, as if all others were zero: continued
 * over bytes, begun with 0, and moved on by data_crc32_join(part, 0, bytes) over bytes that are not
 * looked at. The parts of a message, each moved on to its end, are joined by ^; the last function
 * makes of that the checksum of a message of so many bytes. */
uint32_t data_crc32_part(uint32_t part, const void *memory, size_t bytes);
uint32_t data_crc32_of_parts(uint32_t parts, int64_t bytes);

/* The checksum of bytes [begin, end) of the open file `descriptor`, continuing `*crc`. `path` names
 * the file in errors: KERN_ERR_FILE where it cannot be read, KERN_ERR_DATA where it ends before
 * `end`; *crc is then undefined. Does not move the descriptor's offset. */
kern_status data_crc32_range(uint32_t *crc, int descriptor, int64_t begin, int64_t end,
                             const char *path);

/* The checksum and the size of a whole file. Errors: KERN_ERR_FILE; *crc and *bytes are then
 * undefined. */
kern_status data_crc32_file(uint32_t *crc, int64_t *bytes, const char *path);

#endif
