# SPDX-License-Identifier: BSD-3-Clause
# Sessions in lines of text with a native worker that moves no pages (fake-engine.c); to be read after tests/server/server.sh.
# shellcheck shell=bash

export FAKE_DIR=$tmp/fake
mkdir "$FAKE_DIR"
export ENGINE=native
fake=$builddir/tests/server/fake-engine

# make_fake_conf [LINES...]: as make_conf, served over TCP by the fake engine, a copy of it that can be replaced: $program.  It takes as many
# connections as $connections says.
program=$tmp/nbdswap-engine
connections=70
make_fake_conf() {
    cp "$fake" "$program"
    server_lines="connections = $connections"
    make_conf "$@"
    sed -i "s|^listen = .*|listen = 127.0.0.1:0|; s|^native = .*|native = $program|" "$conf"
}

asked() { grep -qE -- "$1" "$FAKE_DIR/asked"; }
said() { grep -qE -- "$1" "$log"; }

# connect NAME: a connection, in conn[NAME].  tell NAME LINE; hear NAME [SECONDS]: its next line in $line, fails at the end or when none comes.
declare -A conn
connect() {
    local fd port
    port=$(field '.listen[0]')
    exec {fd}<>"/dev/tcp/127.0.0.1/${port##*:}"
    conn[$1]=$fd
}
tell() { printf '%s\n' "$2" >&"${conn[$1]}"; }
hear() { IFS= read -r -t "${2:-60}" -u "${conn[$1]}" line; }
hang_up() {
    local fd=${conn[$1]}
    exec {fd}>&-
}

# attach NAME EXPORT-WITH-PARAMETERS: a connection with a session; $generation is what it has.
attach() {
    connect "$1"
    tell "$1" "open $2"
    hear "$1" || fail "$1: no answer to open $2"
    [[ $line = ok\ * ]] || fail "$1: open $2: $line"
    generation=${line##* }
}

# who NAME: pid, count, socket and memory of the session.
who() {
    tell "$1" who
    hear "$1" || fail "the session of $1 is gone"
    read -r pid count socket memory <<<"$line"
}

# is_cut NAME: the connection ends without another line.
is_cut() {
    local rc=0
    hear "$1" || rc=$?
    [ "$rc" = 1 ] || fail "$1: not cut (${line:-nothing} $rc)"
}

kill_worker() {
    local before
    before=$(worker_pid)
    kill -"${1:-KILL}" "$before"
    wait_until 60 other_worker "$before"
}
other_worker() { worker_ready && [ "$(worker_pid)" != "$1" ]; }
none_waits() { [ "$(field '[.sessions[]|select(.state!="served")]|length')" = 0 ] && [ "$(field .worker.resumption.under_way)" != true ]; }
