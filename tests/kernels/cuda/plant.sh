#!/bin/bash
# Plants bugs in the CUDA device, one at a time, and says which go unseen: each barrier, wait and commit of
# its kernels and each wait and event of the host taken out, and what stands in
# tests/kernels/cuda/plants.txt. By hand, where it has changed:
#   bash tests/kernels/cuda/plant.sh BUILD [PATTERN]     BUILD: a folder built with the tests
# PATTERN: of the bugs, as they are printed. Minutes, told on stderr: all bugs are compiled at once, and
# TTT_PLANT says which one is there. Exit code 1: one went unseen.
set -euo pipefail
build=$(realpath "$1")
pattern=${2-.}
cd "$(dirname "$0")/../../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tests/kernels/cuda"
cp -r kernels "$work"
cp -r tests/kernels/cuda/watched "$work/tests/kernels/cuda"
cp "$build"/tests/test_{device_{attention,matmul,move,stream},comm} "$work" # a build may go on
[ ! -e "$build/libttt_mpi.so" ] || cp "$build/libttt_mpi.so" "$work"

# Writes the planted sources and prints each bug: number|file|what it is.
plant() {
    # shellcheck disable=SC2016  # Perl's
    perl -e '
        my ($work, %text, %edit, $count) = shift;
        sub put { # at a place, $form instead of what stands there; <N>: the bug, <IT>: what stood there
            my ($file, $at, $was, $form) = @_;
            $edit{$file}{$at} //= [$was, $was];
            die "$file: two bugs in one: $was\n" if $edit{$file}{$at}[0] ne $was;
            $edit{$file}{$at}[1] = $form =~ s/<N>/$count/r =~ s/<IT>/$edit{$file}{$at}[1]/r;
        }
        my $kernel = qr/^ *(sync_block\(\)|sync_warp\(\)|copy_async_(?:wait|commit)\(\d?\));/m;
        my $host = qr/(ON_STREAM\(\S+ RUNTIME\((?:StreamSynchronize|StreamWaitEvent|Event(?:Record|Synchronize))[^;]*);/;
        for my $file (glob "kernels/cuda/*.h kernels/cuda/*.cu kernels/cuda/*.c") {
            open my $in, "<", $file or die; local $/; $text{$file} = <$in>;
            next if $file =~ /cuda.device.h/;
            my $waits = $file =~ /c$/ ? $host : $kernel;
            while ($text{$file} =~ /$waits/g) {
                my $line = 1 + (substr($text{$file}, 0, $-[1]) =~ tr/\n//);
                print ++$count, "|$file|$file: $line without $1\n";
                put($file, $-[1], $1, "if (!planted(<N>)) <IT>");
            }
        }
        open my $plants, "<", "tests/kernels/cuda/plants.txt" or die;
        while (<$plants>) {
            next if /^#/;
            my ($file, $before, $from, $to, $after) = /^(.*?)\|(.*)\{\{(.*?) => (.*?)\}\}(.*)$/
                or die "unclear: $_";
            my ($whole, $at) = ("$before$from$after", -1);
            print ++$count, "|$file|$file: $whole, $from -> $to\n";
            die "not there: $_" if index($text{$file}, $whole) < 0;
            while (($at = index $text{$file}, $whole, $at + 1) >= 0) {
                put($file, $at + length $before, $from, "(planted(<N>) ? ($to) : (<IT>))");
            }
        }
        for my $file (keys %edit) {
            my $end = length $text{$file};
            for my $at (sort { $b <=> $a } keys %{$edit{$file}}) {
                my ($was, $is) = @{$edit{$file}{$at}};
                die "$file: two bugs in one: $was\n" if $at + length $was > $end;
                $end = $at;
                substr($text{$file}, $at, length $was) = $is;
            }
            open my $out, ">", "$work/$file" or die;
            print $out "#include <stdbool.h>\nbool planted(int which);\n#line 1\n$text{$file}";
        }' "$work"
}

cat >"$work/planted.c" <<'END'
#include <stdbool.h>
#include <stdlib.h>
static int there;
__attribute__((constructor)) static void read_plant(void) {
    const char *text = getenv("TTT_PLANT");
    there = text ? atoi(text) : 0;
}
bool planted(int which) {
    return which == there;
}
END

family_of() {
    case $1 in
        */attention*) echo attention ;;
        */matmul* | */runs.h) echo matmul ;;
        */move* | */scatter.h) echo move ;;
        *) echo stream ;;
    esac
}

# What the bugs of a file are compiled into.
sources_of() {
    case $1 in
        *.c) basename "$1" ;;
        */attention_mma*) echo attention_mma_64.cu attention_mma_80.cu ;;
        */attention_parts.h) echo attention_plain.cu attention_mma_64.cu attention_mma_80.cu ;;
        */attention*) echo attention_plain.cu ;;
        */matmul* | */runs.h) echo matmul_few.cu ;;
        *) echo move.cu ;;
    esac
}

