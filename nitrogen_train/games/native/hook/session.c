/* The game's processes, and their talk with whoever plays.
 *
 *   player ── life ────► supervisor ── starts, reaps, ends ──► game, saved states
 *          ── control ─► game: a frame out, a pad in
 *          ── one more ► each saved state: asleep until it is told to play on, or its line is closed
 *
 * Every process is a child of the supervisor (CLONE_PARENT), and dies with it. The supervisor ends
 * them all when the player's end of `life` closes, however the player has died, and removes HOME.
 */
#define _GNU_SOURCE
#include "hook.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The same in every run, so that no number of a file makes two runs differ. */
#define CONTROL_FD 198
#define FRAMES_FD 199
#define FIRST_FREE_FD 210
#define FAILED 86
#define MAX_WAITS_MS 200
#define MAX_CLONES 50

static struct picture picture;
static uint32_t presents_to_go = 1;
static uint64_t presents;
static int control = CONTROL_FD;

bool session_is_open(void) {
    static int is_open = -1;
    if (is_open < 0) {
        const char *stage = getenv("NITROGEN_SESSION");
        is_open = stage && !strcmp(stage, "open");
    }
    return is_open;
}

uint64_t session_number(const char *name, uint64_t fallback) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : fallback;
}

void session_fail(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "nitrogen-train's hook: ");
    vfprintf(stderr, format, list);
    fprintf(stderr, "\n");
    fflush(NULL);
    va_end(list);
    _exit(FAILED);
}

/* ---- the game -------------------------------------------------------------------------------- */

uint32_t session_count_threads(void) {
    uint32_t n = 0;
    DIR *threads = opendir("/proc/self/task");
    if (!threads)
        return 0;
    for (struct dirent *entry; (entry = readdir(threads));)
        n += entry->d_name[0] != '.';
    closedir(threads);
    return n;
}

/* Sums up how long the other threads have run, in ns; UINT64_MAX if one is not asleep. */
static uint64_t measure_others(void) {
    int self = (int)syscall(SYS_gettid);
    uint64_t total = 0;
    DIR *threads = opendir("/proc/self/task");
    for (struct dirent *entry; threads && (entry = readdir(threads));) {
        int thread = atoi(entry->d_name);
        if (!thread || thread == self)
            continue;
        char path[64], text[512] = "";
        uint64_t ran = 0, waited = 0, slices = 0;
        snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", thread);
        int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
        if (file >= 0 && read(file, text, sizeof text - 1) > 0)
            sscanf(text, "%lu %lu %lu", &ran, &waited, &slices);
        close(file);
        total += ran + slices;
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
        file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
        ssize_t size = file >= 0 ? read(file, text, sizeof text - 1) : 0;
        close(file);
        text[size > 0 ? size : 0] = 0;
        const char *name_end = strrchr(text, ')');
        if (name_end && name_end[1] && name_end[2] != 'S')
            total = UINT64_MAX;
        if (total == UINT64_MAX)
            break;
    }
    if (threads)
        closedir(threads);
    return total;
}

/* Waits for all threads but this one to sleep, and returns how long they have run. */
static uint64_t await_others(void) {
    uint64_t ran = UINT64_MAX;
    for (int tries = 0; tries < MAX_WAITS_MS && (ran = measure_others()) == UINT64_MAX; tries++)
        syscall(SYS_nanosleep, &(struct timespec){.tv_nsec = 1000000}, NULL);
    return ran;
}

static bool waits_for_threads(void) {
    static int drops = -1;
    if (drops < 0)
        drops = session_number("NITROGEN_WAIT_FOR_THREADS", 0) != 0;
    return drops;
}

struct picture *session_begin_present(void) {
    if (!session_is_open())
        return NULL;
    presents++;
    /* Work that they do beside the main thread is done by the same frame in every run. */
    if (waits_for_threads())
        await_others();
    if (--presents_to_go)
        return NULL;
    if (!picture.pixels) {
        struct stat status;
        if (fstat(FRAMES_FD, &status))
            session_fail("the memory for frames is closed: %s", strerror(errno));
        picture.capacity = (size_t)status.st_size;
        picture.pixels = mmap(NULL, picture.capacity, PROT_READ | PROT_WRITE, MAP_SHARED, FRAMES_FD, 0);
        if (picture.pixels == MAP_FAILED)
            session_fail("the memory for frames cannot be mapped: %s", strerror(errno));
    }
    return &picture;
}

