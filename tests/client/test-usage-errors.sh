#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Wrong words on the command line: exit code 2 and a message that says what would be right.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/client/nbd.sh"

expect 2 'Usage: nbdswap COMMAND' "$nbdswap"
expect 2 'no command "atach"' "$nbdswap" atach
expect 2 'give one address' "$nbdswap" attach
expect 2 'give one address' "$nbdswap" attach nbd://a/x nbd://b/x
expect 2 'no address may be given' "$nbdswap" attach --all nbd://a/x
expect 2 'device=NBDN into the swaptab' "$nbdswap" attach --all --device nbd1
expect 2 'unknown option "-z"' "$nbdswap" attach -z nbd://a/x
expect 2 'needs an argument' "$nbdswap" attach nbd://a/x --priority
expect 2 '0 to 32767' "$nbdswap" attach --priority 40000 nbd://a/x
expect 2 'use auto, none, once or pages' "$nbdswap" attach --discard often nbd://a/x
expect 2 'number of seconds' "$nbdswap" attach --dead-link-timeout 0 nbd://a/x
expect 2 'more than 15 bytes' "$nbdswap" attach --label 1234567890123456 nbd://a/x
expect 2 'TLS' "$nbdswap" attach nbds://a/x
expect 2 'cannot swap to itself' "$nbdswap" attach "nbd+unix:///x?socket=/run/s"
expect 2 'name a device or an address' "$nbdswap" detach
expect 2 'nothing else may be named' "$nbdswap" detach --all nbd0
expect 2 'takes no operands' "$nbdswap" status nbd0
expect 2 'number of seconds' "$nbdswap" status --watch=never
expect 2 'give one address' "$nbdswap" check
expect 2 'from 1 to 1000000' "$nbdswap" check --pages 0 nbd://a/x
expect 2 'not an address' "$nbdswap" check a/x

[ "$(id -u)" != 0 ] || expect 2 'not an nbd device' "$nbdswap" detach --state-dir "$tmp" sda
for bad in a/b nbd://b '[::1' a:0 '' a:b:c; do
    expect 2 'server ".*give HOST' "$nbdswap" attach --server "$bad" nbd://a/x
done
expect 2 'with --no-watch or --via nbd-client there is none' "$nbdswap" attach --server b --no-watch nbd://a/x
expect 2 'cannot be the same for all' "$nbdswap" attach --server b --all
expect 2 'at most 8' "$nbdswap" attach --server={1,2,3,4,5,6,7,8,9} nbd://a/x
for bad in -1 x 5x ''; do
    expect 2 'give a number, or all' "$nbdswap" status --processes="$bad"
done
