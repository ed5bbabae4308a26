#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every case of interoperability on the native engine under nbdswapd, over TCP; those of the protocol over a Unix socket too.
. "${srcdir:-.}/tests/functions.sh" || exit 1
export ENGINE=native
. "$srcdir/tests/interop/daemon.sh"

kind=engine
serve
over "$tcp"
run_cases
over "$unix"
CASES=${CASES:-"$("$protocol" --list | grep -v '^never-reads$') nbdcopy random-load second-client-refused a-client-that-never-reads"}
run_cases
done_serving
