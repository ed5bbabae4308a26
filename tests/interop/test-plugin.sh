#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every case of interoperability on the plugin in an nbdkit of its own, over a Unix socket.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
. "$srcdir/tests/interop/run.sh"

kind=plugin x=ws1 y=ws2 address=unix:$sock server_log=$log
export NBD_SERVER=nbdkit
mkdir "$disk/d"
start_nbdkit file="$disk/d/$x" size=64M
stop_nbdkit
start_nbdkit file="$disk/d/$y" size=16M
stop_nbdkit
u() { echo "nbd+unix:///$1${2:+%3Fclient%3D$2}?socket=$sock"; }
serving_pid() { echo "$pid"; }
rm -f "$sock" "$tmp/pid"
run_nbdkit "allow=$allow" dir="$disk/d" </dev/null >>"$log" 2>&1 &
job=$!
cleanup_fn end_process "$job"
wait_until 60 "$nbdcmd" "$(u "")" list
pid=$(cat "$tmp/pid")

not_run[gone-in-a-read]="nbdkit 1.32 aborts when a client goes with reads in flight (connections.c: raw_send_socket: sock >= 0)"
run_cases
stop_nbdkit
