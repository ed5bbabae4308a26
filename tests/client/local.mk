# SPDX-License-Identifier: BSD-3-Clause
CLIENT_UNIT_TESTS = \
	tests/client/unit-files \
	tests/client/unit-pieces \
	tests/client/unit-tables \
	tests/client/unit-uri
check_PROGRAMS += $(CLIENT_UNIT_TESTS)
tests_client_unit_files_SOURCES = tests/client/unit-files.c tests/client/unit.h
tests_client_unit_pieces_SOURCES = tests/client/unit-pieces.c tests/client/unit.h
tests_client_unit_tables_SOURCES = tests/client/unit-tables.c tests/client/unit.h
tests_client_unit_uri_SOURCES = tests/client/unit-uri.c tests/client/unit.h
tests_client_unit_files_LDADD = libclient.la $(CMOCKA_LIBS)
tests_client_unit_pieces_LDADD = libclient.la $(CMOCKA_LIBS)
tests_client_unit_tables_LDADD = libclient.la $(CMOCKA_LIBS)
tests_client_unit_uri_LDADD = libclient.la $(CMOCKA_LIBS)
TESTS += $(CLIENT_UNIT_TESTS)

CLIENT_TESTS = \
	tests/client/test-check-round-trips.sh \
	tests/client/test-check-while-attached.sh \
	tests/client/test-help-and-man-agree.sh \
	tests/client/test-preflight-refuses.sh \
	tests/client/test-swaptab-is-validated.sh \
	tests/client/test-usage-errors.sh
TESTS += $(CLIENT_TESTS)
EXTRA_DIST += $(CLIENT_TESTS) tests/client/nbd.sh

# In a guest, after the harness itself (tests/vm).
VM_TESTS += tests/client/test-attach-in-a-guest.sh
