/* SPDX-License-Identifier: BSD-3-Clause */
/* What lies in files: the swap header as blkid and the kernel's mkswap see it, signatures, the state
 * of what is attached.
 */
#include "config.h"

#include "client/detach_one.h"
#include "client/hibernation.h"
#include "client/state.h"
#include "client/swaparea.h"
#include "client/swapheader.h"
#include "client/swaplive.h"
#include "common/signature.h"
#include "tests/client/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID "0f6732ca-603a-4484-9614-6de6d3648994"

static char dir[] = "/tmp/nbdswap-unit.XXXXXX";
static char file[64];

static int make_dir(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof(file), "%s/file", dir);
	return 0;
}

static int remove_dir(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static int new_file(off_t size)
{
	int fd = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	return fd;
}

/* What a program says about the file; "" when it is not there. */
static void ask(const char *program, char *out, size_t size)
{
	char command[200];
	size_t n;
	FILE *p;

	snprintf(command, sizeof(command), "PATH=$PATH:/usr/sbin:/sbin; %s %s 2>/dev/null", program, file);
	p = popen(command, "r");
	assert_non_null(p);
	n = fread(out, 1, size - 1, p);
	out[n] = '\0';
	pclose(p);
}

static void test_header_is_what_others_read(void **state)
{
	char out[1000];
	struct signature s;
	struct swap_header h;
	int fd = new_file(4 << 20);

	assert_int_equal(swapheader_read(fd, &h, NULL), 0);
	assert_int_equal(swapheader_write(fd, 4 << 20, "ws1", UUID, NULL), 0);
	assert_int_equal(swapheader_read(fd, &h, NULL), 1);
	assert_int_equal(((uint64_t)h.last_page + 1) * (uint64_t)sysconf(_SC_PAGESIZE), 4 << 20);
	assert_int_equal(signature_probe(fd, &s, NULL), 1);
	assert_true(signature_is_swap(&s));
	assert_string_equal(s.label, "ws1");
	assert_string_equal(s.uuid, UUID);
	ask("blkid -p -o export", out, sizeof(out));
	assert_non_null(strstr(out, "TYPE=swap"));
	assert_non_null(strstr(out, "LABEL=ws1"));
	assert_non_null(strstr(out, "UUID=" UUID));
	ask("swaplabel", out, sizeof(out));
	assert_non_null(strstr(out, UUID));
	close(fd);
}

/* Byte for byte the page that mkswap writes. */
static void test_header_is_mkswaps(void **state)
{
	unsigned char ours[4096], theirs[4096];
	char out[1000];
	int fd;

	if (sysconf(_SC_PAGESIZE) != 4096)
		skip();
	fd = new_file(4 << 20);
	ask("mkswap -p 4096 -L ws1 -U " UUID, out, sizeof(out));
	assert_int_equal(pread(fd, theirs, sizeof(theirs), 0), sizeof(theirs));
	if (!strstr(out, "ws1"))
		skip();
	assert_int_equal(swapheader_write(fd, 4 << 20, "ws1", UUID, NULL), 0);
	assert_int_equal(pread(fd, ours, sizeof(ours), 0), sizeof(ours));
	assert_memory_equal(ours, theirs, sizeof(ours));
	close(fd);
}

static void test_signatures(void **state)
{
	char out[1000];
	struct signature s;
	struct errbuf e = { 0 };
	int fd = new_file(8 << 20);

	assert_int_equal(signature_probe(fd, &s, &e), 0);
	assert_int_equal(pwrite(fd, "just some text", 14, 0), 14);
	assert_int_equal(signature_probe(fd, &s, &e), 0);
	ask("mkfs.ext4 -q -F -L fs", out, sizeof(out));
	assert_int_equal(signature_probe(fd, &s, &e), 1);
	assert_string_equal(s.type, "ext4");
	assert_string_equal(s.usage, "filesystem");
	assert_string_equal(s.label, "fs");
	assert_false(signature_is_swap(&s));
	close(fd);

	/* A partition table: 0x55aa and one entry. */
	fd = new_file(8 << 20);
	assert_int_equal(
		pwrite(fd, "\x00\x00\x01\x00\x83\x00\x02\x00\x01\x00\x00\x00\x00\x08\x00\x00", 16, 446), 16);
	assert_int_equal(pwrite(fd, "\x55\xaa", 2, 510), 2);
	assert_int_equal(signature_probe(fd, &s, &e), 1);
	assert_string_equal(s.type, "dos");
	assert_string_equal(s.usage, "partitions");
	close(fd);

	/* What cannot be read is an error and not "nothing". */
	fd = open(file, O_WRONLY | O_CLOEXEC);
	assert_int_equal(signature_probe(fd, &s, &e), -1);
	close(fd);
}

static void fill_state(struct attach_state *s, int index)
{
	memset(s, 0, sizeof(*s));
	nbddev_set(&s->dev, index);
	snprintf(s->uri, sizeof(s->uri), "nbd://h:10809/ws%d", index);
	strcpy(s->host, "h");
	strcpy(s->port, "10809");
	snprintf(s->export, sizeof(s->export), "ws%d \"\\\xc3\xa4", index);
	strcpy(s->client, "boot-id");
	s->size = 1ull << 40;
	strcpy(s->servers, "h:10809 192.0.2.7:1");
	s->swap_type = 3;
	strcpy(s->uuid, UUID);
	strcpy(s->discard, "pages");
	s->dead_link_timeout = 604800;
	s->queue_before = (struct queue_settings){ .io_timeout_ms = 30000, .rotational = -1, .scheduler = "mq-deadline" };
	s->link_inode = s->now_inode = 1ull << 33;
	s->link_port = s->now_port = 65535;
	s->flags = 0x123;
	s->generation = (struct generation){ .activation = 1795252880123, .lease = 7 };
	s->attached_at = 1795252880;
}

static void test_state(void **state)
{
	static struct state_list list;
	struct attach_state a, b;
	char sub[64], path[80];
	struct stat st;

	snprintf(sub, sizeof(sub), "%s/run", dir);
	assert_int_equal(state_load_all(sub, &list, NULL), 0);
	assert_int_equal(list.count, 0);
	assert_int_equal(state_dir_prepare(sub, NULL), 0);
	assert_int_equal(stat(sub, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	fill_state(&a, 10);
	fill_state(&b, 2);
	assert_int_equal(state_save(sub, &a, NULL), 0);
	assert_int_equal(state_save(sub, &b, NULL), 0);
	assert_int_equal(state_save(sub, &b, NULL), 0); /* replaces */
	snprintf(path, sizeof(path), "%s/nbd2.json", sub);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(state_load_all(sub, &list, NULL), 0);
	assert_int_equal(list.count, 2);
	assert_memory_equal(&list.states[0], &b, sizeof(b));
	assert_memory_equal(&list.states[1], &a, sizeof(a));
	assert_ptr_equal(state_by_device(&list, 10), &list.states[1]);
	assert_ptr_equal(state_by_uri(&list, "nbd://h:10809/ws2"), &list.states[0]);
	assert_null(state_by_uri(&list, "nbd://h:10809/ws3"));
	assert_int_equal(state_remove(sub, &b.dev, NULL), 0);
	assert_int_equal(state_remove(sub, &b.dev, NULL), 0);
	assert_int_equal(state_load_all(sub, &list, NULL), 0);
	assert_int_equal(list.count, 1);
}

static void test_damaged_state_is_an_error(void **state)
{
	static struct state_list list;
	struct errbuf e = { 0 };
	char sub[64], path[80];
	FILE *f;

	snprintf(sub, sizeof(sub), "%s/damaged", dir);
	assert_int_equal(state_dir_prepare(sub, NULL), 0);
	snprintf(path, sizeof(path), "%s/nbd0.json", sub);
	f = fopen(path, "w");
	fputs("{\"version\": 1, \"device\": \"nbd0\"", f);
	fclose(f);
	assert_int_equal(state_load_all(sub, &list, &e), -1);
	assert_non_null(strstr(e.text, path));
	f = fopen(path, "w");
	fputs("{\"version\": 1}", f);
	fclose(f);
	assert_int_equal(state_load_all(sub, &list, &e), -1);
	assert_non_null(strstr(e.text, "format"));
	assert_int_equal(chmod(sub, 0777), 0);
	assert_int_equal(state_dir_prepare(sub, &e), -1);
	assert_non_null(strstr(e.text, "others"));
}

static void test_state_lock(void **state)
{
	struct errbuf e = { 0 };
	int fd = state_lock(dir, 0, NULL);

	assert_true(fd >= 0);
	assert_int_equal(state_lock(dir, 0, &e), -1);
	assert_int_equal(e.code, EBUSY);
	close(fd);
	fd = state_lock(dir, 0, NULL);
	assert_true(fd >= 0);
	close(fd);
}

/* A loop device that others have claimed stands for one that is swap by another name, or mounted. */
static void test_claimed_is_not_disconnected(void **state)
{
	struct detach_request r = { .state_dir = dir, .force = true };
	struct detach_result result;
	static const volatile int stop;
	struct errbuf e = { 0 };
	char path[100];
	int fd = new_file(1 << 20);

	close(fd);
	ask("losetup -f --show", path, sizeof(path));
	path[strcspn(path, "\n")] = '\0';
	if (strncmp(path, "/dev/loop", 9) != 0 || strlen(path) >= sizeof(r.dev.path)) {
		print_message("needs a loop device\n");
		skip();
	}
	nbddev_set(&r.dev, 9999);
	memcpy(r.dev.path, path, strlen(path) + 1);
	snprintf(r.dev.name, sizeof(r.dev.name), "%.15s", path + 5);
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(nbddev_claimed(&r.dev));
	assert_int_equal(detach_one(&r, &result, &stop, &e), EX_FAIL);
	close(fd);
	assert_false(nbddev_claimed(&r.dev));
	snprintf(file, sizeof(file), "%s", path);
	ask("losetup -d", path, sizeof(path));
	snprintf(file, sizeof(file), "%s/file", dir);
	assert_int_equal(e.code, EBUSY);
}

/* A loop device stands for the second device of one export: attached under one of the server's names, it is attached under another. */
static void put(const char *name, const char *text)
{
	char path[160];
	FILE *f;

	/* The directories first. */
	for (const char *slash = strchr(name + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(path, sizeof(path), "%s%.*s", dir, (int)(slash - name), name);
		mkdir(path, 0700);
	}
	snprintf(path, sizeof(path), "%s%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_hibernation(void **state)
{
	assert_int_equal(hibernation_look(dir), HIBERNATION_OFF); /* no /sys/power at all */
	put("/sys/power/state", "freeze mem\n");
	assert_int_equal(hibernation_look(dir), HIBERNATION_OFF);
	put("/sys/power/state", "freeze mem disk\n");
	assert_int_equal(hibernation_look(dir), HIBERNATION_HERE);
	put("/sys/power/resume", "0:0\n");
	assert_int_equal(hibernation_look(dir), HIBERNATION_HERE);
	put("/sys/power/resume", "43:0\n"); /* of nbd */
	assert_int_equal(hibernation_look(dir), HIBERNATION_HERE);
	put("/sys/power/resume", "8:2\n");
	assert_int_equal(hibernation_look(dir), HIBERNATION_ELSEWHERE);
	put("/sys/power/resume", "0:0\n");
	put("/etc/systemd/sleep.conf", "[Sleep]\n#AllowHibernation=no\nAllowHibernation=yes\n");
	assert_int_equal(hibernation_look(dir), HIBERNATION_HERE);
	put("/etc/systemd/sleep.conf.d/10-no.conf", "[Sleep]\n AllowHibernation = No \n");
	assert_int_equal(hibernation_look(dir), HIBERNATION_FORBIDDEN);
}

static void test_own_swap_is_not_emptied(void **state)
{
	static struct state_list attached = { .count = 1 };
	static struct swap_list swaps;
	struct area_wishes w = { .label = "other", .attached = &attached, .swaps = &swaps, .force = true, .can_discard = true };
	unsigned char before[4096], after[4096];
	struct area_result out;
	struct errbuf e = { 0 };
	struct nbddev dev;
	char path[100];
	int rc, fd = new_file(4 << 20);

	assert_int_equal(swapheader_write(fd, 4 << 20, "ws1", UUID, NULL), 0);
	assert_int_equal(pread(fd, before, sizeof(before), 0), sizeof(before));
	ask("losetup -f --show", path, sizeof(path));
	path[strcspn(path, "\n")] = '\0';
	if (strncmp(path, "/dev/loop", 9) != 0 || strlen(path) >= sizeof(dev.path)) {
		print_message("needs a loop device\n");
		skip();
	}
	nbddev_set(&dev, 9999);
	memcpy(dev.path, path, strlen(path) + 1);
	fill_state(&attached.states[0], 3);
	snprintf(attached.states[0].uuid, sizeof(attached.states[0].uuid), UUID);
	rc = swaparea_prepare(&dev, 4 << 20, &w, &out, &e);
	assert_int_equal(pread(fd, after, sizeof(after), 0), sizeof(after));
	attached.states[0].uuid[0] ^= 1;
	assert_int_equal(swaparea_prepare(&dev, 4 << 20, &w, &out, NULL), 0);
	close(fd);
	snprintf(file, sizeof(file), "%s", path);
	ask("losetup -d", path, sizeof(path));
	snprintf(file, sizeof(file), "%s/file", dir);
	assert_int_equal(rc, -1);
	assert_int_equal(e.code, EEXIST);
	assert_non_null(strstr(e.text, "as nbd3"));
	assert_memory_equal(before, after, sizeof(before));
}

/* Of another state directory, or without its file: what is swapped on tells it itself. */
static void test_live_swap_is_found(void **state)
{
	static struct state_list known;
	static struct swap_list swaps = { .count = 2, .entries = { { .path = "/dev/zram0" }, { .path = "nbd7" } } };
	struct swap_header h;
	struct errbuf e = { 0 };
	int fd = new_file(4 << 20);

	assert_int_equal(swapheader_write(fd, 4 << 20, "ws1", UUID, NULL), 0);
	assert_int_equal(swapheader_read(fd, &h, NULL), 1);
	close(fd);
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(rename(file, "nbd7"), 0);
	assert_int_equal(swaplive_check(&swaps, &known, "/dev/nbd3", h.uuid, 30000, &e), -1);
	assert_int_equal(e.code, EEXIST);
	assert_non_null(strstr(e.text, UUID));
	assert_int_equal(swaplive_check(&swaps, &known, "nbd7", h.uuid, 30000, &e), 0);
	h.uuid[0] ^= 1;
	assert_int_equal(swaplive_check(&swaps, &known, "/dev/nbd3", h.uuid, 30000, &e), 0);
	/* One that does not answer is not waited for, nor asked where it is known what it has. */
	assert_int_equal(unlink("nbd7"), 0);
	assert_int_equal(mkfifo("nbd7", 0600), 0);
	assert_int_equal(swaplive_check(&swaps, &known, "/dev/nbd3", h.uuid, 20, &e), -1);
	assert_int_equal(e.code, EBUSY);
	known.count = 1;
	fill_state(&known.states[0], 7);
	snprintf(known.states[0].dev.path, sizeof(known.states[0].dev.path), "nbd7");
	snprintf(known.states[0].uuid, sizeof(known.states[0].uuid), UUID);
	assert_int_equal(swaplive_check(&swaps, &known, "/dev/nbd3", h.uuid, 20, &e), 0);
	assert_int_equal(chdir("/"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_is_what_others_read),
		cmocka_unit_test(test_header_is_mkswaps),
		cmocka_unit_test(test_signatures),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_damaged_state_is_an_error),
		cmocka_unit_test(test_state_lock),
		cmocka_unit_test(test_claimed_is_not_disconnected),
		cmocka_unit_test(test_hibernation),
		cmocka_unit_test(test_own_swap_is_not_emptied),
		cmocka_unit_test(test_live_swap_is_found),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
