# SPDX-License-Identifier: BSD-3-Clause
# For tests of daemons that die and of those that take over: a nbdswapd under its keeper on a TCP port of its own, checking clients, and what
# there may be only one of.  ENGINE says which worker.  To be read after tests/functions.sh.
# shellcheck shell=bash disable=SC2034,SC2154
engine_wanted=${ENGINE:-native}
. "$srcdir/tests/engine/resume.sh"
export ENGINE=$engine_wanted
unset NOTIFY_SOCKET
daemon_options=()
export NBDSWAP_TEST_MARK=$tmp # by which all that was started from here is known

# ours NAME: the pids of this test's processes of that name.
ours() {
    local dir comm
    for dir in /proc/[0-9]*; do
        comm=
        { read -r comm <"$dir/comm"; } 2>/dev/null || continue
        [ "$comm" = "$1" ] || continue
        { tr '\0' '\n' <"$dir/environ" | grep -qx "NBDSWAP_TEST_MARK=$tmp"; } 2>/dev/null || continue
        grep -qs '^State:.*zombie' "$dir/status" || echo "${dir#/proc/}"
    done
}

end_ours() {
    local name pid
    for name in nbdswapd nbdswapd-dies nbdswap-engine nbdkit; do
        for pid in $(ours "$name"); do kill -KILL "$pid" 2>/dev/null; done
    done
}
cleanup_fn end_ours

# the_daemon: sets daemon, to the keeper's child.
the_daemon() {
    first_child
    daemon=$child
}

# kill_daemon: and waits until another process is there.
daemon_kills=0
kill_daemon() {
    local old
    the_daemon
    old=$daemon
    kill -s "${1:-KILL}" "$old" 2>/dev/null || return 0
    daemon_kills=$((daemon_kills + 1))
    while [ "$daemon" = "$old" ]; do
        rest 2
        the_daemon
    done
}

# one_of_each: never two daemons, never two workers.  (Between the death of one and the start of the next there may be none.)
one_of_each() {
    local daemons workers name=nbdswap-engine program
    [ "$ENGINE" = native ] || name=nbdkit
    program=$(basename "$nbdswapd")
    daemons=$(ours "$program" | wc -l)
    workers=$(ours "$name" | wc -l)
    ((daemons <= 2)) || fail "$daemons processes of nbdswapd, and the keeper and one daemon should be: $(ours "$program")"
    ((workers <= 1)) || fail "$workers workers: $(ours "$name")"
}

settled() { # all is taken over, and nobody waits
    [ "$(field '[.worker.state, (.worker.unheard // false), .worker.resumption.under_way // false] + [.exports[].state | select(. != "deactivated")] | unique | map(tostring) | join(" ")' 2>/dev/null)" = "false ready" ]
}
