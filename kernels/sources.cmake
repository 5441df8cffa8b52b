# Writes OUT: a hash of the headers in SOURCE, by which the program knows a plug-in that was built from
# the same ones (kernels/cuda/plugin.h).
file(GLOB headers ${SOURCE}/*.h ${SOURCE}/cuda/plugin.h)
set(hashes)
foreach(header ${headers})
    file(SHA256 ${header} hash)
    string(APPEND hashes "${hash} ")
endforeach()
string(SHA256 hash "${hashes}")
string(SUBSTRING ${hash} 0 16 hash)
file(WRITE ${OUT} "#include \"kernels/cuda/plugin.h\"\n\n"
     "const char kern_cuda_sources[KERN_CUDA_SOURCES] = \"ttt kernels ${hash}\";\n")
