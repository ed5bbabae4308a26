#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The daemon and its worker are killed at random instants, each alone and both at once: whoever comes next finds out what there is, sessions
# go on without a new connection, and every page is right.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/successor.sh"
requires_resume
rounds=24
[ -z "${NBDSWAP_LONG:-}" ] || rounds=600

names=(plain checked)
sealed=()
if ! could_swap; then
    names+=(sealed keyed)
    sealed=('[export sealed]' 'seal = aes-256-gcm' '[export keyed]' 'seal = aes-256-gcm' "key-file = $tmp/key")
    (umask 077 && head -c 32 /dev/urandom >"$tmp/key")
fi
resume_conf '[export plain]' 'check = none' '[export checked]' "${sealed[@]}"
start_server
for name in "${names[@]}"; do
    wait_until 60 export_is "$name" ready
    start_check "$name" --connections 2 --depth 32 --pages 1024
done
all() { [ "$(field '.sessions|length')" = $((2 * ${#names[@]})) ]; }
wait_until 60 all

workers=0
slay_worker() {
    local pid
    for pid in $(ours nbdswap-engine); do
        kill -KILL "$pid" 2>/dev/null && workers=$((workers + 1))
    done
}
for ((n = 1; n <= rounds; n++)); do
    rest $((RANDOM % 500))
    case $((RANDOM % 5)) in
    0) slay_worker ;;
    1) kill_daemon ;;
    2)
        slay_worker
        rest $((RANDOM % 20))
        kill_daemon
        ;;
    3)
        kill_daemon
        rest $((RANDOM % 40))
        slay_worker
        ;;
    4)
        the_daemon
        kill -STOP "$daemon" 2>/dev/null || true
        slay_worker
        kill_daemon
        ;;
    esac
    one_of_each
    check_runs
done
wait_until 60 settled
check_runs
all || fail "sessions: $(field .sessions)"
for name in "${names[@]}"; do
    end_check "$name"
    [ "$(value operations)" -ge 500 ] || fail "$name: $said"
done
if grep -E ' is cut: |LOST|EVERY PAGE' "$log"; then fail "something was lost"; fi
echo "$daemon_kills daemons and $workers workers killed"
