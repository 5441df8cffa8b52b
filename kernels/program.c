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

size_t kern_program_bytes(size_t before) {
    size_t after = kern_heap_bytes(), made = after > before ? after - before : 0;
    return (made + LIBRARY + PIECE - 1) / PIECE * PIECE;
}
