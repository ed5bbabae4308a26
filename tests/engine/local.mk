# SPDX-License-Identifier: BSD-3-Clause
ENGINE_UNIT_TESTS = \
	tests/engine/test-confine-ring
tests_engine_test_confine_ring_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(URING_CFLAGS)
tests_engine_test_confine_ring_LDADD = libengine.la $(CMOCKA_LIBS) $(URING_LIBS) -lpthread
check_PROGRAMS += $(ENGINE_UNIT_TESTS)
TESTS += $(ENGINE_UNIT_TESTS)
ENGINE_LOBBY_TESTS = \
	tests/engine/test-negotiate \
	tests/engine/test-negotiate-malformed
check_PROGRAMS += $(ENGINE_LOBBY_TESTS)
TESTS += $(ENGINE_LOBBY_TESTS)

engine_converse = tests/engine/converse.c tests/engine/converse.h tests/engine/talk.c tests/engine/talk.h
tests_engine_test_negotiate_SOURCES = tests/engine/test-negotiate.c $(engine_converse)
tests_engine_test_negotiate_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_negotiate_LDADD = libengine.la libcommon.la $(CMOCKA_LIBS)
tests_engine_test_negotiate_malformed_SOURCES = tests/engine/test-negotiate-malformed.c $(engine_converse)
tests_engine_test_negotiate_malformed_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_negotiate_malformed_LDADD = libengine.la libcommon.la $(CMOCKA_LIBS)
ENGINE_RESUME_TESTS = \
	tests/engine/test-resume-streams \
	tests/engine/test-tcp-account
check_PROGRAMS += $(ENGINE_RESUME_TESTS)
TESTS += $(ENGINE_RESUME_TESTS)
LONG_TESTS += tests/engine/test-resume-streams
tests_engine_test_resume_streams_SOURCES = tests/engine/test-resume-streams.c tests/engine/tcppair.c tests/engine/tcppair.h
tests_engine_test_resume_streams_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(URING_CFLAGS)
tests_engine_test_resume_streams_LDADD = libengine.la $(CMOCKA_LIBS) $(URING_LIBS)
tests_engine_test_tcp_account_SOURCES = tests/engine/test-tcp-account.c tests/engine/tcppair.c tests/engine/tcppair.h
tests_engine_test_tcp_account_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_tcp_account_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ioctl
tests_engine_test_tcp_account_LDADD = libengine.la $(CMOCKA_LIBS)

# The checking client, its model, and a server that lies to it.
check_PROGRAMS += tests/engine/nbdcheck tests/engine/test-pagemodel
TESTS += tests/engine/test-pagemodel
tests_engine_nbdcheck_SOURCES = tests/engine/nbdcheck.c tests/engine/checkconn.c tests/engine/checkconn.h \
	tests/engine/pagemodel.c tests/engine/pagemodel.h
tests_engine_nbdcheck_CFLAGS = $(AM_CFLAGS) -O2
tests_engine_test_pagemodel_SOURCES = tests/engine/test-pagemodel.c tests/engine/pagemodel.c tests/engine/pagemodel.h
tests_engine_test_pagemodel_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_pagemodel_LDADD = $(CMOCKA_LIBS)

ENGINE_MOVER_TESTS = \
	tests/engine/test-mover-kills
check_PROGRAMS += $(ENGINE_MOVER_TESTS)
TESTS += $(ENGINE_MOVER_TESTS)
tests_engine_test_mover_kills_SOURCES = tests/engine/test-mover-kills.c tests/engine/tcppair.c tests/engine/tcppair.h \
	tests/store/support.c tests/store/support.h
tests_engine_test_mover_kills_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_mover_kills_LDADD = libengine.la libworker.la libstore.la $(CMOCKA_LIBS) -lpthread
check_PROGRAMS += tests/engine/nbdlie
tests_engine_nbdlie_SOURCES = tests/engine/nbdlie.c
tests_engine_nbdlie_CFLAGS = $(AM_CFLAGS)
tests_engine_nbdlie_LDADD = -lpthread
ENGINE_SHELL_TESTS = tests/engine/test-nbdcheck-finds-lies.sh
TESTS += $(ENGINE_SHELL_TESTS)
EXTRA_DIST += $(ENGINE_SHELL_TESTS)
