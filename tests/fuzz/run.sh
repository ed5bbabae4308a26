#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# run.sh SECONDS DIRECTORY [TARGET...]: fuzzes each target for so long, two at a time, from the seeds in the source tree and those that
# were generated.  What the fuzzer finds to be new goes to DIRECTORY/TARGET, an input that breaks something to tests/fuzz/crashes of the build
# tree.  srcdir and builddir must be set and the programs built (make fuzz-programs).  FUZZ_FLAGS: more options for libFuzzer.
set -u
seconds=$1 found=$2
shift 2
here=$builddir/tests/fuzz
# What a target leaves behind that ends in the middle goes with it.
FUZZ_TMP=$(mktemp -d /dev/shm/nbdswap-fuzz.XXXXXX) || exit 1
export FUZZ_TMP
trap 'rm -rf "$FUZZ_TMP"' EXIT
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(make -s --no-print-directory -C "$builddir" print-fuzz-targets)

# fuzz TARGET: its log in DIRECTORY/TARGET.log
fuzz() {
    local name=$1 short=${1#fuzz-} from=() dict=()
    rm -rf "$here/seeds/$short"
    mkdir -p "$found/$name" "$here/crashes" "$here/seeds/$short"
    FUZZ_SEEDS=$here/seeds/$short timeout 60 "$here/$name" >"$found/$name.log" 2>&1 || return
    for d in "$srcdir/tests/fuzz/corpus/$short" "$here/seeds/$short"; do [ -d "$d" ] && from+=("$d"); done
    [ -e "$srcdir/tests/fuzz/dict/$short" ] && dict=("-dict=$srcdir/tests/fuzz/dict/$short")
    # shellcheck disable=SC2086
    UBSAN_OPTIONS=print_stacktrace=1 timeout $((seconds + 300)) "$here/$name" -max_total_time="$seconds" -timeout=60 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$here/crashes/$name-" "${dict[@]}" ${FUZZ_FLAGS:-} \
        "$found/$name" "${from[@]}" >"$found/$name.log" 2>&1 </dev/null
}

report() {
    local name=$1 rc=$2 log=$found/$1.log input
    if [ "$rc" -eq 0 ]; then
        sed -n "s/^Done \([0-9]*\) runs in \([0-9]*\) second.*/$name: \1 runs in \2 s, nothing found/p" "$log"
        return 0
    fi
    grep -aE '^(==[0-9]+==|SUMMARY|ALARM)|ERROR:|broken promise|runtime error|^ +#[0-9]+ .* in [a-z].*\.c:' "$log" | head -n 40
    input=$(sed -n 's/^.*Test unit written to //p' "$log" | tail -n 1)
    [ -n "$input" ] || tail -n 20 "$log"
    echo "$name: FOUND SOMETHING (exit code $rc, all of it in $log)"
    [ -z "$input" ] || echo "  to see it again:  $here/$name $input
  once mended, keep the input as tests/fuzz/corpus/${name#fuzz-}/found-WHAT"
    return 1
}

bad=0
while [ $# -gt 0 ]; do
    pids=() names=()
    while [ $# -gt 0 ] && [ ${#pids[@]} -lt 2 ]; do
        [ -x "$here/$1" ] || { echo "$here/$1 is not there: make fuzz-programs builds it" >&2; exit 1; }
        fuzz "$1" &
        pids+=($!) names+=("$1")
        shift
    done
    for i in "${!pids[@]}"; do
        wait "${pids[i]}"
        report "${names[i]}" $? || bad=1
    done
done
exit $bad
