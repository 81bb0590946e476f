/* The game's other threads in a restored process: a clone has but the thread that made it.
 *
 * Those of C++ are started anew, each from its beginning, which is right for those that wait for work,
 * as for loading and sound. The condition variables on which they waited still count them: each is emptied
 * when it is first used.
 */
#define _GNU_SOURCE
#include "hook.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 64
#define MAX_CONDITIONS 4096

struct thread {
    void *(*run)(void *);
    void *argument;
    bool is_running;
};

/* A thread of C++ has its arguments as long as it runs; others may have freed them. */
static bool can_start_anew(void *(*start)(void *)) {
    Dl_info place;
    return dladdr((void *)start, &place) && place.dli_fname && strstr(place.dli_fname, "libstdc++");
}

static struct thread threads[MAX_THREADS];
static pthread_cond_t *emptied[MAX_CONDITIONS];
static bool is_revived;
static atomic_flag lock = ATOMIC_FLAG_INIT;

static void enter(void) {
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        ;
}

static void leave(void) { atomic_flag_clear_explicit(&lock, memory_order_release); }

static int (*real_create(void))(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real)
        real = dlsym(RTLD_NEXT, "pthread_create");
    return real;
}

static void *run(void *argument) {
    struct thread *thread = argument;
    void *result = thread->run(thread->argument);
    thread->is_running = false;
    return result;
}

EXPORT int pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *argument) {
    if (!session_is_open() || !can_start_anew(start))
        return real_create()(id, attributes, start, argument);
    struct thread *free_thread = NULL;
    enter();
    for (struct thread *thread = threads; thread < threads + MAX_THREADS && !free_thread; thread++)
        if (!thread->is_running)
            free_thread = thread;
    if (free_thread)
        *free_thread = (struct thread){start, argument, true};
    leave();
    if (!free_thread)
        return real_create()(id, attributes, start, argument);
    int error = real_create()(id, attributes, run, free_thread);
    if (error)
        free_thread->is_running = false;
    return error;
}

void threads_revive(void) {
    is_revived = true;
    memset(emptied, 0, sizeof emptied);
    atomic_flag_clear(&lock);
    for (struct thread *thread = threads; thread < threads + MAX_THREADS; thread++) {
        pthread_t id;
        if (thread->is_running && real_create()(&id, NULL, run, thread))
            session_fail("a thread of the game cannot be started anew");
    }
}

/* glibc's layout since 2.25: the last but two numbers holds two bits that say the kind, and stays. */
static void empty(pthread_cond_t *c) {
    enum { KIND = 9, KIND_BITS = 3 };
    unsigned *words = (unsigned *)c, kind = words[KIND] & KIND_BITS;
    memset(words, 0, sizeof *c);
    words[KIND] = kind;
}

void threads_prepare_condition(pthread_cond_t *c) {
    if (!is_revived)
        return;
    enter();
    size_t place = ((size_t)c >> 4) % MAX_CONDITIONS;
    while (emptied[place] && emptied[place] != c)
        place = (place + 1) % MAX_CONDITIONS;
    if (!emptied[place]) {
        empty(c);
        emptied[place] = c;
    }
    leave();
}

/* A variable that comes into being has no waiters, wherever it lies. */
EXPORT int pthread_cond_destroy(pthread_cond_t *c) {
    static int (*real)(pthread_cond_t *);
    if (!real)
        real = dlvsym(RTLD_NEXT, "pthread_cond_destroy", "GLIBC_2.3.2");
    threads_prepare_condition(c);
    return real(c);
}
