/* One clock for all threads of the game.
 *
 * It stands still while the game computes, and moves
 *   - at a present, to one frame's length after the last one;
 *   - by what the main thread sleeps, which takes no real time; a sleep of more than a frame ends frames;
 *   - after many reads in one frame, a little at each: a game that spins until a time comes gets there.
 * Sleeps and waits of other threads stay real. Deadlines on the game's clock are translated.
 */
#define _GNU_SOURCE
#include "hook.h"
#include "sdl.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ULL
#define MONOTONIC_START_S 1000
#define FREE_READS 1000
/* How often they read it differs from run to run. */
#define FREE_READS_OF_OTHERS 1000000
#define READ_NS 10000ULL

static _Atomic uint64_t now_ns;
static uint64_t frame_start_ns, frame_ns, epoch_s;
static _Atomic uint32_t reads, reads_of_others;
static atomic_bool is_waiting;
static pid_t main_thread;

static void prepare(void) {
    if (frame_ns)
        return;
    epoch_s = session_number("NITROGEN_EPOCH_S", 1700000000);
    frame_ns = session_number("NITROGEN_FRAME_NS", SECOND / 60);
}

static bool is_virtual(void) { return session_is_open(); }

bool clock_is_main_thread(void) {
    pid_t thread = (pid_t)syscall(SYS_gettid);
    return main_thread ? thread == main_thread : thread == (pid_t)syscall(SYS_getpid);
}

/* Whoever presents is the main thread; after a restore its number is another one. */
void clock_claim_main_thread(void) { main_thread = (pid_t)syscall(SYS_gettid); }

void clock_hold(bool is_held) { atomic_store(&is_waiting, is_held); }

uint64_t clock_now_ns(void) { return atomic_load(&now_ns); }

void clock_end_frame(void) {
    prepare();
    uint64_t end = frame_start_ns + frame_ns;
    if (atomic_load(&now_ns) < end)
        atomic_store(&now_ns, end);
    frame_start_ns = atomic_load(&now_ns);
    atomic_store(&reads, 0);
    atomic_store(&reads_of_others, 0);
}

static uint64_t read_clock(void) {
    prepare();
    bool is_main = clock_is_main_thread();
    if (!atomic_load(&is_waiting) && atomic_fetch_add(is_main ? &reads : &reads_of_others, 1)
                                         >= (is_main ? FREE_READS : FREE_READS_OF_OTHERS))
        atomic_fetch_add(&now_ns, READ_NS);
    return atomic_load(&now_ns);
}

/* A game that waits without presenting, as menus do that are drawn once, shows the same frame again:
 * else no pad would ever reach it. */
void clock_sleep(uint64_t ns) {
    prepare();
    static bool is_shown_again;
    uint64_t end = atomic_load(&now_ns) + ns;
    while (!is_shown_again && end >= frame_start_ns + 2 * frame_ns && sdl_can_show_again()) {
        uint64_t next = frame_start_ns + frame_ns;
        if (atomic_load(&now_ns) < next)
            atomic_store(&now_ns, next);
        is_shown_again = true;
        sdl_show_again();
        is_shown_again = false;
    }
    if (atomic_load(&now_ns) < end)
        atomic_store(&now_ns, end);
    sdl_run_timers();
    /* Before its first picture a game may wait for a sound to end. */
    if (!sdl_can_show_again())
        sound_play(end);
}

static bool is_wall_clock(clockid_t id) {
    return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI;
}

static struct timespec to_timespec(uint64_t ns, bool is_wall) {
    struct timespec t = {.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)};
    t.tv_sec += is_wall ? (time_t)epoch_s : MONOTONIC_START_S;
    return t;
}

/* Time from the game's now to a deadline on its clock, 0 if it has passed. */
static uint64_t until(const struct timespec *deadline, bool is_wall) {
    struct timespec now = to_timespec(read_clock(), is_wall);
    int64_t ns = ((int64_t)deadline->tv_sec - now.tv_sec) * (int64_t)SECOND
        + deadline->tv_nsec - now.tv_nsec;
    return ns > 0 ? (uint64_t)ns : 0;
}

static int real_clock(clockid_t id, struct timespec *t) {
    return (int)syscall(SYS_clock_gettime, id, t);
}

static struct timespec real_deadline(clockid_t id, uint64_t ns) {
    struct timespec t;
    real_clock(id, &t);
    ns += (uint64_t)t.tv_nsec;
    t.tv_sec += (time_t)(ns / SECOND);
    t.tv_nsec = (long)(ns % SECOND);
    return t;
}

EXPORT int clock_gettime(clockid_t id, struct timespec *t) {
    if (!is_virtual())
        return real_clock(id, t);
    *t = to_timespec(read_clock(), is_wall_clock(id));
    return 0;
}

EXPORT int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *t = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

EXPORT time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t)
        *t = now.tv_sec;
    return now.tv_sec;
}

EXPORT int timespec_get(struct timespec *t, int base) {
    clock_gettime(CLOCK_REALTIME, t);
    return base;
}

EXPORT clock_t clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return is_virtual() ? (clock_t)(clock_now_ns() / 1000)
                        : (clock_t)(now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

EXPORT clock_t times(struct tms *buffer) {
    if (!is_virtual())
        return (clock_t)syscall(SYS_times, buffer);
    clock_t ticks = (clock_t)(read_clock() / (SECOND / 100));
    if (buffer)
        *buffer = (struct tms){.tms_utime = ticks};
    return ticks;
}

static bool sleeps_virtually(void) { return is_virtual() && clock_is_main_thread(); }

EXPORT int clock_nanosleep(clockid_t id, int flags, const struct timespec *t, struct timespec *rest) {
    if (!is_virtual())
        return syscall(SYS_clock_nanosleep, id, flags, t, rest) ? errno : 0;
    uint64_t ns = flags & TIMER_ABSTIME ? until(t, is_wall_clock(id))
                                        : (uint64_t)t->tv_sec * SECOND + (uint64_t)t->tv_nsec;
    if (sleeps_virtually()) {
        clock_sleep(ns);
        return 0;
    }
    struct timespec real = {.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)};
    int error = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &real, rest) ? errno : 0;
    session_pass_gate();
    return error;
}

