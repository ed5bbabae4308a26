#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdswap check does not write to what this very machine has attached, by whatever address and whoever runs it: to the server it is another client.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/client/nbd.sh"
requires_worker
requires_backing
requires jq --version
requires qemu-io --version

make_conf '[export a]'
start_server
wait_until 60 export_is a ready
hold_open a "$(cat /proc/sys/kernel/random/boot_id)" # as attach does
expect 6 'refuses it to this machine: another client uses it' "$nbdswap" check --force --pages 10 --state-dir "$tmp/none" "$(uri a)"
let_go "$(cat /proc/sys/kernel/random/boot_id)"
wait_until 60 client_is a null
expect 0 'every page came back' "$nbdswap" check --pages 10 --state-dir "$tmp/none" "$(uri a)"
wait_until 60 client_is a null
