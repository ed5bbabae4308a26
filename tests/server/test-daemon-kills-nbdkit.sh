#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The same under nbdkit.
export ENGINE=nbdkit
exec bash "${srcdir:-.}/tests/server/test-daemon-kills.sh"
