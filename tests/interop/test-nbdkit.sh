#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Cases of interoperability on nbdkit under nbdswapd, over TCP: what may differ from nbdkit alone, which has them all (test-plugin.sh).
. "${srcdir:-.}/tests/functions.sh" || exit 1
export ENGINE=nbdkit NBD_SERVER=nbdkit
. "$srcdir/tests/interop/daemon.sh"

kind=nbdkit
serve
over "$tcp"
not_run[gone-in-a-read]="nbdkit 1.32 aborts when a client goes with reads in flight (connections.c: raw_send_socket: sock >= 0)"
CASES=${CASES:-"nbdinfo-list nbd-client-list nbdcopy-otherwise fio-jobs random-load second-client-refused bad-names-refused
    a-client-that-never-reads $("$protocol" --list | grep -v '^never-reads$')"}
run_cases
done_serving
