# SPDX-License-Identifier: BSD-3-Clause
# For tests of sessions that outlive their worker: a nbdswapd with the native engine on a TCP port of its own, checking clients, kills.
# To be read after tests/functions.sh.
# shellcheck shell=bash disable=SC2034,SC2154
export ENGINE=native
. "$srcdir/tests/server/server.sh"
requires jq --version

nbdcheck=$builddir/tests/engine/nbdcheck
memory=

# requires_resume: skip unless the engine can run here, over files.
requires_resume() {
    requires_engine
    requires_backing
}

# resume_conf [EXPORT LINES...]: as make_conf, over TCP.
resume_conf() {
    make_conf "$@"
    sed -i 's/^listen = .*/listen = 127.0.0.1:0/' "$conf"
}

# memory_dir: a directory on tmpfs that is removed at the end.
memory_dir() {
    memory=$(mktemp -d /dev/shm/nbdswap-test.XXXXXX)
    cleanup_fn rm -rf "$memory"
}

port() { field '.listen[0]' | sed -n 's/^127\.0\.0\.1:\([0-9]*\)$/\1/p'; }

# start_check EXPORT ARG...: a checking client; its output is in $tmp/check.EXPORT, its pid in check_pid[EXPORT].
declare -A check_pid
start_check() {
    local name=$1
    shift
    "$nbdcheck" --port "$(port)" --export "$name" "$@" >"$tmp/check.$name" 2>&1 &
    check_pid[$name]=$!
    cleanup_fn end_process "$!"
}

# check_runs: none of the clients has ended.
check_runs() {
    local name
    for name in "${!check_pid[@]}"; do
        kill -0 "${check_pid[$name]}" 2>/dev/null || fail "$name: $(cat "$tmp/check.$name")"
    done
}

# end_check EXPORT: it comes to its end, and all was right; its words are in $said.
end_check() {
    local rc=0
    kill -TERM "${check_pid[$1]}"
    wait "${check_pid[$1]}" || rc=$?
    said=$(cat "$tmp/check.$1")
    [ "$rc" = 0 ] || fail "$1: $said"
    unset "check_pid[$1]"
    printf '%s: %s\n' "$1" "$(tail -n 1 <<<"$said")"
}

# value KEY: of KEY=VALUE in $said.
value() { sed -n "s/.* $1=\([0-9]*\).*/\1/p" <<<"$said" | tail -n 1; }

# rest MS: without a process of its own.
exec {rest_fd}<> <(:)
rest() { read -rt "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))" -u "$rest_fd" || true; }

# first_child [COMM]: a child of the process that the test started, of this name, in $child; waits for one.
first_child() {
    local comm end=$((SECONDS + 60))
    while ((SECONDS < end)); do
        # shellcheck disable=SC2013
        for child in $(<"/proc/$server_pid/task/$server_pid/children"); do
            comm=
            { read -r comm <"/proc/$child/comm"; } 2>/dev/null || continue
            [ -n "${1-}" ] && [ "$comm" != "$1" ] || return 0
        done
        rest 2
    done
    fail "no ${1-process} was started in 60 s"
}

# find_worker: the daemon's engine process, in $worker.
find_worker() {
    first_child nbdswap-engine
    worker=$child
}

# kill_worker [SIGNAL]: and waits until another is there; kills counts them.
kills=0
kill_worker() {
    local old
    find_worker
    old=$worker
    kill -s "${1:-KILL}" "$old" 2>/dev/null || return 0
    kills=$((kills + 1))
    while [ "$worker" = "$old" ]; do
        rest 2
        find_worker
    done
}
