/* Whatever a game may draw chance from, or tell two of its processes apart by, follows from the seed. */
#define _GNU_SOURCE
#include "hook.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEVICE_BYTES (1 << 20)
/* No process has it: a game that sends itself a signal by number harms nobody. */
#define CONSTANT_PID 0x7ffffff

static uint64_t state;

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t draw(void) {
    if (!state)
        state = session_number("NITROGEN_SEED", 0) * 0x9e3779b97f4a7c15ULL + 1;
    uint64_t z = state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static void fill(void *buffer, size_t size) {
    for (uint8_t *byte = buffer; size--; byte++)
        *byte = (uint8_t)draw();
}

EXPORT ssize_t getrandom(void *buffer, size_t size, unsigned flags) {
    if (!session_is_open())
        return syscall(SYS_getrandom, buffer, size, flags);
    fill(buffer, size);
    return (ssize_t)size;
}

EXPORT int getentropy(void *buffer, size_t size) {
    return getrandom(buffer, size, 0) == (ssize_t)size ? 0 : -1;
}

EXPORT uint32_t arc4random(void) {
    uint32_t value;
    getrandom(&value, sizeof value, 0);
    return value;
}

EXPORT void arc4random_buf(void *buffer, size_t size) { getrandom(buffer, size, 0); }

EXPORT uint32_t arc4random_uniform(uint32_t bound) { return bound ? arc4random() % bound : 0; }

/* std::random_device asks the processor. */
EXPORT unsigned _ZNSt13random_device9_M_getvalEv(void *self) {
    (void)self;
    return arc4random();
}

/* The number also names the contexts of libglvnd: a restored process must keep it. */
EXPORT pid_t getpid(void) {
    return session_is_open() ? CONSTANT_PID : (pid_t)syscall(SYS_getpid);
}

/* More cores would only make more threads, and these cannot be saved. */
EXPORT long sysconf(int name) {
    static long (*real)(int);
    if (!real)
        real = dlsym(RTLD_NEXT, "sysconf");
    bool is_cores = name == _SC_NPROCESSORS_ONLN || name == _SC_NPROCESSORS_CONF;
    return is_cores && session_is_open() ? 1 : real(name);
}

EXPORT int get_nprocs(void) { return (int)sysconf(_SC_NPROCESSORS_ONLN); }

static int open_chance(void) {
    static char bytes[DEVICE_BYTES];
    int file = memfd_create("chance", MFD_CLOEXEC);
    fill(bytes, sizeof bytes);
    if (file < 0 || write(file, bytes, sizeof bytes) < 0)
        return -1;
    lseek(file, 0, SEEK_SET);
    return file;
}

/* Says whether a path is one of the two that a game must not see as they are. */
static bool is_replaced(const char *path, int *file) {
    if (!path || !session_is_open())
        return false;
    if (!strcmp(path, "/dev/urandom") || !strcmp(path, "/dev/random")) {
        *file = open_chance();
        return true;
    }
    if (!strncmp(path, "/dev/input", 10)) {
        /* A gamepad of the machine's owner would play along. */
        errno = ENOENT;
        *file = -1;
        return true;
    }
    return false;
}

#define OPEN(folder)                                                                                \
    int file;                                                                                       \
    if (is_replaced(path, &file))                                                                   \
        return file;                                                                                \
    mode_t mode = 0;                                                                                \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                          \
        va_list list;                                                                               \
        va_start(list, flags);                                                                      \
        mode = va_arg(list, mode_t);                                                                \
        va_end(list);                                                                               \
    }                                                                                               \
    return (int)syscall(SYS_openat, folder, path, flags, mode)

EXPORT int open(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
EXPORT int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
EXPORT int openat(int folder, const char *path, int flags, ...) { OPEN(folder); }
EXPORT int openat64(int folder, const char *path, int flags, ...) { OPEN(folder); }

static FILE *open_stream(const char *name, const char *path, const char *mode) {
    int file;
    if (is_replaced(path, &file))
        return file < 0 ? NULL : fdopen(file, mode);
    FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, name);
    return real(path, mode);
}

EXPORT FILE *fopen(const char *restrict path, const char *restrict mode) {
    return open_stream("fopen", path, mode);
}
EXPORT FILE *fopen64(const char *restrict path, const char *restrict mode) {
    return open_stream("fopen64", path, mode);
}
