# libttt_cuda.so, where there is a CUDA toolkit (docs/gpu.md). Only nvcc's own output is C++.
find_package(CUDAToolkit 12.8 QUIET)
if(NOT CUDAToolkit_FOUND OR NOT CUDAToolkit_NVCC_EXECUTABLE)
    if(NOT TTT_CUDA STREQUAL "AUTO")
        message(FATAL_ERROR "TTT_CUDA=${TTT_CUDA}: no CUDA toolkit from 12.8 on; nvcc should be on PATH")
    endif()
    return()
endif()

# Machine code for each architecture that there is a machine for, PTX for those to come. A kernel
# that spills registers does not build.
set(TTT_CUDA_ARCHITECTURES 80 86 90 100 120 CACHE STRING "compute capabilities, without the point")
set(cuda_code)
foreach(architecture ${TTT_CUDA_ARCHITECTURES})
    list(APPEND cuda_code
         -gencode=arch=compute_${architecture},code=[sm_${architecture},compute_${architecture}])
endforeach()
file(GLOB cuda_kernels CONFIGURE_DEPENDS kernels/cuda/*.cu)
file(GLOB cuda_headers CONFIGURE_DEPENDS kernels/cuda/*.h)
set(cuda_objects)
foreach(source ${cuda_kernels})
    get_filename_component(name ${source} NAME_WE)
    set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
    # What ptxas says of each kernel stays beside the object (tests/kernels/test_cuda_code.sh).
    add_custom_command(
        OUTPUT ${object}
        COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cuda
        COMMAND bash -c "\"$@\" >'${object}.txt' 2>&1 || { cat '${object}.txt'; exit 1; }" nvcc
                ${CUDAToolkit_NVCC_EXECUTABLE} --threads 0 ${cuda_code} -O3 -lineinfo --fmad=false
                -Xcompiler -fPIC,-fvisibility=hidden --resource-usage
                -Xptxas --warn-on-spills,--warn-on-local-memory-usage -Werror all-warnings
                -I ${CMAKE_SOURCE_DIR} -c ${source} -o ${object}
        DEPENDS ${source} ${cuda_headers} kernels/vector_math.h COMMENT "nvcc ${name}.cu" VERBATIM)
    list(APPEND cuda_objects ${object})
endforeach()

file(GLOB cuda_sources CONFIGURE_DEPENDS kernels/cuda/*.c kernels/rows_text*.c)
add_library(ttt_cuda MODULE ${cuda_sources} ${cuda_objects} ${prelude} ${sources_hash})
add_dependencies(ttt_cuda ttt_generated)
target_compile_definitions(ttt_cuda PRIVATE kern_sources=kern_plugin_sources)
set_target_properties(ttt_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}
                                          LINKER_LANGUAGE C)
target_link_libraries(ttt_cuda PRIVATE CUDA::cudart CUDA::cublasLt CUDA::nvrtc)
set_source_files_properties(kernels/cuda/libraries.c PROPERTIES
                            COMPILE_OPTIONS "-isystem;${CUDAToolkit_INCLUDE_DIRS}")
install(TARGETS ttt_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/ttt)
