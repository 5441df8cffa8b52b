#include "kernels/program.h"

#include <malloc.h>

/* Of the product library, and the pieces that are counted: the heap needs some kB more or less for
 * the same objects, as it held others before, and the least that is needed must not depend on it.
 */
enum { LIBRARY = 10 << 20, PIECE = 1 << 20 };

size_t kern_heap_bytes(void) {
    struct mallinfo2 heap = mallinfo2();
    return heap.uordblks + heap.hblkhd;
}

size_t kern_heap_since(size_t before) {
    size_t now = kern_heap_bytes();
    return now > before ? now - before : 0;
}

size_t kern_program_bytes(size_t made) {
    return (made + LIBRARY + PIECE - 1) / PIECE * PIECE;
}