EXPORT int nanosleep(const struct timespec *t, struct timespec *rest) {
    int error = clock_nanosleep(CLOCK_MONOTONIC, 0, t, rest);
    errno = error;
    return error ? -1 : 0;
}

EXPORT int usleep(useconds_t us) {
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};
    return nanosleep(&t, NULL);
}

EXPORT unsigned sleep(unsigned s) {
    struct timespec t = {.tv_sec = s};
    return nanosleep(&t, &t) ? (unsigned)t.tv_sec : 0;
}

EXPORT int thrd_sleep(const struct timespec *t, struct timespec *rest) { return nanosleep(t, rest); }

static int sleep_timeval(const struct timeval *t) {
    struct timespec s = {.tv_sec = t->tv_sec, .tv_nsec = t->tv_usec * 1000};
    return nanosleep(&s, NULL);
}

/* A wait for no file at all is a sleep. */
EXPORT int select(int n, fd_set *restrict in, fd_set *restrict out, fd_set *restrict error,
                  struct timeval *restrict t) {
    if (!in && !out && !error && t && sleeps_virtually())
        return sleep_timeval(t);
    return (int)syscall(SYS_select, n, in, out, error, t);
}

EXPORT int poll(struct pollfd *files, nfds_t n, int ms) {
    if (!n && ms > 0 && sleeps_virtually())
        return usleep((useconds_t)ms * 1000);
    return (int)syscall(SYS_poll, files, n, ms);
}

static void *next(const char *name, const char *version) {
    void *symbol = version ? dlvsym(RTLD_NEXT, name, version) : NULL;
    return symbol ? symbol : dlsym(RTLD_NEXT, name);
}

/* Of a condition variable nobody knows the clock any more: the wall's is decades ahead. */
static bool looks_like_wall_clock(const struct timespec *deadline) {
    return deadline->tv_sec > 100000000;
}

/* One wait with a deadline on the game's clock. With no other thread there is nobody to end it. */
#define WAIT(real_call)                                                                             \
    if (!is_virtual())                                                                              \
        return real_call(*deadline);                                                                \
    uint64_t ns = until(deadline, is_wall);                                                         \
    bool is_main = clock_is_main_thread();                                                          \
    int result = real_call(real_deadline(is_wall ? CLOCK_REALTIME : CLOCK_MONOTONIC,               \
                                         is_main && session_count_threads() < 2 ? 0 : ns));                     \
    if (is_main && (result == ETIMEDOUT || (result == -1 && errno == ETIMEDOUT))) {                 \
        int error = errno;                                                                          \
        clock_sleep(ns);                                                                        \
        errno = error;                                                                              \
    }                                                                                               \
    return result

EXPORT int pthread_cond_timedwait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m,
                                  const struct timespec *restrict deadline) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real)
        real = next("pthread_cond_timedwait", "GLIBC_2.3.2");
    threads_prepare_condition(c);
    bool is_wall = looks_like_wall_clock(deadline);
#define CALL(t) real(c, m, &(struct timespec){(t).tv_sec, (t).tv_nsec})
    WAIT(CALL);
#undef CALL
}

EXPORT int pthread_cond_clockwait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m,
                                  clockid_t id, const struct timespec *restrict deadline) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    if (!real)
        real = next("pthread_cond_clockwait", NULL);
    threads_prepare_condition(c);
    bool is_wall = is_wall_clock(id);
#define CALL(t) real(c, m, id, &(struct timespec){(t).tv_sec, (t).tv_nsec})
    WAIT(CALL);
#undef CALL
}

EXPORT int pthread_cond_wait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *);
    if (!real)
        real = next("pthread_cond_wait", "GLIBC_2.3.2");
    threads_prepare_condition(c);
    return real(c, m);
}

EXPORT int pthread_cond_signal(pthread_cond_t *c) {
    static int (*real)(pthread_cond_t *);
    if (!real)
        real = next("pthread_cond_signal", "GLIBC_2.3.2");
    threads_prepare_condition(c);
    return real(c);
}

EXPORT int pthread_cond_broadcast(pthread_cond_t *c) {
    static int (*real)(pthread_cond_t *);
    if (!real)
        real = next("pthread_cond_broadcast", "GLIBC_2.3.2");
    threads_prepare_condition(c);
    return real(c);
}

EXPORT int sem_timedwait(sem_t *restrict s, const struct timespec *restrict deadline) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real)
        real = next("sem_timedwait", NULL);
    bool is_wall = true;
#define CALL(t) real(s, &(struct timespec){(t).tv_sec, (t).tv_nsec})
    WAIT(CALL);
#undef CALL
}

EXPORT int pthread_mutex_timedlock(pthread_mutex_t *restrict m,
                                   const struct timespec *restrict deadline) {
    static int (*real)(pthread_mutex_t *, const struct timespec *);
    if (!real)
        real = next("pthread_mutex_timedlock", NULL);
    bool is_wall = true;
#define CALL(t) real(m, &(struct timespec){(t).tv_sec, (t).tv_nsec})
    WAIT(CALL);
#undef CALL
}
