# libttt_mpi.so, where there is an MPI (docs/ranks.md).
find_package(MPI 3.0 QUIET COMPONENTS C)
if(NOT MPI_C_FOUND)
    if(NOT TTT_MPI STREQUAL "AUTO")
        message(FATAL_ERROR "TTT_MPI=${TTT_MPI}: no MPI from 3.0 on; mpicc should be on PATH")
    endif()
    return()
endif()

file(GLOB mpi_sources CONFIGURE_DEPENDS launch/mpi/*.c)
add_library(ttt_mpi MODULE ${mpi_sources} ${sources_hash})
add_dependencies(ttt_mpi ttt_generated)
target_compile_definitions(ttt_mpi PRIVATE kern_sources=kern_plugin_sources)
set_target_properties(ttt_mpi PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}
                                         C_VISIBILITY_PRESET hidden)
target_include_directories(ttt_mpi SYSTEM PRIVATE ${MPI_C_INCLUDE_DIRS})
target_link_libraries(ttt_mpi PRIVATE ${MPI_C_LIBRARIES})
install(TARGETS ttt_mpi LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/ttt)
