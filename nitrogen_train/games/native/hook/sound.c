/* Sound without a device and without a thread: what would be played in a frame is asked for at its end. */
#include "hook.h"
#include "sdl.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEVICES 16
#define FIRST_ID 2 /* 1 is the device of SDL_OpenAudio */
#define DEFAULT_FREQUENCY 22050
#define DEFAULT_FORMAT 0x8010 /* signed, 16 bits */
#define DEFAULT_SAMPLES 1024
#define FORMAT_U8 0x0008

enum status { STOPPED, PLAYING, PAUSED };

static struct device {
    bool is_open, is_paused;
    struct audio_spec spec;
    uint8_t *buffer;
    uint64_t played_ns;   /* the time up to which sound was asked for */
    uint64_t queued_bytes;
} devices[MAX_DEVICES];

static struct device *find(uint32_t id) {
    return id && id <= MAX_DEVICES && devices[id - 1].is_open ? &devices[id - 1] : NULL;
}

static uint32_t bytes_per_sample(const struct audio_spec *spec) {
    return (spec->format & 0xffu) / 8 * spec->channels;
}

static void complete(struct audio_spec *spec) {
    spec->frequency = spec->frequency ? spec->frequency : DEFAULT_FREQUENCY;
    spec->format = spec->format ? spec->format : DEFAULT_FORMAT;
    spec->channels = spec->channels ? spec->channels : 2;
    spec->samples = spec->samples ? spec->samples : DEFAULT_SAMPLES;
    spec->silence = spec->format == FORMAT_U8 ? 0x80 : 0;
    spec->size = spec->samples * bytes_per_sample(spec);
}

static uint32_t open_device(uint32_t id, const struct audio_spec *wanted, struct audio_spec *given) {
    struct device *device = &devices[id - 1];
    *device = (struct device){.is_open = true, .is_paused = true, .spec = *wanted,
                              .played_ns = clock_now_ns()};
    complete(&device->spec);
    device->buffer = calloc(1, device->spec.size);
    if (given)
        *given = device->spec;
    return id;
}

static int OpenAudio(struct audio_spec *wanted, struct audio_spec *given) {
    if (devices[0].is_open)
        return -1;
    open_device(1, wanted, given);
    /* Without a second structure the first one is completed. */
    if (!given)
        *wanted = devices[0].spec;
    return 0;
}

static uint32_t OpenAudioDevice(const char *name, int is_capture, const struct audio_spec *wanted,
                                struct audio_spec *given, int allowed) {
    (void)name, (void)allowed;
    for (uint32_t id = FIRST_ID; !is_capture && id <= MAX_DEVICES; id++)
        if (!devices[id - 1].is_open)
            return open_device(id, wanted, given);
    return 0;
}

static void CloseAudioDevice(uint32_t id) {
    struct device *device = find(id);
    if (!device)
        return;
    free(device->buffer);
    *device = (struct device){0};
}

static void PauseAudioDevice(uint32_t id, int is_paused) {
    struct device *device = find(id);
    if (!device)
        return;
    if (device->is_paused && !is_paused)
        device->played_ns = clock_now_ns();
    device->is_paused = is_paused;
}

static int GetAudioDeviceStatus(uint32_t id) {
    struct device *device = find(id);
    return !device ? STOPPED : device->is_paused ? PAUSED : PLAYING;
}

static void CloseAudio(void) { CloseAudioDevice(1); }
static void PauseAudio(int is_paused) { PauseAudioDevice(1, is_paused); }
static int GetAudioStatus(void) { return GetAudioDeviceStatus(1); }

/* Whoever locks is on the thread that asks for sound. */
static void LockAudio(void) {}
static void LockAudioDevice(uint32_t id) { (void)id; }

static int QueueAudio(uint32_t id, const void *data, uint32_t size) {
    (void)data;
    struct device *device = find(id);
    if (!device)
        return -1;
    device->queued_bytes += size;
    return 0;
}

static uint32_t GetQueuedAudioSize(uint32_t id) {
    struct device *device = find(id);
    return device ? (uint32_t)device->queued_bytes : 0;
}

static void ClearQueuedAudio(uint32_t id) {
    struct device *device = find(id);
    if (device)
        device->queued_bytes = 0;
}

static uint32_t DequeueAudio(uint32_t id, void *data, uint32_t size) {
    (void)id, (void)data, (void)size;
    return 0;
}

static void play(struct device *device, uint64_t now_ns) {
    const struct audio_spec *spec = &device->spec;
    uint64_t part_ns = spec->samples * 1000000000ULL / (uint64_t)spec->frequency;
    while (device->is_open && !device->is_paused && device->played_ns + part_ns <= now_ns) {
        device->played_ns += part_ns;
        if (spec->call) {
            memset(device->buffer, spec->silence, spec->size);
            spec->call(spec->argument, device->buffer, (int)spec->size);
        } else {
            device->queued_bytes -= device->queued_bytes < spec->size ? device->queued_bytes : spec->size;
        }
    }
}

void sound_play(uint64_t now_ns) {
    for (struct device *device = devices; device < devices + MAX_DEVICES; device++)
        if (device->is_open)
            play(device, now_ns);
}

void sound_replace(void **entries) {
    entries[AT_OpenAudio] = (void *)OpenAudio;
    entries[AT_OpenAudioDevice] = (void *)OpenAudioDevice;
    entries[AT_CloseAudio] = (void *)CloseAudio;
    entries[AT_CloseAudioDevice] = (void *)CloseAudioDevice;
    entries[AT_PauseAudio] = (void *)PauseAudio;
    entries[AT_PauseAudioDevice] = (void *)PauseAudioDevice;
    entries[AT_GetAudioStatus] = (void *)GetAudioStatus;
    entries[AT_GetAudioDeviceStatus] = (void *)GetAudioDeviceStatus;
    entries[AT_LockAudio] = entries[AT_UnlockAudio] = (void *)LockAudio;
    entries[AT_LockAudioDevice] = entries[AT_UnlockAudioDevice] = (void *)LockAudioDevice;
    entries[AT_QueueAudio] = (void *)QueueAudio;
    entries[AT_GetQueuedAudioSize] = (void *)GetQueuedAudioSize;
    entries[AT_ClearQueuedAudio] = (void *)ClearQueuedAudio;
    entries[AT_DequeueAudio] = (void *)DequeueAudio;
}
