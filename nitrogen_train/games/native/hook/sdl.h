/* SDL 2's table of functions, and the binary layout of what goes through it. */
#ifndef NITROGEN_SDL_H
#define NITROGEN_SDL_H

#include <stdint.h>

/* Places in the table (src/dynapi/SDL_dynapi_procs.h, on Linux). */
enum {
    AT_Init = 13,
    AT_InitSubSystem = 14,
    AT_QuitSubSystem = 15,
    AT_WasInit = 16,
    AT_Quit = 17,
    AT_OpenAudio = 37,
    AT_OpenAudioDevice = 40,
    AT_GetAudioStatus = 41,
    AT_GetAudioDeviceStatus = 42,
    AT_PauseAudio = 43,
    AT_PauseAudioDevice = 44,
    AT_LockAudio = 51,
    AT_LockAudioDevice = 52,
    AT_UnlockAudio = 53,
    AT_UnlockAudioDevice = 54,
    AT_CloseAudio = 55,
    AT_CloseAudioDevice = 56,
    AT_PumpEvents = 75,
    AT_PollEvent = 81,
    AT_PushEvent = 84,
    AT_GameControllerOpen = 99,
    AT_NumJoysticks = 154,
    AT_JoystickOpen = 156,
    AT_GetKeyboardFocus = 175,
    AT_GetKeyboardState = 176,
    AT_GetKeyFromScancode = 179,
    AT_GetRendererOutputSize = 264,
    AT_RenderSetViewport = 283,
    AT_RenderGetViewport = 284,
    AT_RenderReadPixels = 304,
    AT_RenderPresent = 305,
    AT_DestroyRenderer = 307,
    AT_ConvertPixels = 422,
    AT_GetWindowWMInfo = 430,
    AT_AddTimer = 444,
    AT_RemoveTimer = 445,
    AT_GetWindowID = 472,
    AT_GetWindowSurface = 496,
    AT_UpdateWindowSurface = 497,
    AT_UpdateWindowSurfaceRects = 498,
    AT_DestroyWindow = 505,
    AT_GL_GetProcAddress = 510,
    AT_GL_GetDrawableSize = 519,
    AT_GL_SwapWindow = 522,
    AT_GL_DeleteContext = 523,
    AT_QueueAudio = 539,
    AT_GetQueuedAudioSize = 540,
    AT_ClearQueuedAudio = 541,
    AT_DequeueAudio = 555,
    AT_JoystickAttachVirtual = 695,
    AT_JoystickSetVirtualAxis = 698,
    AT_JoystickSetVirtualButton = 699,
    AT_JoystickSetVirtualHat = 700,
    SDL_TABLE_ENTRIES = 701, /* as many as are used here */
};

/* The functions as SDL has them. */
extern void *sdl_real[SDL_TABLE_ENTRIES];

#define REAL(name, result, ...) ((result(*)(__VA_ARGS__))sdl_real[AT_##name])

#define PIXELS_BGRX 0x16161804u /* SDL_PIXELFORMAT_RGB888: in memory B, G, R, unused */
#define EVENT_KEY_DOWN 0x300u
#define EVENT_KEY_UP 0x301u

struct rect {
    int x, y, width, height;
};

struct surface {
    uint32_t flags;
    const uint32_t *format; /* the first field of what it points to is the pixel format */
    int width, height, pitch;
    void *pixels;
};

struct key_event {
    uint32_t type, timestamp, window;
    uint8_t is_down, is_repeat, padding[2];
    int32_t scancode, key;
    uint16_t modifiers;
    uint32_t unused;
    uint8_t rest[24]; /* an event of any kind is 56 bytes */
};

struct window_info {
    uint8_t version[4];
    int system; /* 0: unknown */
};

struct audio_spec {
    int frequency;
    uint16_t format; /* the low byte is the size of a sample in bits */
    uint8_t channels, silence;
    uint16_t samples, padding;
    uint32_t size;
    void (*call)(void *, uint8_t *, int);
    void *argument;
};

/* sound.c */
void sound_replace(void **entries);
/* Asks the game for the sound of the time since the last call. */
void sound_play(uint64_t now_ns);

#endif
