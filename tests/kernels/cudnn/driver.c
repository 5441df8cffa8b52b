/* So much of NVIDIA's driver (libcuda.so.1) as cuDNN wants to have before it makes plans: there is
 * no GPU, and code is taken without being looked at. */
enum { NO_DEVICE = 100 };

#define ANSWER(name, answer)                                                                       \
    int name(void);                                                                                \
    int name(void) {                                                                               \
        return answer;                                                                             \
    }

ANSWER(cuInit, NO_DEVICE)
ANSWER(cuDeviceGetCount, NO_DEVICE)
ANSWER(cuGetErrorString, NO_DEVICE)
ANSWER(cuLibraryLoadData, 0)
ANSWER(cuLibraryGetKernel, 0)