compile() { # source, output, options
    cc -std=c11 -D_GNU_SOURCE -O1 -g1 -fPIC -ffp-contract=off -fno-math-errno -fno-trapping-math \
        "${@:3}" -I "$work" -c -x c "$1" -o "$2"
}

objects() { # target, sources that are left out
    local leave=()
    for name in "${@:2}"; do leave+=(! -name "$name.o"); done
    find "$build/tests/CMakeFiles/$1.dir" -name '*.o' "${leave[@]}"
}

# The program that watches, with all bugs of kernels, and a plug-in, with all bugs.
build_all() { # sources
    compile "$work/planted.c" "$work/planted.o"
    for name in "$@"; do
        compile "$work/kernels/cuda/$name" "$work/plain_$name.o"
        [ "${name%.c}" = "$name" ] || continue
        compile "$work/kernels/cuda/$name" "$work/seen_$name.o" -fsanitize=thread \
            --param=tsan-instrument-func-entry-exit=0
    done
    # shellcheck disable=SC2046  # words
    cc -fopenmp -o "$work/watch" $(find "$work" -name 'seen_*.o') "$work/planted.o" \
        $(objects cuda_kernels_watch -) $(objects cuda_kernels_seen "$@") -lm
    # shellcheck disable=SC2046
    cc -shared -fopenmp -o "$work/bench.so" "$work"/plain_*.o "$work/planted.o" \
        $(objects ttt_cuda_bench "$@") -lm
}

limited() { # a command, in seconds of a processor
    { (ulimit -t 120 && "$@") >"$work/log" 2>&1; } 2>/dev/null # the shell's word of a signal
}

watched() { # family, which may have nothing to watch; false: noticed
    [ "$1" != stream ] || return 0
    limited "$work/watch" "$1" || { tail -1 "$work/log" | cut -c1-150 >"$work/by"; return 1; }
}

# Device, program and, of attention's, test, first what saw the last bug.
echo cuda matmul >"$work/tests_matmul"
printf '%s\n' 'cuda move' 'cuda+cudnn attention test_no_past' >"$work/tests_move"
printf '%s\n' 'cuda stream' 'cuda comm' >"$work/tests_stream"
sed -n 's/cmocka_unit_test(\(test_[a-z0-9_]*\))/\ncuda attention \1\n/gp' tests/kernels/test_device_attention.c |
    grep '^cuda' >"$work/tests_attention"

program_of() { # its words
    if [ "$1" != comm ]; then
        echo "$work/test_device_$1"
    elif [ -e "$work/libttt_mpi.so" ]; then
        echo timeout 60 mpirun --allow-run-as-root --oversubscribe -n 2 "$work/test_comm"
    else
        echo true
    fi
}

tested() { # family, seed; false: noticed
    local test device program name
    mapfile -t tests <"$work/tests_$1"
    for test in "${tests[@]}"; do
        read -r device program name <<<"$test"
        # shellcheck disable=SC2046,SC2086  # words; perhaps no name
        TTT_TEST_DEVICE=$device TTT_CUDA_PLUGIN=$work/bench.so TTT_CACHE=/dev/null TTT_BENCH_SEED=$2 \
            CMOCKA_TEST_ABORT=1 limited $(program_of "$program") $name && continue
        { grep -m 1 -E 'is .*not|differs|byte|aborts|rror|ssert' "$work/log" || echo "its end"; } |
            cut -c1-150 >"$work/by"
        printf '%s\n' "$test" "${tests[@]}" | awk '!seen[$0]++' >"$work/tests_$1"
        return 1
    done
}

# Barriers by what watches first, the rest by numbers, of the host by numbers alone.
unnoticed() { # family, bug
    case $2 in
        *.c:*) tested "$1" 0 ;;
        *without*) watched "$1" && tested "$1" 0 && tested "$1" 1 ;;
        *) tested "$1" 0 && watched "$1" ;;
    esac
}

plant | grep -E -- "$pattern" >"$work/bugs"
names=$(cut -d'|' -f2 "$work/bugs" | sort -u | while read -r file; do sources_of "$file" | tr ' ' '\n'; done | sort -u)
all=$(wc -l <"$work/bugs")
echo "plant.sh: compiling $all bugs" >&2
# shellcheck disable=SC2086  # words
build_all $names
export OMP_WAIT_POLICY=passive
cut -d'|' -f2 "$work/bugs" | while read -r file; do family_of "$file"; done | sort -u | while read -r family; do
    unnoticed "$family" none || { echo "without a bug: $(cat "$work/by")" >&2; exit 1; }
done
unseen=0 tried=0 began=$SECONDS
while IFS='|' read -r number file bug <&3; do
    export TTT_PLANT=$number
    if unnoticed "$(family_of "$file")" "$bug"; then
        echo "UNSEEN  $bug"
        unseen=1
    else
        echo "seen    $bug   by $(cat "$work/by")"
    fi
    tried=$((tried + 1))
    [ $((tried % 10)) != 0 ] ||
        echo "plant.sh: $tried of $all, $(((SECONDS - began) * (all - tried) / tried)) s to go" >&2
done 3<"$work/bugs"
exit $unseen
