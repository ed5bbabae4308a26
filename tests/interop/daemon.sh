# SPDX-License-Identifier: BSD-3-Clause
# For runs of the cases on a server under nbdswapd (ENGINE); source it after tests/functions.sh.
# shellcheck shell=bash disable=SC2034,SC2154
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
. "$srcdir/tests/interop/run.sh"

x=ws1 y=ws2 server_log=$log
server_tmp=$tmp
serving_pid() { (tmp=$server_tmp && worker_pid); } # in a case $tmp is another

# serve: both exports, over TCP on a port that the kernel chose ($tcp), and over a Unix socket ($unix).
serve() {
    make_conf "[export $x]" 'size = 64M' "[export $y]" 'size = 16M'
    sed -i 's/^listen = .*/listen = 127.0.0.1:0 unix:'"${tmp//\//\\/}"'\/nbd.sock/' "$conf"
    start_server
    wait_until 120 export_is $x ready
    wait_until 120 export_is $y ready
    tcp=$(field '.listen[]' | grep '^127\.')
    unix=unix:$tmp/nbd.sock
}

# over ADDRESS: the cases go there from now on.
over() {
    address=$1
    case $1 in
    unix:*)
        socket=${1#unix:}
        u() { echo "nbd+unix:///$1${2:+%3Fclient%3D$2}?socket=$socket"; }
        ;;
    *) u() { echo "nbd://$address/$1${2:+%3Fclient%3D$2}"; } ;;
    esac
}

# done_serving: it stops in order, and nothing was lost or went wrong in all this.
done_serving() {
    [ "$(field '[.exports[].pages.lost]|add')" = 0 ] || fail "pages are lost: $(field '[.exports[].pages]')"
    [ "$(field .worker.restarts)" = 0 ] || fail "the worker was started again: $(field .worker)"
    stopped() { ctl stop; } # once the sessions have ended
    wait_until 60 stopped
    wait_server || fail "stop: exit status $?"
}
