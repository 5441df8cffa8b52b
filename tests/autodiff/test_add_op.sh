#!/bin/bash
# docs/add-an-op.md, followed to the letter in a copy of the engine: the new operation passes test_ops,
# and fails it once its rule, or its value, is wrong; many of them are one plan. Arguments: the program, the source directory.
# NOT_SANITIZED: test_ops is, with operations of the same form.
set -euo pipefail
build=$(dirname "$(realpath "$1")")
source=$(realpath "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
mkdir tests objects
cp -r "$source/kernels" "$source/autodiff" .
cp -r "$source/tests/autodiff" tests/

fault() {
    echo "test_add_op: $*"
    exit 1
}

block() { # the page's C block number $1
    awk -v wanted="$1" '/^```/ { inside = !inside && /^```c$/ && ++count == wanted; next } inside' \
        "$source/docs/add-an-op.md"
}
block 1 >row
block 2 >autodiff/ops/tanh.c
block 3 >formula
[ "$(wc -l <row)" = 1 ] && [ "$(wc -l <formula)" = 1 ] && [ "$(block 4 | wc -l)" = 0 ] ||
    fault "the page has other blocks than a row, a file and a formula"
sed -i '/^    UNARY(sigmoid)/r row' autodiff/ops.h
sed -i '/^static double plain(/,/^}/{/\*known = true;/r formula
}' tests/autodiff/test_ops.c
grep -q 'UNARY(tanh)' autodiff/ops.h && grep -q '"tanh"' tests/autodiff/test_ops.c ||
    fault "the table or the test has another form than this script knows"

cached() { # the value of a CMake variable
    sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"
}
flags=(-std=c11 -O1 -D_GNU_SOURCE -DTESTS_DIR='""' -fopenmp -ffp-contract=off -fno-math-errno
       -fno-trapping-math -I.)
compiler=$(cached CMAKE_C_COMPILER)
export compile="$compiler ${flags[*]@Q} -c"

compile_all() { # sources
    # shellcheck disable=SC2016  # expands in that shell
    printf '%s\n' "$@" | xargs -P 2 -n 6 bash -c \
        'for file; do eval "$compile" "$file" -o "objects/$(basename "$file" .c).o" || exit 255; done' sh
}

run_test() { # links and runs; the output into the file `output`
    "$compiler" "${flags[@]}" objects/*.o "$build/libttt_kernels.a" "$(cached DNNL_LIBRARY)" -lcmocka -lm \
        -o test_ops
    ./test_ops >output 2>&1
}

# Changes the operation; the test must then fail in the named test case, and say what is wrong.
must_fail() { # sed command, test case, text
    cp autodiff/ops/tanh.c kept.c
    sed -i "$1" autodiff/ops/tanh.c
    ! cmp -s kept.c autodiff/ops/tanh.c || fault "nothing is changed by $1"
    compile_all autodiff/ops/tanh.c
    ! run_test || fault "this change is not seen: $1"
    grep -q "$3" output && grep -q "FAILED.*$2" output ||
        { cat output; fault "$2 does not name what fails after: $1"; }
    cp kept.c autodiff/ops/tanh.c
}

"$compiler" "${flags[@]}" -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only \
    autodiff/ops/tanh.c || fault "the file of the page has warnings"
compile_all autodiff/*.c autodiff/ops/*.c tests/autodiff/test_ops.c
run_test || { cat output; fault "the operation of the page does not pass"; }
must_fail 's/ad_mul(graph, t, t)/t/' test_derivatives \
    "tanh, variant"
must_fail 's/ct_in\[0\] = \(.*\);$/ct_in[0] = ad_row_sum(graph, \1);/' test_derivatives \
    "the rule of tanh gave a cotangent f64\[.*1\] where f64\["
must_fail 's/ct_in\[0\] = \(.*\);$/ct_in[0] = ad_cast(graph, \1, KERN_F32);/' test_derivatives \
    "the rule of tanh gave a cotangent f32\[.*\] where f64\["
must_fail 's/ad_emit_const(emitter, 1)/ad_emit_const(emitter, 3)/' test_values "tanh, variant"
compile_all autodiff/ops/tanh.c tests/autodiff/many_tanh.c
rm objects/test_ops.o
run_test || { cat output; fault "many in one plan fail"; }
echo "test_add_op: the page's operation passes; with a wrong rule or value it fails"
