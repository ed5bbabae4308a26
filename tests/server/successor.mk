# SPDX-License-Identifier: BSD-3-Clause
# The daemon over itself, killed at chosen instants.
check_PROGRAMS += tests/server/nbdswapd-dies tests/server/test-statefile
tests_server_nbdswapd_dies_SOURCES = server/nbdswapd.c tests/server/dying.c
tests_server_nbdswapd_dies_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_server_nbdswapd_dies_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=fdstore_put,--wrap=fdstore_remove,--wrap=statefile_write,--wrap=fdmsg_send,--wrap=spawn_worker,--wrap=spawn_begin,--wrap=backing_mark,--wrap=table_map
tests_server_nbdswapd_dies_LDADD = libserver.la

tests_server_test_statefile_SOURCES = tests/server/test-statefile.c
tests_server_test_statefile_CFLAGS = $(server_test_cflags)
tests_server_test_statefile_LDADD = $(server_test_libs)
TESTS += tests/server/test-statefile

successor_tests = \
	tests/server/test-daemon-and-worker-kills.sh \
	tests/server/test-daemon-dies-at-activation.sh \
	tests/server/test-daemon-short-of-memory.sh \
	tests/server/test-daemon-dies-at-each-instant.sh \
	tests/server/test-daemon-kills.sh \
	tests/server/test-daemon-kills-nbdkit.sh \
	tests/server/test-lost-at-take-over.sh \
	tests/server/test-lost-at-take-over-nbdkit.sh \
	tests/server/test-state-not-understood.sh \
	tests/server/test-upgrade.sh
TESTS += $(successor_tests)
LONG_TESTS += tests/server/test-daemon-and-worker-kills.sh tests/server/test-daemon-dies-at-each-instant.sh tests/server/test-daemon-kills.sh
EXTRA_DIST += $(successor_tests) tests/server/successor.sh

VM_TESTS += tests/vm/test-under-systemd.sh
