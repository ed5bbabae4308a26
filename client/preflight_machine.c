/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/preflight_machine.h"

#include "client/hibernation.h"
#include "client/meminfo.h"
#include "client/run.h"
#include "common/size.h"

#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODPROBE_SECONDS 30
#define MIN_FREE_WISHED (16384 * 1024ull)
#define MIN_FREE_SHARE 8 /* of a small machine's memory; one of 48 MiB was seen to panic with 16 MiB in reserve */
#define MEM_TOTAL_SMALL (64ull << 20)

/* Addresses of both families in one form. */
static bool in6_of(const struct sockaddr *sa, struct in6_addr *out)
{
	if (sa->sa_family == AF_INET6) {
		*out = ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
		return true;
	}
	if (sa->sa_family == AF_INET) {
		memset(out, 0, sizeof(*out));
		out->s6_addr[10] = out->s6_addr[11] = 0xff;
		memcpy(&out->s6_addr[12], &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
		return true;
	}
	return false;
}

static bool is_loopback(const struct in6_addr *a)
{
	return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

static bool is_own(const struct in6_addr *a, const struct ifaddrs *own)
{
	for (; own; own = own->ifa_next) {
		struct in6_addr mine;

		if (own->ifa_addr && in6_of(own->ifa_addr, &mine) && memcmp(&mine, a, sizeof(mine)) == 0)
			return true;
	}
	return false;
}

int uri_is_own_address(const struct nbd_uri *uri, struct errbuf *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	struct ifaddrs *own = NULL;
	int rc = getaddrinfo(uri->host, uri->port, &hints, &found), result = 0;

	if (rc)
		return err_set(e, EHOSTUNREACH, "%s: the host %s cannot be resolved: %s", uri->text, uri->host,
			       gai_strerror(rc));
	if (getifaddrs(&own) < 0)
		own = NULL;
	for (const struct addrinfo *a = found; a && !result; a = a->ai_next) {
		struct in6_addr addr;

		if (in6_of(a->ai_addr, &addr))
			result = is_loopback(&addr) || is_own(&addr, own);
	}
	freeifaddrs(own);
	freeaddrinfo(found);
	return result;
}

/* The module is loaded only by root, and only when the kernel shows no nbd device yet. */
static void look_at_module(struct findings *f)
{
	char program[256], output[300];
	char *argv[] = { program, (char *)"nbd", NULL };
	struct nbddev first;
	struct errbuf e = { 0 };
	int rc;

	nbddev_set(&first, 0);
	if (nbddev_exists(&first)) {
		finding_ok(f, "module", "the kernel has nbd");
		return;
	}
	if (geteuid() != 0) {
		finding_warn(f, "module", "the nbd module is not loaded; only root can try");
		return;
	}
	rc = run_find("modprobe", program, sizeof(program), &e);
	if (rc == 0)
		rc = run_program(argv, output, sizeof(output), MODPROBE_SECONDS, &e);
	/* devtmpfs may need a moment for the nodes, sysfs does not. */
	if (rc == 0 && nbddev_exists(&first))
		finding_ok(f, "module", "nbd was loaded");
	else if (rc < 0)
		finding_refuse(f, EX_REFUSED, "module",
			       "this kernel has no nbd devices, and the module could not be loaded: "
			       "%s; install kmod, or a kernel with CONFIG_BLK_DEV_NBD",
			       e.text);
	else
		finding_refuse(f, EX_REFUSED, "module",
			       "this kernel has no nbd devices, and `modprobe nbd` failed (exit code "
			       "%d: %s); install the modules of the running kernel, or a kernel with "
			       "CONFIG_BLK_DEV_NBD",
			       rc, output[0] ? output : "nothing said");
}

static void look_at_device(const struct machine_wishes *w, struct machine_facts *out, struct findings *f)
{
	struct errbuf e = { 0 };

	if (w->device) {
		if (nbddev_parse(w->device, &out->dev, &e) < 0)
			finding_refuse(f, EX_USAGE_, "device", "%s", e.text);
		else if (!nbddev_exists(&out->dev))
			finding_refuse(f, EX_REFUSED, "device",
				       "this machine has no device %s; name another, or leave out "
				       "--device to take the first that is free",
				       out->dev.name);
		else if (nbddev_connected(&out->dev))
			finding_refuse(f, EX_BUSY, "device",
				       "%s is in use already; name another, or leave out --device to take "
				       "the first that is free",
				       out->dev.name);
		else
			finding_ok(f, "device", "%s is free", out->dev.name);
		return;
	}
	if (nbddev_first_free(&out->dev, &e) == 0)
		finding_ok(f, "device", "%s is free", out->dev.name);
	else if (e.code == EBUSY)
		finding_refuse(f, EX_BUSY, "device", "%s", e.text);
	/* No devices at all: the finding about the module has said it. */
}

static void look_at_memory(struct findings *f)
{
	char text[SIZE_TEXT];
	uint64_t total, min_free, wished;
	struct errbuf e = { 0 };

	if (meminfo_get("MemTotal", &total, &e) < 0 || meminfo_min_free(&min_free, &e) < 0) {
		finding_warn(f, "memory", "%s", e.text);
		return;
	}
	if (total < MEM_TOTAL_SMALL)
		finding_warn(f, "memory",
			     "this machine has only %s: sending a page takes memory too, and below 64 MiB that "
			     "may be missing when it matters",
			     size_format(total, text));
	wished = total / MIN_FREE_SHARE < MIN_FREE_WISHED ? total / MIN_FREE_SHARE : MIN_FREE_WISHED;
	if (min_free / 1024 < wished / 1024)
		finding_warn(f, "min-free",
			     "the kernel keeps only %s in reserve (vm.min_free_kbytes); swap over a network "
			     "needs more to get through a shortage: run `sysctl -w vm.min_free_kbytes=%llu`",
			     size_format(min_free, text), (unsigned long long)wished / 1024);
	else
		finding_ok(f, "min-free", "%s in reserve", size_format(min_free, text));
}

static void look_at_hibernation(struct findings *f)
{
	switch (hibernation_look("")) {
	case HIBERNATION_HERE:
		finding_warn(f, "hibernation",
			     "this machine can hibernate, and its memory could be written to this swap, which is not there when it starts "
			     "again: boot with `nohibernate`, set AllowHibernation=no in /etc/systemd/sleep.conf, or give it a local disk "
			     "(resume=)");
		break;
	case HIBERNATION_OFF:
		finding_ok(f, "hibernation", "this kernel does not hibernate");
		break;
	case HIBERNATION_FORBIDDEN:
		finding_ok(f, "hibernation", "systemd is told not to hibernate");
		break;
	case HIBERNATION_ELSEWHERE:
		finding_ok(f, "hibernation", "the kernel has another device for it");
		break;
	}
}

static void look_at_address(const struct nbd_uri *uri, const struct machine_wishes *w, struct findings *f)
{
	struct errbuf e = { 0 };
	int own = uri_is_own_address(uri, &e);

	if (own < 0)
		finding_refuse(f, EX_UNREACHABLE, "address", "%s", e.text);
	else if (own && !w->own_address_ok)
		finding_refuse(f, EX_REFUSED, "address",
			       "%s: %s is this machine itself, and a machine cannot swap to itself: "
			       "the server would wait for the memory it is asked to free; swap to another "
			       "machine (--loopback-i-know if it leads elsewhere, or for a test)",
			       uri->text, uri->host);
	else if (own)
		finding_warn(f, "address", "%s is this machine itself: this deadlocks when memory runs short",
			     uri->host);
	else
		finding_ok(f, "address", "%s is another machine", uri->host);
}

void preflight_machine(const struct nbd_uri *uri, const struct machine_wishes *w,
		       const struct state_list *attached, struct machine_facts *out, struct findings *f)
{
	const struct attach_state *twice = state_by_uri(attached, uri->text);
	struct errbuf e = { 0 };

	memset(out, 0, sizeof(*out));
	if (geteuid() != 0)
		finding_refuse(f, EX_PRIV, "root", "only root can attach swap; run it with sudo");
	if (twice)
		finding_refuse(f, EX_BUSY, "attached", "%s is attached already, as %s; if swap on it is off, run `nbdswap detach %s` first",
			       uri->text, twice->dev.name, twice->dev.name);
	if (w->nbd_client && run_find(w->nbd_client, out->nbd_client, sizeof(out->nbd_client), &e) < 0)
		finding_refuse(f, EX_REFUSED, "nbd-client", "%s; install it (Debian: nbd-client)", e.text);
	look_at_module(f);
	look_at_device(w, out, f);
	look_at_memory(f);
	look_at_hibernation(f);
	look_at_address(uri, w, f);
	for (size_t i = 0; i < w->nservers; i++) {
		struct nbd_uri other = *uri;

		snprintf(other.host, sizeof(other.host), "%s", w->servers[i].host);
		look_at_address(&other, w, f);
	}
}
