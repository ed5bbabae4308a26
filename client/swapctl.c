/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/swapctl.h"

#include "client/procswaps.h"
#include "common/progress.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* <sys/swap.h> of older C libraries has only SWAP_FLAG_DISCARD. */
#define FLAG_DISCARD 0x10000
#define FLAG_DISCARD_ONCE 0x20000
#define FLAG_DISCARD_PAGES 0x40000

static const char *const mode_names[] = { "auto", "none", "once", "pages" };

const char *discard_mode_name(enum discard_mode m)
{
	return mode_names[m];
}

int discard_mode_parse(const char *text, enum discard_mode *out, struct errbuf *e)
{
	for (int i = 0; i < 4; i++) {
		if (strcmp(text, mode_names[i]) == 0) {
			*out = (enum discard_mode)i;
			return 0;
		}
	}
	return err_set(e, EINVAL, "discard \"%.32s\" is not known; use auto, none, once or pages", text);
}

static const char *swapon_remedy(int code)
{
	switch (code) {
	case EPERM:
		return "; the right to it is missing, or as many swap areas are on as the kernel allows";
	case EBUSY:
		return "; the device is in use already";
	case EINVAL:
		return "; the kernel does not accept the swap header (see dmesg)";
	default:
		return "";
	}
}

int swap_on(const struct nbddev *dev, int priority, enum discard_mode discard, int *type, struct errbuf *e)
{
	struct swap_list before, swaps;
	int flags = 0;

	if (priority >= 0)
		flags |= SWAP_FLAG_PREFER | ((priority << SWAP_FLAG_PRIO_SHIFT) & SWAP_FLAG_PRIO_MASK);
	if (discard == DISCARD_ONCE)
		flags |= FLAG_DISCARD | FLAG_DISCARD_ONCE;
	if (discard == DISCARD_PAGES)
		flags |= FLAG_DISCARD | FLAG_DISCARD_PAGES;
	if (procswaps_read(&before, e) < 0)
		return -1;
	if (swapon(dev->path, flags) < 0) {
		int code = errno;

		return err_set(e, code, "swapon %s failed: %s%s", dev->path, strerror(code),
			       swapon_remedy(code));
	}
	if (procswaps_read(&swaps, e) < 0)
		return -1;
	if (!procswaps_find(&swaps, dev->path))
		return err_set(e, EIO, "swapon %s succeeded, but " PROC_SWAPS " does not list it", dev->path);
	*type = swap_type_of_new(&before, &swaps, dev->path);
	return 0;
}

static uint64_t used_on(const struct nbddev *dev)
{
	struct swap_list swaps;
	const struct swap_entry *s;

	if (procswaps_read(&swaps, NULL) < 0)
		return 0;
	s = procswaps_find(&swaps, dev->path);
	return s ? s->used : 0;
}

static void child(const struct nbddev *dev)
{
	static const int ends[] = { SIGINT, SIGTERM };
	sigset_t none;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		signal(ends[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	_exit(swapoff(dev->path) == 0 ? 0 : errno > 0 && errno < 126 ? errno : 126);
}

/* Waits for the child, drawing; passes *stop on to it once. */
static int follow(pid_t pid, const struct nbddev *dev, bool bar, const volatile int *stop)
{
	uint64_t total = used_on(dev);
	struct progress p;
	bool told = false;
	int status;

	progress_begin(&p, bar ? stderr : NULL, dev->name, total);
	for (;;) {
		const struct timespec pause = { .tv_nsec = 50000000L };
		pid_t got = waitpid(pid, &status, WNOHANG);
		uint64_t used;

		if (got == pid)
			break;
		if (got < 0 && errno != EINTR) {
			status = 126 << 8;
			break;
		}
		if (*stop && !told) {
			/* swapoff looks for signals when it is done with one process's memory and
			 * before the next, and ends with EINTR; so this may take a while.
			 */
			kill(pid, SIGTERM);
			told = true;
		}
		used = used_on(dev);
		progress_update(&p, used < total ? total - used : 0);
		nanosleep(&pause, NULL);
	}
	progress_end(&p);
	return status;
}

enum swap_off_result swap_off(const struct nbddev *dev, bool bar, const volatile int *stop, struct errbuf *e)
{
	struct swap_list swaps;
	pid_t pid = fork();
	int status;

	if (pid < 0) {
		err_errno(e, "cannot start swapoff of %s", dev->path);
		return SWAP_OFF_FAILED;
	}
	if (pid == 0)
		child(dev);
	status = follow(pid, dev, bar, stop);
	/* Only the kernel's list counts: it tells what a status cannot, if the child was killed at
	 * the very end.
	 */
	if (procswaps_read(&swaps, e) < 0)
		return SWAP_OFF_FAILED;
	if (!procswaps_find(&swaps, dev->path))
		return SWAP_OFF_DONE;
	if (*stop || (WIFEXITED(status) && WEXITSTATUS(status) == EINTR) ||
	    (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)) {
		err_set(e, EINTR, "swapoff of %s was interrupted; swap on it is still on and nothing is lost",
			dev->path);
		return SWAP_OFF_INTERRUPTED;
	}
	if (WIFSIGNALED(status) || WEXITSTATUS(status) == ENOMEM)
		err_set(e, ENOMEM,
			"swapoff of %s was ended by the kernel for want of memory; swap on it is still on and "
			"nothing is lost; end processes or add other swap, then try again",
			dev->path);
	else
		err_set(e, WEXITSTATUS(status), "swapoff of %s failed: %s; swap on it is still on", dev->path,
			strerror(WEXITSTATUS(status)));
	return SWAP_OFF_FAILED;
}
