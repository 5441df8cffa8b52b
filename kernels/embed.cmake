# Writes OUT: kernels/rows_prelude.h, with the headers that it names in their places, as an array of C
# (string literals may not be so long). SOURCE is the folder of kernels.
file(READ ${SOURCE}/rows_prelude.h prelude)
foreach(header cuda/device.h vector_math.h)
    file(READ ${SOURCE}/${header} text)
    string(REPLACE "#include \"kernels/${header}\"\n" "${text}" prelude "${prelude}")
endforeach()
file(WRITE ${OUT}.text "${prelude}")
file(READ ${OUT}.text bytes HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
file(WRITE ${OUT} "#include \"kernels/rows_text.h\"\n\nconst char kern_row_prelude[] = {${bytes}0};\n")
