#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# test-reach-nbdswapd.sh on nbdkit, whatever the daemon takes by default.
export ENGINE=nbdkit
. "${srcdir:-.}/tests/client/test-reach-nbdswapd.sh"
