/* Drives a game from outside. One library, loaded twice into the game's process, once by each way in:
 *
 *   LD_PRELOAD        clock.c, chance.c, threads.c   libc's clocks, sleeps, sources of chance, threads
 *   SDL_DYNAMIC_API   sdl.c               SDL's table of functions: pad, keys, presents, audio, timers
 *
 * and session.c talks to the process that plays: it starts the game below a supervisor, hands over
 * frames in shared memory, waits for the next pad, and saves and restores the process by cloning it.
 * Nothing of a game or of SDL is linked or copied here; tables and structures are written from their
 * documented binary layout, which SDL 2 keeps.
 */
#ifndef NITROGEN_HOOK_H
#define NITROGEN_HOOK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

/* The messages below are read and written by ../process.py, which says the same sizes. */

enum operation { OP_STEP = 1, OP_SAVE = 2, OP_RESTORE = 3 };

/* A controller in SDL's order: see process.py. */
struct pad {
    int16_t axes[6];
    uint32_t buttons;   /* bit i is SDL's game controller button i */
    uint8_t keys[64];   /* bit i is SDL's scancode i */
};

struct command {
    uint32_t operation;
    uint32_t presents;  /* of OP_STEP: presents until the next frame is handed over, at least 1 */
    struct pad pad;
};

enum reply_kind { REPLY_FRAME = 1, REPLY_SAVED = 2, REPLY_REFUSED = 3 };

struct reply {
    uint32_t kind;
    int32_t pid;          /* of the process that answers, or of the saved one */
    uint32_t width, height;
    uint32_t is_flipped;  /* the first row in memory is the lowest of the picture */
    uint32_t num_threads;
    uint32_t pad_opens;   /* how often the game has opened the pad so far */
    uint32_t padding;
    uint64_t clock_ns;    /* the game's time since its start */
    uint64_t presents;    /* since its start */
    char reason[128];     /* of REPLY_REFUSED */
};

/* clock.c */
uint64_t clock_now_ns(void);
/* Ends a frame: the clock stands at least one frame's length after the last present. */
void clock_end_frame(void);
/* The main thread sleeps: time passes, and none of it is real. */
void clock_sleep(uint64_t ns);
/* While it waits for a pad no thread's reads move the clock. */
void clock_hold(bool is_held);
bool clock_is_main_thread(void);
void clock_claim_main_thread(void);

/* threads.c */
/* Starts the game's other threads anew. */
void threads_revive(void);
/* Before any use of a condition variable. */
void threads_prepare_condition(pthread_cond_t *c);

/* sdl.c */
void sdl_run_timers(void);
/* Ends a frame in which the game has presented nothing, with the picture that it showed last. */
bool sdl_can_show_again(void);
void sdl_show_again(void);
void sdl_apply_pad(const struct pad *pad);
uint32_t sdl_count_pad_opens(void);

/* session.c */
struct picture {
    uint8_t *pixels;      /* B, G, R, unused: 4 bytes each, rows without gaps */
    size_t capacity;
    uint32_t width, height;
    bool is_flipped;
};
/* Returns where the next frame goes if this present is one to hand over, else NULL. */
struct picture *session_begin_present(void);
/* Hands the frame over and waits for the next pad. */
void session_end_present(struct picture *picture);
bool session_is_open(void);
uint32_t session_count_threads(void);
/* Any thread but the main one passes here when its sleep has ended. */
void session_pass_gate(void);
uint64_t session_number(const char *name, uint64_t fallback);
__attribute__((noreturn, format(printf, 1, 2))) void session_fail(const char *format, ...);

#endif
