# SPDX-License-Identifier: BSD-3-Clause
# Tests over the store's variant with faults.  The shared support is compiled in rather than linked: its library brings the normal store.
FAULT_TESTS = \
	tests/faults/test-barrier \
	tests/faults/test-begin-fails \
	tests/faults/test-fault-layer \
	tests/faults/test-model
if !SANITIZERS
# A process for each of thousands of faults, which takes the better part of an hour under a sanitizer.
FAULT_TESTS += tests/faults/test-sweep
endif
FAULT_TEST_SUPPORT = tests/store/support.c tests/store/support.h
FAULT_TEST_CPPFLAGS = $(AM_CPPFLAGS) -DNBDSWAP_FAULTS
FAULT_TEST_LDADD = libstore-fault.la $(CMOCKA_LIBS)
tests_faults_test_barrier_SOURCES = tests/faults/test-barrier.c $(FAULT_TEST_SUPPORT)
tests_faults_test_barrier_CPPFLAGS = $(FAULT_TEST_CPPFLAGS)
tests_faults_test_barrier_LDADD = $(FAULT_TEST_LDADD)
tests_faults_test_begin_fails_SOURCES = tests/faults/test-begin-fails.c $(FAULT_TEST_SUPPORT)
tests_faults_test_begin_fails_CPPFLAGS = $(FAULT_TEST_CPPFLAGS)
tests_faults_test_begin_fails_LDADD = $(FAULT_TEST_LDADD)
tests_faults_test_fault_layer_SOURCES = tests/faults/test-fault-layer.c $(FAULT_TEST_SUPPORT)
tests_faults_test_fault_layer_CPPFLAGS = $(FAULT_TEST_CPPFLAGS)
tests_faults_test_fault_layer_LDADD = $(FAULT_TEST_LDADD)
tests_faults_test_sweep_SOURCES = tests/faults/test-sweep.c tests/faults/life.c tests/faults/life.h $(FAULT_TEST_SUPPORT)
tests_faults_test_sweep_CPPFLAGS = $(FAULT_TEST_CPPFLAGS)
tests_faults_test_sweep_LDADD = $(FAULT_TEST_LDADD)
tests_faults_test_model_SOURCES = tests/faults/test-model.c tests/faults/model.c tests/faults/model.h \
	tests/faults/server.c tests/faults/server.h $(FAULT_TEST_SUPPORT)
tests_faults_test_model_CPPFLAGS = $(FAULT_TEST_CPPFLAGS)
tests_faults_test_model_LDADD = $(FAULT_TEST_LDADD) -lpthread

FAULT_SHELL_TESTS = \
	tests/faults/test-calls-go-through-the-layer.sh \
	tests/faults/test-lying-storage.sh \
	tests/faults/test-lying-storage-native.sh \
	tests/faults/test-release-has-no-faults.sh

check_PROGRAMS += $(FAULT_TESTS)
TESTS += $(FAULT_TESTS) $(FAULT_SHELL_TESTS)
EXTRA_DIST += $(FAULT_SHELL_TESTS)
