#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# test-kill-under-writes.sh on nbdkit, whatever the daemon takes by default.
export ENGINE=nbdkit
. "${srcdir:-.}/tests/server/test-kill-under-writes.sh"
