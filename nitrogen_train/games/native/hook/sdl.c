/* What the game does through SDL 2: shows pictures, reads pads and keys, sets timers.
 *
 * SDL fills a table with its functions when it is first called, and lets the library that the
 * variable SDL_DYNAMIC_API names change it. Its order is fixed for ever: a place in it, once given,
 * is kept. SDL 1.2 programs come here too when sdl12-compat runs them on SDL 2. sound.c has the rest.
 */
#define _GNU_SOURCE
#include "hook.h"
#include "sdl.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INIT_TIMER 0x1u
#define INIT_VIDEO 0x20u
#define INIT_JOYSTICK 0x200u
#define INIT_GAMECONTROLLER 0x2000u
#define TYPE_GAMECONTROLLER 1
#define NUM_AXES 6
#define NUM_BUTTONS 15
#define FIRST_DPAD_BUTTON 11 /* up, down, left, right, as the bits of a hat but for the order */
#define FIRST_TRIGGER_AXIS 4
#define MAX_TIMERS 64
#define FREE_POLLS 200
#define POLL_NS 1000000ULL

void *sdl_real[SDL_TABLE_ENTRIES];

/* ---- pictures -------------------------------------------------------------------------------- */

static bool set_size(struct picture *picture, int width, int height) {
    picture->width = width > 0 ? (uint32_t)width : 0;
    picture->height = height > 0 ? (uint32_t)height : 0;
    return (size_t)picture->width * picture->height * 4 <= picture->capacity;
}

static void copy_renderer(struct picture *picture, void *renderer) {
    int width = 0, height = 0;
    REAL(GetRendererOutputSize, int, void *, int *, int *)(renderer, &width, &height);
    struct rect all = {0, 0, width, height}, before, whole;
    picture->is_flipped = false;
    /* Larger than the memory: session_end_present says so. */
    if (!set_size(picture, width, height))
        return;
    /* SDL reads no more than the viewport, which may be a part of the screen. */
    REAL(RenderGetViewport, void, void *, struct rect *)(renderer, &before);
    REAL(RenderSetViewport, int, void *, const struct rect *)(renderer, NULL);
    REAL(RenderGetViewport, void, void *, struct rect *)(renderer, &whole);
    REAL(RenderReadPixels, int, void *, const struct rect *, uint32_t, void *, int)
    (renderer, &all, PIXELS_BGRX, picture->pixels, width * 4);
    if (memcmp(&before, &whole, sizeof whole))
        REAL(RenderSetViewport, int, void *, const struct rect *)(renderer, &before);
}

static void copy_surface(struct picture *picture, void *window) {
    struct surface *surface = REAL(GetWindowSurface, struct surface *, void *)(window);
    picture->is_flipped = false;
    if (surface && set_size(picture, surface->width, surface->height))
        REAL(ConvertPixels, int, int, int, uint32_t, const void *, int, uint32_t, void *, int)
        (surface->width, surface->height, *surface->format, surface->pixels, surface->pitch, PIXELS_BGRX,
         picture->pixels, surface->width * 4);
}

