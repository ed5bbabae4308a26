# SPDX-License-Identifier: BSD-3-Clause
# Runs the cases on a server; source it after tests/functions.sh, start the server, and call run_cases.  CASES in the environment names
# those to be run, if not all.
# shellcheck shell=bash disable=SC2154

for program in nbdinfo nbdcopy nbddump nbdsh nbdfuse qemu-img qemu-io fio nbdkit jq; do requires command -v $program; done
requires sh -c 'fio --enghelp | grep -w nbd'
requires nbdkit --dump-plugin nbd
requires nbd-client -V
protocol=$builddir/tests/interop/protocol
interop=$tmp/interop
mkdir "$interop"
head -c 67108864 /dev/urandom >"$interop/data"
head -c 16777216 /dev/urandom >"$interop/small"
truncate -s 67108864 "$interop/sparse"
for at in 0 1 17 256 1000 4095 8000 8001 8002 16383; do
    dd if="$interop/data" of="$interop/sparse" bs=4k count=1 skip=$at seek=$at conv=notrunc status=none
done
dd if="$interop/data" of="$interop/sparse" bs=1M count=5 skip=40 seek=40 conv=notrunc status=none

. "$srcdir/tests/interop/cases.sh"

# not_run[CASE]=REASON: a runner's exceptions, printed with every run.
declare -A not_run

# one_case NAME: in a shell of its own, with its own $tmp, and all that it registered undone.
one_case() {
    # shellcheck disable=SC2030
    (
        _cleanup_cmds=()
        tmp=$interop/$1
        mkdir "$tmp"
        trap _on_exit EXIT
        if declare -F "case_${1//-/_}" >"$tmp/function"; then
            "case_${1//-/_}"
        else
            t "$protocol" "$address" "$x" "$1" </dev/null
        fi
    )
}

run_cases() {
    local name rc server failed=() began all
    all="$(declare -F | sed -n 's/^declare -f case_//p' | tr _ -) $("$protocol" --list | grep -v '^never-reads$')"
    server=$(serving_pid)
    for name in ${CASES:-$all}; do
        if [ -n "${not_run[$name]:-}" ]; then
            echo "$name: not run: ${not_run[$name]}"
            continue
        fi
        began=$SECONDS rc=0
        # (in the background, for in a condition "set -e" would not count)
        one_case "$name" >"$interop/out" 2>&1 &
        wait $! || rc=$?
        case $rc in
        0) echo "$name: ok, $((SECONDS - began)) s$(sed "s,^, - ," "$interop/out" | head -c 200)" ;;
        77) echo "$name: not run: $(sed -n 's/^SKIP: //p' "$interop/out")" ;;
        *)
            failed+=("$name")
            echo "$name: FAILED ($rc)"
            sed 's/^/    /' "$interop/out" | tail -n 30
            ;;
        esac
        if ! kill -0 "$server" 2>/dev/null || [ "$(serving_pid)" != "$server" ]; then
            failed+=("$name-killed-the-server")
            echo "$name: the server's process $server has ended"
            server=$(serving_pid) || fail "failed: ${failed[*]}"
        fi
    done
    ((${#failed[@]} == 0)) || fail "${#failed[@]} cases: ${failed[*]}"
}
