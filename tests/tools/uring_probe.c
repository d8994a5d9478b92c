/*
 * uring_probe [buffers]: is there an io_uring here? Status 0, or 1 and the
 * reason on stdout, for tests that cannot run without. With `buffers` also what
 * the bonuses of stage 11 need: a kernel that has rings of buffers has
 * multishot accept as well, both since Linux 5.19.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By number and layout: headers may be older than the kernel. */
#define REGISTER_PBUF_RING 22

struct ring_of_buffers {
    uint64_t address;
    uint32_t entries;
    uint16_t group, flags;
    uint64_t reserved[3];
};

static int
no(const char *call)
{
    printf("%s: %s\n", call, strerror(errno));
    return 1;
}

int
main(int argc, char **argv)
{
    struct io_uring_params p = {0};
    int fd = (int)syscall(SYS_io_uring_setup, 8, &p);
    if (fd < 0)
        return no("io_uring_setup");
    if (!(p.features & IORING_FEAT_EXT_ARG)) {
        puts("io_uring is older than Linux 5.11");
        return 1;
    }
    if (argc < 2 || strcmp(argv[1], "buffers") != 0)
        return 0;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct ring_of_buffers ring = {.address = (uintptr_t)page, .entries = 8};
    if (syscall(SYS_io_uring_register, fd, REGISTER_PBUF_RING, &ring, 1) < 0)
        return no("IORING_REGISTER_PBUF_RING (Linux 5.19)");
    return 0;
}
