# SPDX-License-Identifier: BSD-3-Clause
check_LTLIBRARIES += tests/store/libsupport.la
tests_store_libsupport_la_SOURCES = \
	tests/store/byhand.c tests/store/byhand.h \
	tests/countmalloc.h \
	tests/setpage.h \
	tests/store/support.c tests/store/support.h
tests_store_libsupport_la_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_store_libsupport_la_LIBADD = libstore.la $(CMOCKA_LIBS)

STORE_UNIT_TESTS = \
	tests/store/test-backend \
	tests/store/test-cifsfiles \
	tests/store/test-crash-instants \
	tests/store/test-errclass \
	tests/store/test-held \
	tests/store/test-host-places \
	tests/store/test-keep \
	tests/store/test-lock \
	tests/store/test-noswap \
	tests/store/test-marks \
	tests/store/test-notices \
	tests/store/test-open \
	tests/store/test-pool \
	tests/store/test-power-cut \
	tests/store/test-race \
	tests/store/test-records \
	tests/store/test-adopt \
	tests/store/test-reopen \
	tests/store/test-report \
	tests/store/test-rw \
	tests/store/test-rw-errors \
	tests/store/test-scrub \
	tests/store/test-seal \
	tests/store/test-sealed-file \
	tests/store/test-sealkey \
	tests/store/test-session-end \
	tests/store/test-settle \
	tests/store/test-table \
	tests/store/test-take-over \
	tests/store/test-trailer \
	tests/store/test-waiters
if !SANITIZERS
# It puts its own malloc in front of the C library's, as sanitizers do.
STORE_UNIT_TESTS += tests/store/test-no-allocation tests/store/test-seal-no-allocation
endif
STORE_TEST_LDADD = tests/store/libsupport.la libstore.la $(CMOCKA_LIBS)
tests_store_test_backend_LDADD = $(STORE_TEST_LDADD)
tests_store_test_cifsfiles_LDADD = $(STORE_TEST_LDADD)
tests_store_test_errclass_LDADD = $(STORE_TEST_LDADD)
tests_store_test_held_LDADD = $(STORE_TEST_LDADD)
tests_store_test_host_places_LDADD = $(STORE_TEST_LDADD)
tests_store_test_host_places_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=backend_find
tests_store_test_keep_LDADD = $(STORE_TEST_LDADD)
tests_store_test_lock_LDADD = $(STORE_TEST_LDADD)
tests_store_test_noswap_LDADD = $(STORE_TEST_LDADD)
tests_store_test_marks_LDADD = $(STORE_TEST_LDADD)
tests_store_test_notices_LDADD = $(STORE_TEST_LDADD)
tests_store_test_session_end_LDADD = $(STORE_TEST_LDADD)
tests_store_test_session_end_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pthread_mutex_lock
tests_store_test_settle_LDADD = $(STORE_TEST_LDADD)
tests_store_test_settle_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pread
tests_store_test_open_LDADD = $(STORE_TEST_LDADD)
tests_store_test_rw_LDADD = $(STORE_TEST_LDADD)
tests_store_test_rw_errors_LDADD = $(STORE_TEST_LDADD)
tests_store_test_race_LDADD = $(STORE_TEST_LDADD) -lpthread
tests_store_test_no_allocation_LDADD = $(STORE_TEST_LDADD) -ldl
tests_store_test_crash_instants_LDADD = $(STORE_TEST_LDADD)
tests_store_test_crash_instants_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pwrite,--wrap=pwritev,--wrap=fsync
tests_store_test_power_cut_SOURCES = tests/store/test-power-cut.c tests/store/cutdisk.c tests/store/cutdisk.h
tests_store_test_power_cut_LDADD = $(STORE_TEST_LDADD)
tests_store_test_pool_LDADD = $(STORE_TEST_LDADD)
tests_store_test_adopt_LDADD = $(STORE_TEST_LDADD)
tests_store_test_adopt_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=backend_barrier,--wrap=fstat
tests_store_test_reopen_LDADD = $(STORE_TEST_LDADD)
tests_store_test_records_LDADD = $(STORE_TEST_LDADD)
tests_store_test_report_LDADD = $(STORE_TEST_LDADD)
tests_store_test_scrub_LDADD = $(STORE_TEST_LDADD) -lpthread
tests_store_test_scrub_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pread
tests_store_test_seal_LDADD = $(STORE_TEST_LDADD) $(CRYPTO_LIBS) -lpthread
tests_store_test_sealed_file_LDADD = $(STORE_TEST_LDADD)
tests_store_test_sealkey_LDADD = $(STORE_TEST_LDADD) $(CRYPTO_LIBS)
tests_store_test_seal_no_allocation_LDADD = $(STORE_TEST_LDADD) -lpthread
tests_store_test_take_over_LDADD = $(STORE_TEST_LDADD)
tests_store_test_table_LDADD = $(STORE_TEST_LDADD)
tests_store_test_waiters_LDADD = $(STORE_TEST_LDADD)
tests_store_test_waiters_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=table_page
tests_store_test_trailer_LDADD = $(STORE_TEST_LDADD)

tests_store_storetool_LDADD = libstore.la

STORE_SHELL_TESTS = \
	tests/store/test-activate-basics.sh \
	tests/store/test-activate-interrupted.sh \
	tests/store/test-activate-places.sh \
	tests/store/test-activate-race.sh \
	tests/store/test-worker-keeps-the-file.sh \
	tests/store/test-activate-refusals.sh \
	tests/store/test-io-shape.sh

check_PROGRAMS += $(STORE_UNIT_TESTS) tests/store/storetool
TESTS += $(STORE_UNIT_TESTS) $(STORE_SHELL_TESTS)
EXTRA_DIST += tests/store/loopfs.sh $(STORE_SHELL_TESTS)
