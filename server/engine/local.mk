# SPDX-License-Identifier: BSD-3-Clause
noinst_LTLIBRARIES += libengine.la
ENGINE_SOURCES = \
	server/engine/buffers.c server/engine/buffers.h \
	server/engine/commands.c \
	server/engine/confine.c server/engine/confine.h server/engine/confine_calls.c \
	server/engine/confine_ring.c server/engine/confine_ring.h \
	server/engine/engine.c server/engine/engine.h \
	server/engine/live.c \
	server/engine/lobby.c server/engine/lobby.h \
	server/engine/mover.c server/engine/mover.h server/engine/mover_priv.h \
	server/engine/replies.c server/engine/resume.c \
	server/engine/ring.c server/engine/ring.h \
	server/engine/seat.c server/engine/seat.h \
	server/engine/served.c server/engine/served.h \
	server/engine/sessmem.c server/engine/sessmem.h \
	server/engine/submitter.h \
	server/engine/task.c \
	server/engine/negotiate.c server/engine/negotiate.h \
	server/engine/tcpaccount.c server/engine/tcpaccount.h
libengine_la_SOURCES = $(ENGINE_SOURCES) server/engine/submitter.c
libengine_la_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(URING_CFLAGS) $(SECCOMP_CFLAGS)
libengine_la_LIBADD = libcommon.la $(URING_LIBS) $(SECCOMP_LIBS)

pkglibexec_PROGRAMS += server/nbdswap-engine
server_nbdswap_engine_SOURCES = server/nbdswap-engine.c
server_nbdswap_engine_CFLAGS = $(AM_CFLAGS) $(PROGRAM_CFLAGS)
server_nbdswap_engine_LDFLAGS = $(AM_LDFLAGS) $(PROGRAM_LDFLAGS)
server_nbdswap_engine_LDADD = libengine.la libworker.la libstore.la $(EV_LIBS) -lm -lpthread

# The same engine over the store with faults, for tests.  Never installed.
check_LTLIBRARIES += libengine-fault.la
libengine_fault_la_SOURCES = $(ENGINE_SOURCES) tests/faults/submitter.c
libengine_fault_la_CPPFLAGS = $(AM_CPPFLAGS) -DNBDSWAP_FAULTS
libengine_fault_la_CFLAGS = $(libengine_la_CFLAGS)
libengine_fault_la_LIBADD = $(libengine_la_LIBADD)
check_PROGRAMS += server/nbdswap-engine-fault
server_nbdswap_engine_fault_SOURCES = server/nbdswap-engine.c
server_nbdswap_engine_fault_CFLAGS = $(AM_CFLAGS)
server_nbdswap_engine_fault_LDADD = libengine-fault.la libworker.la libstore-fault.la $(EV_LIBS) -lm -lpthread
