# Writes OUT: a hash of the headers that the program in SOURCE shares with its plug-ins, by which it
# knows one that was built from the same ones (kernels/plugin.h).
file(GLOB headers ${SOURCE}/kernels/*.h ${SOURCE}/kernels/cuda/plugin.h ${SOURCE}/launch/mpi/*.h)
set(hashes)
foreach(header ${headers})
    file(SHA256 ${header} hash)
    string(APPEND hashes "${hash} ")
endforeach()
string(SHA256 hash "${hashes}")
string(SUBSTRING ${hash} 0 16 hash)
file(WRITE ${OUT} "#include \"kernels/plugin.h\"\n\n"
     "__attribute__((visibility(\"default\")))\n"
     "const char kern_sources[KERN_SOURCES] = \"ttt sources ${hash}\";\n")
