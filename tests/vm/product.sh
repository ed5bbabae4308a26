# SPDX-License-Identifier: BSD-3-Clause
# Our own programs in guests; source it after vm.sh.
# shellcheck shell=bash
# shellcheck disable=SC2154 # builddir and tmp come from functions.sh

nbdswap=$builddir/client/nbdswap
nbdswapctl=$builddir/server/nbdswapctl
plugin=$builddir/.libs/nbdkit-swap-plugin.so
swapload=$builddir/tests/vm/swapload
nbdmodel=$builddir/tests/vm/nbdmodel

# swap_configure NAME [LINE...]: writes the server's configuration; the lines are the export sections.
swap_configure() {
    local name=$1
    shift
    {
        printf '%s\n' '[server]' 'listen = 0.0.0.0:10809' 'control = /run/nbdswapd.sock' "$(engine_lines)"
        printf '%s\n' "$@"
    } | vm_put "$name" /etc/nbdswapd.conf 600
}

# swap_status NAME [--json]
swap_status() {
    vm_run "$1" 60 "$nbdswapctl status --socket /run/nbdswapd.sock ${2:-}"
}

# swap_count NAME EXPORT COUNTER: a counter of the status.
swap_count() {
    swap_status "$1" --json | jq -er --arg name "$2" --arg counter "$3" '.exports[] | select(.name == $name) | .counters[$counter]' ||
        fail "guest $1: export $2 has no counter $3"
}

# swap_count_reaches NAME EXPORT COUNTER N: for wait_until.
swap_count_reaches() {
    local n
    n=$(swap_count "$1" "$2" "$3") && ((n >= $4))
}

# Every export is ready, or one has failed, or the server has ended.
_swap_settled() {
    kill -0 "$_swap_server" 2>/dev/null || return 0
    swap_status "$1" --json >"$tmp/status" && jq -e '[.exports[].state] |
        any(. == "failed") or (length > 0 and all(. == "ready"))' "$tmp/status" && jq -e '.worker.state == "ready"' "$tmp/status"
}

# swap_serve NAME: starts nbdswapd with the configuration and waits until every export is ready.
swap_serve() {
    vm_spawn _swap_server "$1" "$tmp/nbdswapd.log" 1200 "$builddir/server/nbdswapd --no-keeper --config /etc/nbdswapd.conf"
    wait_until 400 _swap_settled "$1"
    kill -0 "$_swap_server" 2>/dev/null || fail "nbdswapd ended"
    jq -e '[.exports[].state] | all(. == "ready")' "$tmp/status" >"$tmp/out" ||
        fail "not ready: $(jq -c '.exports[] | select(.state != "ready") | {name, state, error}' "$tmp/status")"
    is_engine "$(vm_run "$1" 60 "readlink /proc/$(jq .worker.pid "$tmp/status")/exe")"
}

# swap_serve_end: SIGTERM, and the daemon must end in order.
swap_serve_end() {
    local rc=0
    kill -TERM "$_swap_server"
    wait "$_swap_server" || rc=$?
    [ "$rc" = 0 ] || fail "nbdswapd ended with $rc: $(tail -n 20 "$tmp/nbdswapd.log")"
}

# What a client has that attach could leave behind.
_swap_traces() {
    vm_run "$1" 120 "
        tail -n +2 /proc/swaps
        ls /sys/block/nbd*/pid 2>/dev/null
        find /run /dev/shm ! -type d | sort
        ps -e -o ppid=,comm= | awk '\$1 != 2 && \$2 !~ /^(ps|awk|bash|kthreadd|vm-agent)\$/ { print \"process \" \$2 }' | sort"
}

# swap_attach NAME URI: with the reserve of memory that attach recommends.
swap_attach() {
    vm_run "$1" 120 'sysctl -qw vm.min_free_kbytes=16384'
    _swap_before=$(_swap_traces "$1")
    vm_run "$1" 120 "$nbdswap attach $2" 2>"$tmp/attach.log" || fail "guest $1: $2 does not attach"
    must_match "$(vm_run "$1" 120 'cat /proc/swaps')" '^/dev/nbd[0-9]+ ' "/proc/swaps after attach"
}

# swap_work NAME MIB PROCESSES ROUNDS SECONDS: the memory test, which must have swapped out and in again.
swap_work() {
    vm_run "$1" "$5" "$swapload --size $2 --processes $3 --rounds $4" >"$tmp/swapload" ||
        fail "guest $1: $(tail -n 5 "$tmp/swapload")"
    tail -n 1 "$tmp/swapload"
    must_match "$(tail -n 1 "$tmp/swapload")" '^swapload: OK, .* pswpout=[0-9]{4,} pswpin=[0-9]{4,} ' "the memory test"
}

# swap_detach NAME: and nothing is left of what was attached.
swap_detach() {
    local after
    vm_run "$1" 120 "$nbdswap detach --all" >"$tmp/detach" 2>&1 || fail "guest $1: detach: $(cat "$tmp/detach")"
    after=$(_swap_traces "$1")
    [ "$after" = "$_swap_before" ] ||
        fail "guest $1: detach left something behind: $(diff <(echo "$_swap_before") <(echo "$after"))"
}

# vm_model NAME URI PAGES COMMAND...: nbdmodel in the guest, with a model for each URI. Each count of its last line becomes a
# variable (right, wrong, lost, write_errors, ...). Never may a page be wrong.
vm_model() {
    local name=$1 uri=$2 pages=$3 rc=0 word
    shift 3
    vm_run "$name" 120 "$nbdmodel $uri /run/model-${uri##*/} $pages $*" >"$tmp/model" || rc=$?
    [ "$rc" = 0 ] || fail "$uri, $*: $(cat "$tmp/model")"
    for word in $(tail -n 1 "$tmp/model"); do
        case $word in
        *=*) printf -v "${word%%=*}" %s "${word#*=}" ;;
        esac
    done
    cat "$tmp/model"
}
