/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk with a volatile cache, as an nbdkit plugin: what was not flushed when its client goes (a guest whose power fails) is, sector by sector, on the
 * disk or not, as chance has it.
 *
 *	nbdkit -U SOCKET nbdkit-volatile-plugin.so size=SIZE [flush-ms=N] [lies=PATH] [seed=N]
 *
 * A flush takes flush-ms, so that there is mostly something that is not flushed.  While there is a file of the name lies=, flushes do nothing, as on a disk that lies.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS
#define SECTOR 512u

static int64_t size;
static char *lies;
static unsigned flush_ms;
static uint64_t seed = 1;
static unsigned char *durable, *current;
static uint8_t *dirty; /* of each sector: written since the last flush? */

static int config(const char *key, const char *value)
{
	if (strcmp(key, "size") == 0)
		return (size = nbdkit_parse_size(value)) > 0 && size % SECTOR == 0 ? 0 : -1;
	if (strcmp(key, "seed") == 0)
		return nbdkit_parse_uint64_t(key, value, &seed);
	if (strcmp(key, "flush-ms") == 0)
		return nbdkit_parse_unsigned(key, value, &flush_ms);
	if (strcmp(key, "lies") == 0)
		return (lies = nbdkit_absolute_path(value)) ? 0 : -1;
	nbdkit_error("%s=%s is not understood", key, value);
	return -1;
}

static void *memory(size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static int get_ready(void)
{
	durable = memory((size_t)size);
	current = memory((size_t)size);
	dirty = memory((size_t)size / SECTOR);
	if (size > 0 && durable != MAP_FAILED && current != MAP_FAILED && dirty != MAP_FAILED)
		return 0;
	nbdkit_error("no disk of %lld bytes", (long long)size);
	return -1;
}

static void *volatile_open(int readonly)
{
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t get_size(void *handle)
{
	return size;
}

static int can_fua(void *handle)
{
	return NBDKIT_FUA_EMULATE;
}

static int volatile_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	memcpy(buf, current + offset, count);
	return 0;
}

static int volatile_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	memcpy(current + offset, buf, count);
	memset(dirty + offset / SECTOR, 1, (offset + count - 1) / SECTOR - offset / SECTOR + 1);
	return 0;
}

static int volatile_flush(void *handle, uint32_t flags)
{
	uint8_t *end = dirty + size / SECTOR;

	if (flush_ms && nbdkit_nanosleep(flush_ms / 1000, flush_ms % 1000 * 1000000) < 0)
		return -1; /* the power failed meanwhile */
	if (lies && access(lies, F_OK) == 0)
		return 0;
	for (uint8_t *d = dirty; d < end && (d = memchr(d, 1, (size_t)(end - d))); *d++ = 0)
		memcpy(durable + (d - dirty) * SECTOR, current + (d - dirty) * SECTOR, SECTOR);
	return 0;
}

static bool chance(void)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return seed >> 63;
}

static void volatile_close(void *handle)
{
	uint64_t kept = 0, lost = 0;

	for (uint64_t i = 0; i < (uint64_t)size / SECTOR; i++) {
		bool keep;

		if (!dirty[i])
			continue;
		keep = chance();
		memcpy((keep ? durable : current) + i * SECTOR, (keep ? current : durable) + i * SECTOR, SECTOR);
		dirty[i] = 0;
		*(keep ? &kept : &lost) += 1;
	}
	nbdkit_debug("cut: %llu sectors that were not flushed are kept, %llu lost", (unsigned long long)kept, (unsigned long long)lost);
}

static struct nbdkit_plugin plugin = {
	.name = "volatile",
	.config = config,
	.config_help = "size=<SIZE> flush-ms=<N> lies=<PATH> seed=<N>",
	.get_ready = get_ready,
	.open = volatile_open,
	.close = volatile_close,
	.get_size = get_size,
	.can_fua = can_fua,
	.pread = volatile_pread,
	.pwrite = volatile_pwrite,
	.flush = volatile_flush,
};

NBDKIT_REGISTER_PLUGIN(plugin)
