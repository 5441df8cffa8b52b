# Writes OUT: kernels/rows_prelude.h, with vector_math.h in the place of its #include, as an array of
# C (string literals may not be so long). SOURCE is the folder of both.
file(READ ${SOURCE}/rows_prelude.h prelude)
file(READ ${SOURCE}/vector_math.h math)
string(REPLACE "#include \"kernels/vector_math.h\"\n" "${math}" prelude "${prelude}")
file(WRITE ${OUT}.text "${prelude}")
file(READ ${OUT}.text bytes HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
file(WRITE ${OUT} "#include \"kernels/rows_text.h\"\n\nconst char kern_row_prelude[] = {${bytes}0};\n")
