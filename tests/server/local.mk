# SPDX-License-Identifier: BSD-3-Clause
server_unit_tests = \
	tests/server/test-conf \
	tests/server/test-control-descriptors \
	tests/server/test-exportname \
	tests/server/test-exports \
	tests/server/test-exports-looks \
	tests/server/test-exports-short \
	tests/server/test-fdmsg \
	tests/server/test-holds \
	tests/server/test-job \
	tests/server/test-jsontext \
	tests/server/test-keeper-store \
	tests/server/test-lease \
	tests/server/test-listen \
	tests/server/test-memlock \
	tests/server/test-opens \
	tests/server/test-supervisor \
	tests/server/test-worker-death
check_PROGRAMS += $(server_unit_tests)
TESTS += $(server_unit_tests)

server_test_cflags = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
server_test_libs = libserver.la libcommon.la $(CMOCKA_LIBS)
tests_server_test_conf_SOURCES = tests/server/test-conf.c
tests_server_test_conf_CFLAGS = $(server_test_cflags)
tests_server_test_conf_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=stat
tests_server_test_conf_LDADD = $(server_test_libs)
tests_server_test_control_descriptors_SOURCES = tests/server/test-control-descriptors.c
tests_server_test_control_descriptors_CFLAGS = $(server_test_cflags) $(JANSSON_CFLAGS)
tests_server_test_control_descriptors_LDADD = $(server_test_libs) $(JANSSON_LIBS) -lev
tests_server_test_exportname_SOURCES = tests/server/test-exportname.c
tests_server_test_exportname_CFLAGS = $(server_test_cflags)
tests_server_test_exportname_LDADD = $(server_test_libs)
server_exportworld = tests/server/exportworld.c tests/server/exportworld.h
tests_server_test_exports_SOURCES = tests/server/test-exports.c $(server_exportworld)
tests_server_test_exports_CFLAGS = $(server_test_cflags)
tests_server_test_exports_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=backend_barrier,--wrap=backing_close
tests_server_test_exports_LDADD = $(server_test_libs)
tests_server_test_exports_looks_SOURCES = tests/server/test-exports-looks.c $(server_exportworld)
tests_server_test_exports_looks_CFLAGS = $(server_test_cflags)
tests_server_test_exports_looks_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=backend_barrier
tests_server_test_exports_looks_LDADD = $(server_test_libs)
tests_server_test_exports_short_SOURCES = tests/server/test-exports-short.c $(server_exportworld)
tests_server_test_exports_short_CFLAGS = $(server_test_cflags)
tests_server_test_exports_short_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=backend_barrier,--wrap=pthread_create,--wrap=table_settle
tests_server_test_exports_short_LDADD = $(server_test_libs)
tests_server_test_fdmsg_SOURCES = tests/server/test-fdmsg.c
tests_server_test_fdmsg_CFLAGS = $(server_test_cflags)
tests_server_test_fdmsg_LDADD = $(server_test_libs)
tests_server_test_opens_SOURCES = tests/server/test-opens.c
tests_server_test_opens_CFLAGS = $(server_test_cflags) $(JANSSON_CFLAGS)
tests_server_test_opens_LDADD = $(server_test_libs) $(JANSSON_LIBS)
tests_server_test_holds_SOURCES = tests/server/test-holds.c
tests_server_test_holds_CFLAGS = $(server_test_cflags) $(JANSSON_CFLAGS)
tests_server_test_holds_LDADD = $(server_test_libs)
tests_server_test_job_SOURCES = tests/server/test-job.c
tests_server_test_job_CFLAGS = $(server_test_cflags)
tests_server_test_job_LDADD = $(server_test_libs)
tests_server_test_jsontext_SOURCES = tests/server/test-jsontext.c
tests_server_test_jsontext_CFLAGS = $(server_test_cflags) $(JANSSON_CFLAGS)
tests_server_test_jsontext_LDADD = $(server_test_libs) $(JANSSON_LIBS)
tests_server_test_keeper_store_SOURCES = tests/server/test-keeper-store.c
tests_server_test_keeper_store_CFLAGS = $(server_test_cflags)
tests_server_test_keeper_store_LDADD = $(server_test_libs)
tests_server_test_lease_SOURCES = tests/server/test-lease.c
tests_server_test_lease_CFLAGS = $(server_test_cflags)
tests_server_test_lease_LDADD = $(server_test_libs)
tests_server_test_listen_SOURCES = tests/server/test-listen.c
tests_server_test_listen_CFLAGS = $(server_test_cflags)
tests_server_test_listen_LDADD = $(server_test_libs)
tests_server_test_memlock_SOURCES = tests/server/test-memlock.c
tests_server_test_memlock_CFLAGS = $(server_test_cflags)
tests_server_test_memlock_LDADD = $(server_test_libs)
tests_server_test_supervisor_SOURCES = tests/server/test-supervisor.c
tests_server_test_supervisor_CFLAGS = $(server_test_cflags)
tests_server_test_supervisor_LDADD = $(server_test_libs)
tests_server_test_worker_death_SOURCES = tests/server/test-worker-death.c
tests_server_test_worker_death_CFLAGS = $(server_test_cflags) $(JANSSON_CFLAGS)
tests_server_test_worker_death_LDADD = $(server_test_libs) $(JANSSON_LIBS)

