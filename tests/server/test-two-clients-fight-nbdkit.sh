#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# test-two-clients-fight.sh on nbdkit, whatever the daemon takes by default.
export ENGINE=nbdkit
. "${srcdir:-.}/tests/server/test-two-clients-fight.sh"
