# SPDX-License-Identifier: BSD-3-Clause
ENGINE_UNIT_TESTS = \
	tests/engine/test-confine-ring
if !SANITIZERS
# The run-time of a sanitizer makes calls in every thread that the filter refuses.
ENGINE_UNIT_TESTS += tests/engine/test-confine
endif
tests_engine_test_confine_LDADD = libengine.la libworker.la $(CMOCKA_LIBS) -lpthread
tests_engine_test_confine_ring_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(URING_CFLAGS)
tests_engine_test_confine_ring_LDADD = libengine.la libworker.la $(CMOCKA_LIBS) $(URING_LIBS) -lpthread
check_PROGRAMS += $(ENGINE_UNIT_TESTS)
TESTS += $(ENGINE_UNIT_TESTS)
ENGINE_LOBBY_TESTS = \
	tests/engine/test-lobby \
	tests/engine/test-lobby-limits \
	tests/engine/test-lobby-places \
	tests/engine/test-negotiate \
	tests/engine/test-negotiate-malformed \
	tests/engine/test-peer
if !SANITIZERS
# It puts its own malloc in front of the C library's, as sanitizers do.
ENGINE_LOBBY_TESTS += tests/engine/test-lobby-no-allocation
endif
check_PROGRAMS += $(ENGINE_LOBBY_TESTS)
TESTS += $(ENGINE_LOBBY_TESTS)

tests_engine_test_peer_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_peer_LDADD = libworker.la libcommon.la $(CMOCKA_LIBS)
engine_converse = tests/engine/converse.c tests/engine/converse.h tests/engine/talk.c tests/engine/talk.h
tests_engine_test_negotiate_SOURCES = tests/engine/test-negotiate.c $(engine_converse)
tests_engine_test_negotiate_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_negotiate_LDADD = libengine.la libworker.la libcommon.la $(CMOCKA_LIBS)
tests_engine_test_negotiate_malformed_SOURCES = tests/engine/test-negotiate-malformed.c $(engine_converse)
tests_engine_test_negotiate_malformed_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_negotiate_malformed_LDADD = libengine.la libworker.la libcommon.la $(CMOCKA_LIBS)
engine_lobbyworld = tests/engine/lobbyworld.c tests/engine/lobbyworld.h tests/engine/talk.c tests/engine/talk.h
engine_lobby_ldadd = libengine.la libworker.la libstore.la $(CMOCKA_LIBS) $(EV_LIBS) -lm
tests_engine_test_lobby_SOURCES = tests/engine/test-lobby.c $(engine_lobbyworld)
tests_engine_test_lobby_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_lobby_LDADD = $(engine_lobby_ldadd)
tests_engine_test_lobby_limits_SOURCES = tests/engine/test-lobby-limits.c $(engine_lobbyworld)
tests_engine_test_lobby_limits_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_lobby_limits_LDADD = $(engine_lobby_ldadd)
tests_engine_test_lobby_places_SOURCES = tests/engine/test-lobby-places.c $(engine_lobbyworld)
tests_engine_test_lobby_places_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_lobby_places_LDADD = $(engine_lobby_ldadd)
tests_engine_test_lobby_no_allocation_SOURCES = tests/engine/test-lobby-no-allocation.c $(engine_lobbyworld)
tests_engine_test_lobby_no_allocation_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_lobby_no_allocation_LDADD = $(engine_lobby_ldadd)
ENGINE_MOVER_TESTS = \
	tests/engine/test-worker-exports \
	tests/engine/test-mover-exports \
	tests/engine/test-ring-full \
	tests/engine/test-mover-kills \
	tests/engine/test-disconnect \
	tests/engine/test-late-data \
	tests/engine/test-redo-first
check_PROGRAMS += $(ENGINE_MOVER_TESTS)
TESTS += $(ENGINE_MOVER_TESTS)
engine_held = tests/engine/heldworker.c tests/engine/heldworker.h tests/engine/tcppair.c tests/engine/tcppair.h \
	tests/store/support.c tests/store/support.h
tests_engine_test_worker_exports_SOURCES = tests/engine/test-worker-exports.c tests/store/support.c tests/store/support.h
tests_engine_test_worker_exports_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_worker_exports_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=close
tests_engine_test_worker_exports_LDADD = libworker.la libstore.la $(CMOCKA_LIBS) -lpthread
tests_engine_test_ring_full_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(URING_CFLAGS)
tests_engine_test_ring_full_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=io_uring_submit
tests_engine_test_ring_full_LDADD = libengine.la libworker.la libcommon.la $(CMOCKA_LIBS) $(URING_LIBS)
engine_moverworld = tests/engine/moverworld.c tests/engine/moverworld.h tests/engine/tcppair.c tests/engine/tcppair.h \
	tests/store/support.c tests/store/support.h
tests_engine_test_mover_exports_SOURCES = tests/engine/test-mover-exports.c $(engine_moverworld)
check_PROGRAMS += tests/engine/stuckdisk
TESTS += tests/engine/test-stuck-disk.sh
EXTRA_DIST += tests/engine/test-stuck-disk.sh
tests_engine_stuckdisk_SOURCES = tests/engine/stuckdisk.c $(engine_moverworld)
tests_engine_stuckdisk_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_stuckdisk_LDADD = libengine.la libworker.la libstore.la $(CMOCKA_LIBS) -lpthread
tests_engine_test_mover_exports_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_mover_exports_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=fstat -Wl,--wrap=live_received -Wl,--wrap=sendmsg
tests_engine_test_mover_exports_LDADD = libengine.la libworker.la libstore.la $(CMOCKA_LIBS) -lpthread
tests_engine_test_disconnect_SOURCES = tests/engine/test-disconnect.c $(engine_moverworld)
tests_engine_test_disconnect_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(URING_CFLAGS)
tests_engine_test_disconnect_LDADD = libengine.la libworker.la libstore.la $(CMOCKA_LIBS) -lpthread
tests_engine_test_late_data_SOURCES = tests/engine/test-late-data.c $(engine_moverworld)
tests_engine_test_late_data_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(URING_CFLAGS)
tests_engine_test_late_data_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=live_end -Wl,--wrap=live_received
tests_engine_test_late_data_LDADD = libengine.la libworker.la libstore.la $(CMOCKA_LIBS) -lpthread
tests_engine_test_redo_first_SOURCES = tests/engine/test-redo-first.c $(engine_moverworld)
tests_engine_test_redo_first_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_redo_first_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=resume_redo,--wrap=mover_now_ms
tests_engine_test_redo_first_LDADD = libengine.la libworker.la libstore.la $(CMOCKA_LIBS) -lpthread
tests_engine_test_mover_kills_SOURCES = tests/engine/test-mover-kills.c $(engine_held)
tests_engine_test_mover_kills_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_mover_kills_LDADD = libengine.la libworker.la libstore.la $(CMOCKA_LIBS) -lpthread

# A running worker: what it gave up, what it does not take.
ENGINE_CONFINE_TESTS = \
	tests/engine/test-confined-worker.sh \
	tests/engine/test-confined-worker-faults.sh \
	tests/engine/test-no-malloc.sh
TESTS += $(ENGINE_CONFINE_TESTS)
EXTRA_DIST += $(ENGINE_CONFINE_TESTS)