# What shell tests run.
check_PROGRAMS += tests/server/control-abuse tests/server/fake-engine tests/server/keeper-child tests/server/keeper-run \
	tests/server/notify-listen tests/server/takeover
tests_server_keeper_child_SOURCES = tests/server/keeper-child.c
tests_server_keeper_child_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS)
tests_server_keeper_child_LDADD = $(SYSTEMD_LIBS)
tests_server_keeper_run_SOURCES = tests/server/keeper-run.c
tests_server_keeper_run_CFLAGS = $(AM_CFLAGS)
tests_server_keeper_run_LDADD = libserver.la
tests_server_takeover_SOURCES = tests/server/takeover.c
tests_server_takeover_CFLAGS = $(AM_CFLAGS) $(LIBNBD_CFLAGS)
tests_server_takeover_LDADD = $(LIBNBD_LIBS)
tests_server_control_abuse_SOURCES = tests/server/control-abuse.c
tests_server_control_abuse_CFLAGS = $(AM_CFLAGS)
tests_server_fake_engine_SOURCES = tests/server/fake-engine.c server/engine/sessmem.c
tests_server_fake_engine_CFLAGS = $(AM_CFLAGS)
tests_server_fake_engine_LDADD = libworker.la libstore.la libcommon.la -lpthread
tests_server_notify_listen_SOURCES = tests/server/notify-listen.c
tests_server_notify_listen_CFLAGS = $(AM_CFLAGS)

server_shell_tests = \
	tests/server/test-activate.sh \
	tests/server/test-allocating.sh \
	tests/server/test-check-config.sh \
	tests/server/test-control.sh \
	tests/server/test-docs.sh \
	tests/server/test-keeper.sh \
	tests/server/test-half-open.sh \
	tests/server/test-keeper-kills.sh \
	tests/server/test-keeper-messages.sh \
	tests/server/test-keeper-no-allocation.sh \
	tests/server/test-keeper-restarts.sh \
	tests/server/test-kept-memory-locked.sh \
	tests/server/test-kept-places.sh \
	tests/server/test-kept-sessions.sh \
	tests/server/test-drained-without-daemon.sh \
	tests/server/test-drained-without-daemon-nbdkit.sh \
	tests/server/test-kill-under-writes.sh \
	tests/server/test-full-disk-worker-dies.sh \
	tests/server/test-lease-kept-while-settled.sh \
	tests/server/test-locked.sh \
	tests/server/test-move.sh \
	tests/server/test-notify.sh \
	tests/server/test-generation.sh tests/server/test-generation-nbdkit.sh \
	tests/server/test-one-client.sh \
	tests/server/test-orphans-for-good.sh \
	tests/server/test-reload.sh \
	tests/server/test-resume-not-answered.sh \
	tests/server/test-scrub-control.sh \
	tests/server/test-scrub.sh \
	tests/server/test-sealed-swap.sh \
	tests/server/test-sealed.sh \
	tests/server/test-sealed-counts.sh \
	tests/server/test-serve.sh \
	tests/server/test-serves-without-daemon.sh \
	tests/server/test-serves-without-daemon-nbdkit.sh \
	tests/server/test-stale-handle.sh \
	tests/server/test-lost-connection.sh \
	tests/server/test-lost-stays-lost.sh \
	tests/server/test-take-over-refused-resume.sh \
	tests/server/test-take-over-slow.sh \
	tests/server/test-take-over.sh \
	tests/server/test-stuck-backends.sh \
	tests/server/test-stuck-export.sh \
	tests/server/test-survive-host.sh tests/server/test-survive-host-nbdkit.sh \
	tests/server/test-tcp.sh \
	tests/server/test-too-many-connections.sh \
	tests/server/test-worker-locked.sh \
	tests/server/test-worker-priority.sh \
	tests/server/test-unit.sh \
	tests/server/test-two-clients-fight.sh \
	tests/server/test-reload-worker-load.sh \
	tests/server/test-reload-worker.sh \
	tests/server/test-worker-fails.sh
TESTS += $(server_shell_tests)
EXTRA_DIST += $(server_shell_tests) tests/server/fake.sh tests/server/keeper.sh tests/server/server.sh tests/server/two.sh
LONG_TESTS += tests/server/test-keeper-kills.sh tests/server/test-take-over-slow.sh tests/server/test-take-over-slow-nbdkit.sh

# Shell tests run on the engine that the daemon takes by default (ENGINE=native|nbdkit in the environment: on that); these, a smoke set, run
# on nbdkit as well.
server_nbdkit_tests = \
	tests/server/test-kill-under-writes-nbdkit.sh \
	tests/server/test-one-client-nbdkit.sh \
	tests/server/test-sealed-nbdkit.sh \
	tests/server/test-serve-nbdkit.sh \
	tests/server/test-stale-handle-nbdkit.sh \
	tests/server/test-take-over-slow-nbdkit.sh \
	tests/server/test-two-clients-fight-nbdkit.sh
TESTS += $(server_nbdkit_tests)
EXTRA_DIST += $(server_nbdkit_tests)
