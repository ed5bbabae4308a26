#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# test-lost-at-take-over.sh on nbdkit, whatever the daemon takes by default.
export ENGINE=nbdkit
. "${srcdir:-.}/tests/server/test-lost-at-take-over.sh"
