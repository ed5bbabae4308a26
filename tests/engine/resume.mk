# SPDX-License-Identifier: BSD-3-Clause
# Sessions that outlive their worker: the socket's account, the checking client, kills.
ENGINE_RESUME_TESTS = \
	tests/engine/test-buffers-held \
	tests/engine/test-resume-streams \
	tests/engine/test-tcp-account
check_PROGRAMS += $(ENGINE_RESUME_TESTS)
TESTS += $(ENGINE_RESUME_TESTS)
LONG_TESTS += tests/engine/test-resume-streams
tests_engine_test_resume_streams_SOURCES = tests/engine/test-resume-streams.c tests/engine/tcppair.c tests/engine/tcppair.h
tests_engine_test_resume_streams_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(URING_CFLAGS)
tests_engine_test_resume_streams_LDADD = libengine.la $(CMOCKA_LIBS) $(URING_LIBS)
tests_engine_test_buffers_held_SOURCES = tests/engine/test-buffers-held.c
tests_engine_test_buffers_held_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_engine_test_buffers_held_LDADD = libengine.la libstore.la $(CMOCKA_LIBS)
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
check_PROGRAMS += tests/engine/nbdlie
tests_engine_nbdlie_SOURCES = tests/engine/nbdlie.c
tests_engine_nbdlie_CFLAGS = $(AM_CFLAGS)
tests_engine_nbdlie_LDADD = -lpthread

ENGINE_RESUME_SHELL_TESTS = \
	tests/engine/test-nbdcheck-finds-lies.sh \
	tests/engine/test-poisonous-request.sh \
	tests/engine/test-resume-kills.sh \
	tests/engine/test-upgrade-under-load.sh
LONG_TESTS += tests/engine/test-resume-kills.sh tests/engine/test-upgrade-under-load.sh
EXTRA_DIST += tests/engine/resume.sh
TESTS += $(ENGINE_RESUME_SHELL_TESTS)
EXTRA_DIST += $(ENGINE_RESUME_SHELL_TESTS)

VM_TESTS += tests/vm/test-swap-through-kills.sh
LONG_TESTS += tests/vm/test-swap-through-kills.sh

# It steps through x86-64's instructions, and a sanitizer has signal handlers of its own.
if !SANITIZERS
if CPU_X86_64
check_PROGRAMS += tests/engine/test-resume-instants
TESTS += tests/engine/test-resume-instants
LONG_TESTS += tests/engine/test-resume-instants
endif
endif
tests_engine_test_resume_instants_SOURCES = tests/engine/test-resume-instants.c tests/engine/checkconn.c tests/engine/checkconn.h \
	tests/engine/pagemodel.c tests/engine/pagemodel.h $(engine_held)
tests_engine_test_resume_instants_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(URING_CFLAGS)
tests_engine_test_resume_instants_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pthread_sigmask -Wl,--wrap=sendmsg -Wl,--wrap=rw_begin \
	-Wl,--wrap=rw_complete -Wl,--wrap=io_uring_submit_and_wait_timeout
tests_engine_test_resume_instants_LDADD = libengine.la libworker.la libstore.la $(CMOCKA_LIBS) $(URING_LIBS) -lpthread
