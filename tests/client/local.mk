# SPDX-License-Identifier: BSD-3-Clause
CLIENT_UNIT_TESTS = \
	tests/client/unit-exportsame \
	tests/client/unit-files \
	tests/client/unit-negotiate \
	tests/client/unit-negotiate-fails \
	tests/client/unit-pieces \
	tests/client/unit-reach \
	tests/client/unit-reach-several \
	tests/client/unit-reconfigure \
	tests/client/unit-tables \
	tests/client/unit-uri \
	tests/client/unit-watching
check_PROGRAMS += $(CLIENT_UNIT_TESTS)
client_serverwords = tests/client/serverwords.c tests/client/serverwords.h tests/engine/talk.c tests/engine/talk.h
tests_client_unit_exportsame_SOURCES = tests/client/unit-exportsame.c tests/client/unit.h
tests_client_unit_files_SOURCES = tests/client/unit-files.c tests/client/unit.h
tests_client_unit_negotiate_SOURCES = tests/client/unit-negotiate.c tests/client/unit.h $(client_serverwords)
tests_client_unit_negotiate_fails_SOURCES = tests/client/unit-negotiate-fails.c tests/client/unit.h $(client_serverwords)
tests_client_unit_pieces_SOURCES = tests/client/unit-pieces.c tests/client/unit.h
client_reaching = tests/client/reaching.c tests/client/reaching.h tests/client/fakeserver.c tests/client/fakeserver.h $(client_serverwords)
tests_client_unit_reach_SOURCES = tests/client/unit-reach.c tests/client/unit.h $(client_reaching)
tests_client_unit_reach_several_SOURCES = tests/client/unit-reach-several.c tests/client/unit.h $(client_reaching)
tests_client_unit_reconfigure_SOURCES = tests/client/unit-reconfigure.c tests/client/unit.h
tests_client_unit_reconfigure_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(NLGENL_CFLAGS)
tests_client_unit_reconfigure_LDADD = libclient.la $(NLGENL_LIBS) $(CMOCKA_LIBS)
tests_client_unit_tables_SOURCES = tests/client/unit-tables.c tests/client/unit.h
tests_client_unit_uri_SOURCES = tests/client/unit-uri.c tests/client/unit.h
tests_client_unit_watching_SOURCES = tests/client/unit-watching.c tests/client/unit.h client/watching.c client/watching.h
tests_client_unit_watching_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=reach,--wrap=reconfigure,--wrap=reconfigure_disconnect,--wrap=socksent
tests_client_unit_watching_LDADD = libclient.la $(CMOCKA_LIBS)
tests_client_unit_exportsame_LDADD = libclient.la $(CMOCKA_LIBS)
tests_client_unit_files_LDADD = libclient.la $(CMOCKA_LIBS)
tests_client_unit_negotiate_LDADD = libclient.la libengine.la libworker.la libcommon.la $(CMOCKA_LIBS)
tests_client_unit_negotiate_fails_LDADD = libclient.la $(CMOCKA_LIBS)
tests_client_unit_pieces_LDADD = libclient.la $(CMOCKA_LIBS)
tests_client_unit_reach_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=recv,--wrap=send
tests_client_unit_reach_LDADD = libclient.la $(CMOCKA_LIBS) -lpthread
tests_client_unit_reach_several_LDADD = libclient.la $(CMOCKA_LIBS) -lpthread
tests_client_unit_tables_LDADD = libclient.la $(CMOCKA_LIBS)
tests_client_unit_uri_LDADD = libclient.la $(CMOCKA_LIBS)
TESTS += $(CLIENT_UNIT_TESTS)

check_PROGRAMS += tests/client/reachtool
tests_client_reachtool_SOURCES = tests/client/reachtool.c tests/countmalloc.h
tests_client_reachtool_LDADD = libclient.la
CLIENT_TESTS = \
	tests/client/test-check-round-trips.sh \
	tests/client/test-check-while-attached.sh \
	tests/client/test-help-and-man-agree.sh \
	tests/client/test-preflight-refuses.sh \
	tests/client/test-reach-nbdswapd.sh \
	tests/client/test-reach-nbdswapd-nbdkit.sh \
	tests/client/test-reach-other-servers.sh \
	tests/client/test-swaptab-is-validated.sh \
	tests/client/test-usage-errors.sh
TESTS += $(CLIENT_TESTS)
EXTRA_DIST += $(CLIENT_TESTS) tests/client/nbd.sh tests/client/reach.sh

# In a guest, after the harness itself (tests/vm).
VM_TESTS += tests/client/test-attach-in-a-guest.sh
