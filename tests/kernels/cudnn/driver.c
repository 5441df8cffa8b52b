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

/* Both begin with where to put what they make, which is asked for by being there. */
#define MAKE(name)                                                                                 \
    int name(void **made);                                                                         \
    int name(void **made) {                                                                        \
        static int something;                                                                      \
        *made = &something;                                                                        \
        return 0;                                                                                  \
    }

MAKE(cuLibraryLoadData)
MAKE(cuLibraryGetKernel)

ANSWER(cuCtxGetCurrent, NO_DEVICE)
ANSWER(cuCtxGetLimit, NO_DEVICE)
ANSWER(cuCtxPopCurrent, NO_DEVICE)
ANSWER(cuCtxPushCurrent, NO_DEVICE)
ANSWER(cuDeviceGet, NO_DEVICE)
ANSWER(cuDriverGetVersion, NO_DEVICE)
ANSWER(cuGetErrorName, NO_DEVICE)
ANSWER(cuKernelGetAttribute, 0)
ANSWER(cuKernelSetAttribute, 0)
ANSWER(cuLaunchCooperativeKernel, NO_DEVICE)
ANSWER(cuLaunchKernel, NO_DEVICE)
ANSWER(cuLaunchKernelEx, NO_DEVICE)
ANSWER(cuLibraryLoadFromFile, 0)
ANSWER(cuLibraryUnload, 0)
ANSWER(cuLinkAddData, NO_DEVICE)
ANSWER(cuLinkComplete, NO_DEVICE)
ANSWER(cuLinkCreate, NO_DEVICE)
ANSWER(cuLinkDestroy, NO_DEVICE)
ANSWER(cuOccupancyMaxPotentialClusterSize, NO_DEVICE)
ANSWER(cuStreamGetCtx, NO_DEVICE)
