/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's control socket from the other end. */
#include "config.h"

#include "server/ctl.h"

#include "common/cleanup.h"
#include "common/exitcodes.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int ctl_fail(const struct ctl_command *cmd, int code, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "nbdswapctl %s: ", cmd->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

void ctl_help(const struct ctl_command *cmd)
{
	printf("Usage: nbdswapctl %s%s%s [OPTION]...\n%s\n\n", cmd->name, *cmd->operands ? " " : "", cmd->operands, cmd->help);
	options_help(stdout, cmd->options);
}

int ctl_option(const struct ctl_command *cmd, struct options *o)
{
	struct errbuf e;
	int opt = options_next(o, &e);

	if (opt == 'h') {
		ctl_help(cmd);
		exit(EX_OK_);
	}
	if (opt < 0)
		exit(ctl_fail(cmd, EX_USAGE_, "%s; see nbdswapctl %s --help", e.text, cmd->name));
	return opt;
}

int ctl_force_options(const struct ctl_command *cmd, int argc, char **argv, bool *force, const char **socket)
{
	struct options o;
	int opt;

	*force = false;
	*socket = NULL;
	options_begin(&o, cmd->options, argc, argv);
	while ((opt = ctl_option(cmd, &o))) {
		if (opt == 'f')
			*force = true;
		else if (opt == CTL_OPT_SOCKET)
			*socket = o.value;
	}
	return options_operands(&o);
}

static int connect_to(const char *path, struct errbuf *e)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	CLEANUP_CLOSE int fd = -1;

	if (strlen(path) >= sizeof(un.sun_path))
		return err_set(e, ENAMETOOLONG, "%s: the path of a socket has at most %zu bytes", path, sizeof(un.sun_path) - 1);
	strcpy(un.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return err_errno(e, "cannot reach nbdswapd at %s (is it running? are you root? see --socket)", path);
	return steal_fd(&fd);
}

static int send_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Sends text, and returns the last answer; NULL with *e. */
static json_t *converse(const char *path, const char *text, void (*progress)(void *arg, const json_t *line), void *arg, struct errbuf *e)
{
	CLEANUP_FREE char *line = NULL;
	CLEANUP_FCLOSE FILE *in = NULL;
	size_t size = 0;
	ssize_t n;
	int fd;

	fd = connect_to(path ? path : CTL_SOCKET_DEFAULT, e);
	if (fd < 0)
		return NULL;
	in = fdopen(fd, "r");
	/* The daemon may turn the connection away at once: what it says is read even when it no longer reads. */
	if (!in || ((send_all(fd, text, strlen(text)) < 0 || send_all(fd, "\n", 1) < 0) && errno != EPIPE)) {
		err_errno(e, "sending to nbdswapd");
		return NULL;
	}
	while ((n = getline(&line, &size, in)) > 0) {
		json_t *answer = json_loadb(line, (size_t)n, 0, NULL);
		const json_t *step = json_object_get(answer, "progress");

		if (!json_is_object(answer)) {
			json_decref(answer);
			break;
		}
		if (!step)
			return answer;
		if (progress)
			progress(arg, step);
		json_decref(answer);
	}
	err_set(e, EPIPE, "nbdswapd ended the connection without an answer; its log may say why");
	return NULL;
}

json_t *ctl_request(const struct ctl_command *cmd, const char *path, json_t *request,
		    void (*progress)(void *arg, const json_t *line), void *arg)
{
	CLEANUP_FREE char *text = json_dumps(request, JSON_COMPACT);
	json_t *answer = NULL;
	struct errbuf e;

	json_decref(request);
	if (!text)
		err_set(&e, EINVAL, "the request cannot be made (is a name not UTF-8?)");
	else
		answer = converse(path, text, progress, arg, &e);
	if (!answer)
		ctl_fail(cmd, 0, "%s", e.text);
	return answer;
}

json_t *ctl_request_quietly(const char *path, json_t *request)
{
	CLEANUP_FREE char *text = json_dumps(request, JSON_COMPACT);
	struct errbuf e;

	json_decref(request);
	return text ? converse(path, text, NULL, NULL, &e) : NULL;
}

int ctl_verdict(const struct ctl_command *cmd, const json_t *answer, int code)
{
	const json_t *errors = json_object_get(answer, "errors"), *item;
	const char *error = json_string_value(json_object_get(answer, "error"));
	size_t i;

	if (json_is_true(json_object_get(answer, "ok")))
		return EX_OK_;
	if (json_array_size(errors) == 0)
		return ctl_fail(cmd, code, "%s", error ? error : "refused without a reason");
	json_array_foreach(errors, i, item)
		ctl_fail(cmd, code, "%s", json_string_value(item));
	return code;
}