static void answer(int channel, struct reply *reply) {
    reply->num_threads = session_count_threads();
    reply->pad_opens = sdl_count_pad_opens();
    reply->clock_ns = clock_now_ns();
    reply->presents = presents;
    if (!reply->pid)
        reply->pid = (int32_t)syscall(SYS_getpid);
    if (send(channel, reply, sizeof *reply, MSG_NOSIGNAL) != sizeof *reply)
        _exit(0);
}

/* Receives a command, and the channel that may come with it. Who closed the line is not waited for. */
static struct command receive(int channel, int *given) {
    struct command command;
    char space[CMSG_SPACE(sizeof(int))];
    struct iovec part = {.iov_base = &command, .iov_len = sizeof command};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    ssize_t size;
    do
        size = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    if (size != sizeof command)
        _exit(0);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *given = -1;
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(given, CMSG_DATA(header), sizeof *given);
    return command;
}

static pid_t clone_process(void) {
    /* Not fork: a brother, which the supervisor reaps, and which libc believes to be the same. */
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

/* Sleeps as a saved state; each time it is told to, a clone goes on playing over a new channel. */
static void sleep_until_restored(int channel) {
    for (;;) {
        int given;
        receive(channel, &given);
        pid_t pid = clone_process();
        if (pid == 0) {
            close(channel);
            control = given;
            clock_claim_main_thread();
            return;
        }
        close(given);
        if (pid < 0) {
            struct reply reply = {.kind = REPLY_REFUSED};
            snprintf(reply.reason, sizeof reply.reason, "fork: %s", strerror(errno));
            answer(channel, &reply);
        }
    }
}

/* Closed while the process is cloned: a thread whose sleep ends waits there, where it holds nothing. */
static _Atomic int is_gate_closed;

void session_pass_gate(void) {
    while (atomic_load(&is_gate_closed))
        syscall(SYS_futex, &is_gate_closed, FUTEX_WAIT, 1, NULL, NULL, 0);
}

/* Clones the process while its other threads sleep: what they held, nobody would ever release.
 * Returns -1 with EBUSY if one of them ran each time. */
static pid_t clone_asleep(void) {
    pid_t pid = -1;
    atomic_store(&is_gate_closed, 1);
    for (int tries = 0; pid < 0 && tries < MAX_CLONES; tries++) {
        uint64_t ran = await_others();
        pid = ran == UINT64_MAX ? -1 : clone_process();
        if (pid > 0 && measure_others() != ran) {
            kill(pid, SIGKILL);
            pid = -1;
        }
    }
    atomic_store(&is_gate_closed, 0);
    syscall(SYS_futex, &is_gate_closed, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    if (pid < 0)
        errno = EBUSY;
    return pid;
}

/* Returns in the game, and again in each restored one. */
static void save(int channel) {
    struct reply reply = {.kind = REPLY_SAVED};
    uint32_t num_threads = session_count_threads();
    if (num_threads > 1 && !waits_for_threads()) {
        reply.kind = REPLY_REFUSED;
        snprintf(reply.reason, sizeof reply.reason, "%u threads", num_threads);
    } else {
        pid_t pid = num_threads > 1 ? clone_asleep() : clone_process();
        if (pid == 0) {
            close(control);
            sleep_until_restored(channel);
            if (num_threads > 1) {
                threads_revive();
                await_others();
            }
            reply.kind = REPLY_FRAME;
            reply.width = picture.width;
            reply.height = picture.height;
            reply.is_flipped = picture.is_flipped;
            answer(control, &reply);
            return;
        }
        reply.pid = pid;
        if (pid < 0) {
            reply.kind = REPLY_REFUSED;
            snprintf(reply.reason, sizeof reply.reason, "fork: %s", strerror(errno));
        }
    }
    close(channel);
    answer(control, &reply);
}

void session_end_present(struct picture *shown) {
    if ((size_t)shown->width * shown->height * 4 > shown->capacity)
        session_fail("a picture of %ux%u is larger than the memory for it", shown->width, shown->height);
    /* Before a clone: what is still in a buffer would be written twice. */
    fflush(NULL);
    struct reply reply = {.kind = REPLY_FRAME,
                          .width = shown->width,
                          .height = shown->height,
                          .is_flipped = shown->is_flipped};
    clock_hold(true);
    answer(control, &reply);
    for (;;) {
        int given;
        struct command command = receive(control, &given);
        if (command.operation == OP_SAVE && given >= 0) {
            save(given);
        } else if (command.operation == OP_STEP && command.presents) {
            presents_to_go = command.presents;
            clock_hold(false);
            sdl_apply_pad(&command.pad);
            return;
        } else {
            session_fail("unknown operation %u", command.operation);
        }
    }
}

/* ---- the supervisor -------------------------------------------------------------------------- */

struct death {
    int32_t pid, status;
};

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place) {
    (void)status, (void)type, (void)place;
    remove(path);
    return 0;
}

static void kill_children(pid_t group) {
    kill(-group, SIGKILL);
    /* What has left the group, and orphans that have come to us since. */
    FILE *children = fopen("/proc/thread-self/children", "r");
    int pid;
    while (children && fscanf(children, "%d", &pid) == 1)
        kill(pid, SIGKILL);
    if (children)
        fclose(children);
}

static bool reap(int life, bool is_ending) {
    struct death death;
    while ((death.pid = waitpid(-1, &death.status, WNOHANG)) > 0)
        if (!is_ending)
            send(life, &death, sizeof death, MSG_DONTWAIT | MSG_NOSIGNAL);
    return death.pid == 0;
}

__attribute__((noreturn)) static void supervise(int life, pid_t game, const char *home) {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    int deaths = signalfd(-1, &child, SFD_CLOEXEC);
    struct pollfd files[] = {{.fd = life, .events = POLLIN}, {.fd = deaths, .events = POLLIN}};
    for (;;) {
        reap(life, false);
        if (poll(files, 2, -1) < 0 && errno != EINTR)
            break;
        struct signalfd_siginfo info;
        if (files[1].revents && read(deaths, &info, sizeof info) < 0)
            break;
        char byte;
        if (files[0].revents && recv(life, &byte, 1, 0) <= 0)
            break;
    }
    do
        kill_children(game);
    while (reap(life, true) && !usleep(1000));
    nftw(home, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    _exit(0);
}

/* Starts the program once more, at the same addresses in every run. */
__attribute__((noreturn)) static void start_game(pid_t supervisor, const char *home, char **argv) {
    char program[4096];
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    program[size < 0 ? 0 : size] = 0;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != supervisor)
        _exit(0);
    /* A game that spins would keep a real-time player of the same rank from the processor for ever. */
    struct sched_param rank;
    if (sched_getscheduler(0) == SCHED_FIFO && !sched_getparam(0, &rank))
        sched_setscheduler(0, SCHED_RR, &rank);
    personality((unsigned long)personality(0xffffffff) | ADDR_NO_RANDOMIZE);
    setenv("NITROGEN_SESSION", "open", 1);
    setenv("HOME", home, 1);
    setenv("XDG_RUNTIME_DIR", home, 1);
    const char *folder = getenv("NITROGEN_CWD");
    if (chdir(folder ? folder : home))
        session_fail("no folder %s: %s", folder, strerror(errno));
    execve(program, argv, environ);
    session_fail("%s cannot be started: %s", program, strerror(errno));
}

static void move_fd(int *file) {
    int moved = fcntl(*file, F_DUPFD, FIRST_FREE_FD);
    if (moved < 0)
        session_fail("file numbers up to %d are needed (ulimit -n): %s", FIRST_FREE_FD + 8, strerror(errno));
    close(*file);
    *file = moved;
}

/* Runs in every process that loads this library; the first one becomes the supervisor. */
__attribute__((constructor)) static void begin(int argc, char **argv, char **envp) {
    (void)argc, (void)envp;
    const char *files = getenv("NITROGEN_SESSION");
    int life, frames, channel;
    if (!files || sscanf(files, "%d,%d,%d", &life, &channel, &frames) != 3)
        return;
    move_fd(&life);
    move_fd(&channel);
    move_fd(&frames);
    fcntl(life, F_SETFD, FD_CLOEXEC);
    char home[4096];
    const char *pattern = getenv("NITROGEN_HOME");
    snprintf(home, sizeof home, "%s", pattern ? pattern : "");
    if (!mkdtemp(home))
        session_fail("no folder for the game's files, %s: %s", home, strerror(errno));
    char go;
    if (send(life, home, strlen(home), MSG_NOSIGNAL) < 0 || recv(life, &go, 1, 0) != 1) {
        nftw(home, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        _exit(0);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t supervisor = (pid_t)syscall(SYS_getpid), game = fork();
    if (game == 0) {
        dup2(channel, CONTROL_FD);
        dup2(frames, FRAMES_FD);
        close(channel);
        close(frames);
        start_game(supervisor, home, argv);
    }
    close(channel);
    close(frames);
    if (game < 0)
        session_fail("fork: %s", strerror(errno));
    supervise(life, game, home);
}
