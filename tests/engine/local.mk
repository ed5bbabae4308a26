# SPDX-License-Identifier: BSD-3-Clause
ENGINE_UNIT_TESTS = \
	tests/engine/test-confine-ring
tests_engine_test_confine_ring_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(URING_CFLAGS)
tests_engine_test_confine_ring_LDADD = libengine.la $(CMOCKA_LIBS) $(URING_LIBS) -lpthread
check_PROGRAMS += $(ENGINE_UNIT_TESTS)
TESTS += $(ENGINE_UNIT_TESTS)
