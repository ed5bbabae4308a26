# SPDX-License-Identifier: BSD-3-Clause
# For tests of the keeper around tests/server/keeper-child; to be read after tests/functions.sh.
# shellcheck shell=bash disable=SC2154

keeper=
# start_keeper SOON-MS PAUSE-MS PAUSE-MAX-MS ARG...: with a keeper-child of its own arguments behind the directory.
start_keeper() {
    local soon=$1 pause=$2 most=$3
    shift 3
    rm -f "$tmp/starts" "$tmp/out" "$tmp/cmd" "$tmp"/signal-*
    mkfifo "$tmp/cmd"
    env -u NOTIFY_SOCKET "$builddir/tests/server/keeper-run" "$soon" "$pause" "$most" "$builddir/tests/server/keeper-child" "$tmp" "$@" 2>>"$tmp/log" &
    keeper=$!
    cleanup_fn end_keeper
    cleanup_fn show_keeper_log
}

show_keeper_log() { tail -n 40 "$tmp/log" | sed 's/^/log: /'; }

# Both, also where the one is not to end the other any more.
end_keeper() {
    local pid
    pid=$(child 2>/dev/null) || pid=
    kill -KILL "$keeper" 2>/dev/null
    wait "$keeper" 2>/dev/null
    [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null
    true
}

# child: the pid of the last that was started.  started N: so many have been.
child() { tail -n 1 "$tmp/starts"; }
starts() { if [ -e "$tmp/starts" ]; then wc -l <"$tmp/starts"; else echo 0; fi; }
started() { [ "$(starts)" -ge "$1" ]; }
gone() { ! kill -0 "$1" 2>/dev/null; }

# tell LINE: to the child, and waits until it has done it.
oks() { grep -c '^ok$' "$tmp/out" 2>/dev/null || true; }
more_oks() { [ "$(oks)" -gt "$1" ]; }
tell() {
    local before
    before=$(oks)
    printf '%s\n' "$1" >"$tmp/cmd"
    wait_until 30 more_oks "${before:-0}"
}

# kill_child: and waits for the next.
kill_child() {
    local n
    n=$(starts)
    kill -KILL "$(child)"
    wait_until 30 started $((n + 1))
}

# handed: what a child was handed, NAME=CONTENT one a line.
handed() {
    rm -f "$tmp/out"
    tell list
    grep -v '^ok$' "$tmp/out" || true
}

# is_handed TEXT WHAT
is_handed() {
    local got
    got=$(handed)
    [ "$got" = "$1" ] || fail "$2: handed on was
$got
and not
$1"
}

# ended_with CODE: the keeper, and nothing of it is left.
ended_with() {
    local rc=0 pid
    wait_until 30 gone "$keeper"
    wait "$keeper" || rc=$?
    [ "$rc" = "$1" ] || fail "the keeper's exit code is $rc, not $1"
    pid=$(child)
    gone "$pid" || fail "the keeper left its child behind"
}

# nothing_wrong: in the eyes of any child.
nothing_wrong() {
    [ ! -e "$tmp/two" ] || fail "$(cat "$tmp/two")"
    [ ! -e "$tmp/wrong" ] || fail "$(head "$tmp/wrong")"
}
