# SPDX-License-Identifier: BSD-3-Clause
# Fuzzing with libFuzzer.  Its targets and what they test are compiled once more, by clang and with sanitizers, from the lists of
# sources that the libraries have.  `make fuzz` runs each target for FUZZ_TIME seconds (FUZZ='fuzz-config ...': only these); a short run
# is a test.
FUZZ_TARGETS = \
	fuzz-broker \
	fuzz-config \
	fuzz-control \
	fuzz-exportname \
	fuzz-negotiate \
	fuzz-reply \
	fuzz-swaptab \
	fuzz-table \
	fuzz-trailer \
	fuzz-transmission
FUZZ_TIME = 60

fuzz_sanitize = address,undefined
fuzz_cflags = -std=gnu11 -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all -Wall -Wextra -Wshadow \
	-Wno-missing-field-initializers -Wno-unused-parameter $(filter -Werror,$(WARN_CFLAGS))
fuzz_cppflags = $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) $(server_paths) $(CPPFLAGS) \
	$(BLKID_CFLAGS) $(CRYPTO_CFLAGS) $(INIH_CFLAGS) $(JANSSON_CFLAGS) $(SYSTEMD_CFLAGS) $(URING_CFLAGS) $(UUID_CFLAGS) $(XXHASH_CFLAGS)
fuzz_libs = $(INIH_LIBS) $(JANSSON_LIBS) $(SYSTEMD_LIBS) $(EV_LIBS) $(XXHASH_LIBS) $(CRYPTO_LIBS) $(UUID_LIBS) \
	$(BLKID_LIBS) -lpthread

# Of the client and the plugin, what reads from outside; an archive, so that a target may put something else in a file's place.
fuzz_tested = $(filter %.c,$(libcommon_la_SOURCES) $(libstore_la_SOURCES) $(libserver_la_SOURCES)) \
	client/exportsame.c client/nbddev.c client/negotiate.c client/procswaps.c client/swapctl.c client/swaptab.c client/uri.c \
	worker/broker_remote.c worker/describe.c \
	server/engine/buffers.c server/engine/live.c server/engine/negotiate.c server/engine/replies.c server/engine/resume.c \
	server/engine/sessmem.c
fuzz_daemon = tests/fuzz/fakedaemon.c tests/fuzz/fakefiles.c tests/fuzz/fakeparts.c
fuzz_table = tests/fuzz/tableworld.c
fuzz_talk = tests/engine/talk.c
fuzz_serverwords = tests/client/serverwords.c
fuzz_session = tests/fuzz/sessionworld.c
fuzz_shared = tests/fuzz/fuzz.c $(fuzz_daemon) $(fuzz_session) $(fuzz_table)
fuzz_objects = $(fuzz_tested:%.c=tests/fuzz/obj/%.o)
fuzz_own_objects = $(fuzz_shared:%.c=tests/fuzz/obj/%.o) $(fuzz_talk:%.c=tests/fuzz/obj/%.o) \
	$(fuzz_serverwords:%.c=tests/fuzz/obj/%.o) $(FUZZ_TARGETS:%=tests/fuzz/obj/tests/fuzz/%.o)
fuzz_programs = $(FUZZ_TARGETS:%=tests/fuzz/%)

tests/fuzz/obj/%.o: %.c config.h
	$(AM_V_CC)$(MKDIR_P) $(@D) && $(CLANG) $(fuzz_cppflags) $(fuzz_cflags) -fsanitize=fuzzer-no-link,$(fuzz_sanitize) \
		-MMD -MP -c -o $@ $<
tests/fuzz/libtested.a: $(fuzz_objects)
	$(AM_V_GEN)rm -f $@ && $(AR) cr $@ $(fuzz_objects)
$(fuzz_programs): tests/fuzz/%: tests/fuzz/obj/tests/fuzz/%.o tests/fuzz/obj/tests/fuzz/fuzz.o tests/fuzz/libtested.a
	$(AM_V_CCLD)$(CLANG) -fsanitize=fuzzer,$(fuzz_sanitize) $(fuzz_ldflags) -o $@ $(filter %.o,$^) tests/fuzz/libtested.a $(fuzz_libs)
tests/fuzz/fuzz-control: $(fuzz_daemon:%.c=tests/fuzz/obj/%.o)
tests/fuzz/fuzz-negotiate: $(fuzz_talk:%.c=tests/fuzz/obj/%.o)
tests/fuzz/fuzz-reply: $(fuzz_talk:%.c=tests/fuzz/obj/%.o) $(fuzz_serverwords:%.c=tests/fuzz/obj/%.o)
tests/fuzz/fuzz-table: $(fuzz_table:%.c=tests/fuzz/obj/%.o)
tests/fuzz/fuzz-transmission: $(fuzz_session:%.c=tests/fuzz/obj/%.o)
tests/fuzz/fuzz-transmission: fuzz_ldflags = -Wl,--wrap=sendmsg,--wrap=shutdown
-include $(fuzz_objects:.o=.d) $(fuzz_own_objects:.o=.d)

fuzz-programs: $(fuzz_programs)
print-clang:
	@echo '$(CLANG)'
print-fuzz-targets:
	@echo $(FUZZ_TARGETS)
fuzz: fuzz-programs
	srcdir='$(abs_top_srcdir)' builddir='$(abs_top_builddir)' bash $(srcdir)/tests/fuzz/run.sh $(FUZZ_TIME) \
		'$(abs_top_builddir)/tests/fuzz/found' $(FUZZ)
.PHONY: fuzz fuzz-programs print-clang print-fuzz-targets
CLEANFILES += $(fuzz_programs) tests/fuzz/libtested.a

TESTS += tests/fuzz/test-fuzz-short.sh
EXTRA_DIST += tests/fuzz/run.sh tests/fuzz/test-fuzz-short.sh tests/fuzz/corpus tests/fuzz/dict tests/fuzz/fuzz.h \
	tests/fuzz/fakedaemon.h tests/fuzz/fakeparts.h tests/fuzz/sessionworld.h tests/fuzz/tableworld.h $(fuzz_shared) $(FUZZ_TARGETS:%=tests/fuzz/%.c)
