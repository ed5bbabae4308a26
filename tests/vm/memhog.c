/* SPDX-License-Identifier: BSD-3-Clause */
/* memhog MIB: takes memory until MIB are available in the machine, and keeps it so: takes what others give back
 * and never returns any. It offers itself to the OOM killer first; a child does the work and is replaced when it is
 * killed, so that the machine stays starved. Prints "starved" when it is so for the first time. */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP (256u * 1024)

/* KiB; read without stdio, which allocates. */
static long
available(void)
{
	static char text[4096];
	int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof text - 1);
	const char *at;

	close(fd);
	text[n > 0 ? n : 0] = '\0';
	at = strstr(text, "MemAvailable:");
	return at ? strtol(at + 13, NULL, 10) : 0;
}

static void
say_once(volatile int *said)
{
	if (!*said && write(1, "starved\n", 8) != 8)
		_exit(2);
	*said = 1;
}

static void __attribute__((noreturn))
take(long leave, volatile int *said)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || write(fd, "1000", 4) != 4)
		_exit(2);
	close(fd);
	for (;;) {
		const struct timespec tick = {.tv_nsec = 10 * 1000 * 1000};

		while (available() > leave) {
			void *p = mmap(NULL, STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			if (p == MAP_FAILED)
				break;
			memset(p, 0xa5, STEP);
		}
		say_once(said);
		nanosleep(&tick, NULL);
	}
}

int
main(int argc, char **argv)
{
	volatile int *said = mmap(NULL, sizeof *said, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long leave = argc == 2 ? strtol(argv[1], NULL, 10) * 1024 : 0;

	if (leave <= 0 || said == MAP_FAILED) {
		fputs("usage: memhog MIB\n", stderr);
		return 2;
	}
	for (;;) {
		int status;
		pid_t pid = fork();

		if (pid == 0)
			take(leave, said);
		if (pid < 0 || waitpid(pid, &status, 0) < 0 || WIFEXITED(status))
			return 2;
		say_once(said); /* the OOM killer came before the mark was reached */
	}
}