#define GL_FUNCTION(name, ...)                                                                      \
    void (*name)(__VA_ARGS__) = (void (*)(__VA_ARGS__))REAL(GL_GetProcAddress, void *, const char *)(#name)

static void copy_gl(struct picture *picture, void *window) {
    enum { READ_BUFFER = 0x0C02, PACK_ROW_LENGTH = 0x0D02, PACK_ALIGNMENT = 0x0D05, BACK = 0x0405,
           BGRA = 0x80E1, UNSIGNED_BYTE = 0x1401, PIXEL_PACK_BUFFER = 0x88EB,
           PIXEL_PACK_BUFFER_BINDING = 0x88ED, READ_FRAMEBUFFER = 0x8CA8,
           READ_FRAMEBUFFER_BINDING = 0x8CAA };
    GL_FUNCTION(glGetIntegerv, unsigned, int *);
    GL_FUNCTION(glReadBuffer, unsigned);
    GL_FUNCTION(glPixelStorei, unsigned, int);
    GL_FUNCTION(glBindBuffer, unsigned, unsigned);
    GL_FUNCTION(glBindFramebuffer, unsigned, unsigned);
    GL_FUNCTION(glReadPixels, int, int, int, int, unsigned, unsigned, void *);
    int width = 0, height = 0;
    REAL(GL_GetDrawableSize, void, void *, int *, int *)(window, &width, &height);
    picture->is_flipped = true;
    if (!set_size(picture, width, height))
        return;
    if (!glGetIntegerv || !glReadPixels || !glPixelStorei)
        session_fail("this OpenGL has no glReadPixels");
    int buffer = 0, framebuffer = 0, row_length = 0, alignment = 4, read_buffer = BACK;
    glGetIntegerv(PIXEL_PACK_BUFFER_BINDING, &buffer);
    glGetIntegerv(READ_FRAMEBUFFER_BINDING, &framebuffer);
    glGetIntegerv(PACK_ROW_LENGTH, &row_length);
    glGetIntegerv(PACK_ALIGNMENT, &alignment);
    if (buffer)
        glBindBuffer(PIXEL_PACK_BUFFER, 0);
    if (framebuffer)
        glBindFramebuffer(READ_FRAMEBUFFER, 0);
    glGetIntegerv(READ_BUFFER, &read_buffer);
    glReadBuffer(BACK);
    glPixelStorei(PACK_ROW_LENGTH, 0);
    glPixelStorei(PACK_ALIGNMENT, 4);
    glReadPixels(0, 0, width, height, BGRA, UNSIGNED_BYTE, picture->pixels);
    glPixelStorei(PACK_ROW_LENGTH, row_length);
    glPixelStorei(PACK_ALIGNMENT, alignment);
    glReadBuffer((unsigned)read_buffer);
    if (framebuffer)
        glBindFramebuffer(READ_FRAMEBUFFER, (unsigned)framebuffer);
    if (buffer)
        glBindBuffer(PIXEL_PACK_BUFFER, (unsigned)buffer);
}

/* What the game presented last, and whether that was handed over. */
static void (*last_copy)(struct picture *, void *);
static void *last_target;
static bool is_copied;
/* Since the last frame, of events that were not there. */
static uint32_t polls;

/* Time passes, then the picture is taken: a game sees the pad's answer to it at the next reading. */
static struct picture *end_frame(void) {
    clock_claim_main_thread();
    clock_end_frame();
    polls = 0;
    sdl_run_timers();
    sound_play(clock_now_ns());
    return session_begin_present();
}

static struct picture *begin_present(void (*copy)(struct picture *, void *), void *target) {
    struct picture *picture = end_frame();
    last_copy = copy;
    last_target = target;
    is_copied = picture;
    if (picture)
        copy(picture, target);
    return picture;
}

static void end_present(struct picture *picture) {
    if (picture)
        session_end_present(picture);
}

bool sdl_can_show_again(void) { return last_target; }

void sdl_show_again(void) {
    struct picture *picture = end_frame();
    if (picture && !is_copied)
        last_copy(picture, last_target);
    is_copied |= !!picture;
    end_present(picture);
}

/* A game that spins until an event comes, without a clock and without a picture, sleeps in truth. */
static void note_poll(void) {
    if (last_target && clock_is_main_thread() && ++polls > FREE_POLLS)
        clock_sleep(POLL_NS);
}

static int PollEvent(void *event) {
    int is_there = REAL(PollEvent, int, void *)(event);
    if (!is_there)
        note_poll();
    return is_there;
}

static void PumpEvents(void) {
    REAL(PumpEvents, void, void)();
    note_poll();
}

/* A picture that is gone is not shown again. */
static void DestroyRenderer(void *renderer) {
    last_target = NULL;
    REAL(DestroyRenderer, void, void *)(renderer);
}

static void DestroyWindow(void *window) {
    last_target = NULL;
    REAL(DestroyWindow, void, void *)(window);
}

/* These destroy the windows, too. */
static void Quit(void) {
    last_target = NULL;
    REAL(Quit, void, void)();
}

static void QuitSubSystem(uint32_t flags) {
    if (flags & INIT_VIDEO)
        last_target = NULL;
    REAL(QuitSubSystem, void, uint32_t)(flags);
}

static void GL_DeleteContext(void *context) {
    last_target = NULL;
    REAL(GL_DeleteContext, void, void *)(context);
}

/* Windows without a screen have no such facts, and some games do not start without them. */
static int GetWindowWMInfo(void *window, struct window_info *info) {
    if (!(REAL(GetWindowWMInfo, int, void *, struct window_info *)(window, info)))
        info->system = 0;
    return 1;
}

static void RenderPresent(void *renderer) {
    struct picture *picture = begin_present(copy_renderer, renderer);
    REAL(RenderPresent, void, void *)(renderer);
    end_present(picture);
}

static void GL_SwapWindow(void *window) {
    struct picture *picture = begin_present(copy_gl, window);
    REAL(GL_SwapWindow, void, void *)(window);
    end_present(picture);
}

static int UpdateWindowSurface(void *window) {
    struct picture *picture = begin_present(copy_surface, window);
    int result = REAL(UpdateWindowSurface, int, void *)(window);
    end_present(picture);
    return result;
}

static int UpdateWindowSurfaceRects(void *window, const void *rects, int n) {
    struct picture *picture = begin_present(copy_surface, window);
    int result = REAL(UpdateWindowSurfaceRects, int, void *, const void *, int)(window, rects, n);
    end_present(picture);
    return result;
}

/* ---- the pad and the keys -------------------------------------------------------------------- */

static void *pad;
static struct pad state;
static uint32_t num_opens;

uint32_t sdl_count_pad_opens(void) { return num_opens; }

static void *JoystickOpen(int index) {
    num_opens++;
    return REAL(JoystickOpen, void *, int)(index);
}

static void *GameControllerOpen(int index) {
    num_opens++;
    return REAL(GameControllerOpen, void *, int)(index);
}

static void attach_pad(void) {
    if (!(REAL(WasInit, uint32_t, uint32_t)(INIT_JOYSTICK)) || REAL(NumJoysticks, int, void)())
        return;
    int index = REAL(JoystickAttachVirtual, int, int, int, int, int)(TYPE_GAMECONTROLLER, NUM_AXES,
                                                                    NUM_BUTTONS, 1);
    pad = index < 0 ? NULL : REAL(JoystickOpen, void *, int)(index);
    memset(&state, 0, sizeof state);
    for (int axis = FIRST_TRIGGER_AXIS; pad && axis < NUM_AXES; axis++) {
        /* A released trigger is at the axis's lower end. */
        state.axes[axis] = INT16_MIN;
        REAL(JoystickSetVirtualAxis, int, void *, int, int16_t)(pad, axis, INT16_MIN);
    }
}

static uint8_t to_hat(uint32_t buttons) {
    uint32_t dpad = buttons >> FIRST_DPAD_BUTTON;
    return (uint8_t)((dpad & 1) | (dpad >> 3 & 1) << 1 | (dpad >> 1 & 1) << 2 | (dpad >> 2 & 1) << 3);
}

static void press_key(int scancode, bool is_down) {
    struct key_event event = {.type = is_down ? EVENT_KEY_DOWN : EVENT_KEY_UP,
                              .timestamp = (uint32_t)(clock_now_ns() / 1000000),
                              .is_down = is_down,
                              .scancode = scancode,
                              .key = REAL(GetKeyFromScancode, int32_t, int)(scancode)};
    void *window = REAL(GetKeyboardFocus, void *, void)();
    event.window = window ? REAL(GetWindowID, uint32_t, void *)(window) : 1;
    /* Games look at either; an event that is pushed does not change what SDL says is held. */
    ((uint8_t *)REAL(GetKeyboardState, const uint8_t *, int *)(NULL))[scancode] = is_down;
    REAL(PushEvent, int, void *)(&event);
}

void sdl_apply_pad(const struct pad *wanted) {
    if (!sdl_real[AT_WasInit])
        return;
    if (!(REAL(WasInit, uint32_t, uint32_t)(INIT_JOYSTICK)))
        pad = NULL;
    for (int axis = 0; pad && axis < NUM_AXES; axis++)
        if (wanted->axes[axis] != state.axes[axis])
            REAL(JoystickSetVirtualAxis, int, void *, int, int16_t)(pad, axis, wanted->axes[axis]);
    uint32_t changed = wanted->buttons ^ state.buttons;
    for (int button = 0; pad && button < NUM_BUTTONS; button++)
        if (changed >> button & 1)
            REAL(JoystickSetVirtualButton, int, void *, int, uint8_t)
            (pad, button, wanted->buttons >> button & 1);
    if (pad && to_hat(changed))
        REAL(JoystickSetVirtualHat, int, void *, int, uint8_t)(pad, 0, to_hat(wanted->buttons));
    for (int code = 0; code < 512; code++)
        if ((wanted->keys[code / 8] ^ state.keys[code / 8]) >> code % 8 & 1)
            press_key(code, wanted->keys[code / 8] >> code % 8 & 1);
    state = *wanted;
}

/* ---- what would start threads ---------------------------------------------------------------- */

struct timer {
    int id;
    uint64_t due_ns;
    uint32_t interval_ms;
    uint32_t (*call)(uint32_t, void *);
    void *argument;
};

static struct timer timers[MAX_TIMERS];
static bool has_timers;
static int last_timer;

static int AddTimer(uint32_t interval_ms, uint32_t (*call)(uint32_t, void *), void *argument) {
    for (struct timer *timer = timers; timer < timers + MAX_TIMERS; timer++) {
        if (timer->id)
            continue;
        *timer = (struct timer){++last_timer, clock_now_ns() + interval_ms * 1000000ULL, interval_ms,
                                call, argument};
        return timer->id;
    }
    return 0;
}

static int RemoveTimer(int id) {
    for (struct timer *timer = timers; timer < timers + MAX_TIMERS; timer++)
        if (id && timer->id == id) {
            timer->id = 0;
            return 1;
        }
    return 0;
}

void sdl_run_timers(void) {
    static bool is_running;
    if (is_running)
        return;
    is_running = true;
    for (struct timer *timer = timers; timer < timers + MAX_TIMERS; timer++)
        while (timer->id && timer->due_ns <= clock_now_ns()) {
            int id = timer->id;
            uint32_t next_ms = timer->call(timer->interval_ms, timer->argument);
            if (timer->id != id)
                break;
            if (!next_ms) {
                timer->id = 0;
                break;
            }
            timer->interval_ms = next_ms;
            timer->due_ns += next_ms * 1000000ULL;
        }
    is_running = false;
}

static int start(int place, uint32_t flags) {
    has_timers |= flags & INIT_TIMER;
    int result = ((int (*)(uint32_t))sdl_real[place])(flags & ~INIT_TIMER);
    attach_pad();
    return result;
}

static int Init(uint32_t flags) { return start(AT_Init, flags); }
static int InitSubSystem(uint32_t flags) { return start(AT_InitSubSystem, flags); }

static uint32_t WasInit(uint32_t flags) {
    uint32_t result = REAL(WasInit, uint32_t, uint32_t)(flags);
    return has_timers && (!flags || flags & INIT_TIMER) ? result | INIT_TIMER : result;
}

/* ---- the table ------------------------------------------------------------------------------- */

/* Called by SDL, once, with the table to fill. */
EXPORT int32_t SDL_DYNAPI_entry(uint32_t version, void *table, uint32_t size) {
    Dl_info caller;
    void *self = NULL;
    if (dladdr(__builtin_return_address(0), &caller) && caller.dli_fname)
        self = dlopen(caller.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    int32_t (*fill)(uint32_t, void *, uint32_t) = self ? dlsym(self, "SDL_DYNAPI_entry") : NULL;
    if (!fill || fill == SDL_DYNAPI_entry || size < sizeof sdl_real || fill(version, table, size) < 0)
        session_fail("this SDL cannot be driven: it is older than 2.0.14, or is linked statically");
    if (!session_is_open())
        return 0;
    if (dlsym(RTLD_DEFAULT, "clock_gettime") != (void *)clock_gettime)
        session_fail("the loader has not put it before libc: clocks and dice would be the real ones");
    void **entries = table;
    memcpy(sdl_real, entries, sizeof sdl_real);
#define REPLACE(name) entries[AT_##name] = (void *)name
    REPLACE(RenderPresent);
    REPLACE(GL_SwapWindow);
    REPLACE(UpdateWindowSurface);
    REPLACE(UpdateWindowSurfaceRects);
    REPLACE(PollEvent);
    REPLACE(PumpEvents);
    REPLACE(Quit);
    REPLACE(QuitSubSystem);
    REPLACE(DestroyRenderer);
    REPLACE(DestroyWindow);
    REPLACE(GL_DeleteContext);
    REPLACE(GetWindowWMInfo);
    REPLACE(JoystickOpen);
    REPLACE(GameControllerOpen);
    REPLACE(AddTimer);
    REPLACE(RemoveTimer);
    REPLACE(Init);
    REPLACE(InitSubSystem);
    REPLACE(WasInit);
    sound_replace(entries);
    return 0;
}
