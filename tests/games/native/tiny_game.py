"""A game of a few lines, run by the hook as any other program: SDL 2 through ctypes.

    python tiny_game.py [WAY …]

A white square is moved by the left stick, by a button or by a key; the colour behind it comes from
chance and from the clocks. Each way makes it do one thing that games do to those who drive them.
"""

import ctypes
import os
import random
import sys
import threading
import time
from pathlib import Path

WAYS = set(sys.argv[1:])
INIT_TIMER, INIT_AUDIO, INIT_VIDEO, INIT_JOYSTICK = 0x1, 0x10, 0x20, 0x200
WIDTH, HEIGHT = 64, 48


class Rect(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_int), ("w", ctypes.c_int), ("h", ctypes.c_int)]


class AudioSpec(ctypes.Structure):
    _fields_ = [
        ("freq", ctypes.c_int), ("format", ctypes.c_uint16), ("channels", ctypes.c_uint8),
        ("silence", ctypes.c_uint8), ("samples", ctypes.c_uint16), ("padding", ctypes.c_uint16),
        ("size", ctypes.c_uint32), ("callback", ctypes.c_void_p), ("userdata", ctypes.c_void_p),
    ]  # fmt: skip


def load_sdl():
    import sdl2dll

    sdl = ctypes.CDLL(str(Path(sdl2dll.get_dllpath()) / "libSDL2-2.0.so"))
    for name in (
        "SDL_CreateWindow",
        "SDL_CreateRenderer",
        "SDL_JoystickOpen",
        "SDL_GetKeyboardState",
    ):
        getattr(sdl, name).restype = ctypes.c_void_p
    sdl.SDL_JoystickGetAxis.restype = ctypes.c_int16
    sdl.SDL_JoystickGetButton.restype = ctypes.c_uint8
    sdl.SDL_JoystickGetHat.restype = ctypes.c_uint8
    return sdl


def say(text):
    if "buffered" in WAYS:
        # As games print that are written in C: what goes to a file is kept until there is much.
        ctypes.CDLL(None).puts(text.encode())
    else:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def refuse_to_play():
    if "crash_at_start" in WAYS:
        say("cannot open the sky")
        sys.exit(3)
    if "no_picture" in WAYS:
        say("thinking")
        while True:
            time.sleep(0.5)
            os.getppid()
            Path("/proc/self/stat").read_bytes()


class Sound:
    """Counts the samples that are asked for."""

    def __init__(self, sdl):
        self.num_bytes = 0
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)(
            self._add
        )
        spec = AudioSpec(freq=44100, format=0x8010, channels=2, samples=512)
        spec.callback = ctypes.cast(self._call, ctypes.c_void_p)
        self.device = sdl.SDL_OpenAudioDevice(None, 0, ctypes.byref(spec), None, 0)
        sdl.SDL_PauseAudioDevice(self.device, 0)

    def _add(self, _, __, size):
        self.num_bytes += size


def main():  # noqa: C901 - one way after the other, as a game has them
    refuse_to_play()
    sdl = load_sdl()
    sdl.SDL_Init(INIT_TIMER | INIT_AUDIO | INIT_VIDEO | INIT_JOYSTICK)
    window = sdl.SDL_CreateWindow(b"tiny", 0, 0, WIDTH, HEIGHT, 0)
    renderer = ctypes.c_void_p(sdl.SDL_CreateRenderer(ctypes.c_void_p(window), -1, 0))
    pad = None if "no_pad" in WAYS else ctypes.c_void_p(sdl.SDL_JoystickOpen(0))
    keys = ctypes.cast(sdl.SDL_GetKeyboardState(None), ctypes.POINTER(ctypes.c_uint8))
    sound = Sound(sdl)
    if "thread" in WAYS:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    event = ctypes.create_string_buffer(64)
    x, y, frame, key_events = 0.0, 0.0, 0, 0
    started, written = time.monotonic(), -1
    while True:
        while sdl.SDL_PollEvent(event):
            key_events += int.from_bytes(event.raw[:4], "little") in (0x300, 0x301)
        is_deaf = "ignore_pad" in WAYS or ("deaf_at_first" in WAYS and frame < 30)
        if pad is not None and not is_deaf:
            x += sdl.SDL_JoystickGetAxis(pad, 0) / 32768
            y += sdl.SDL_JoystickGetAxis(pad, 1) / 32768
            y += sdl.SDL_JoystickGetButton(pad, 0) + (sdl.SDL_JoystickGetHat(pad, 0) == 4)
        x += keys[79] - keys[80]
        frame += 1
        if "crash" in WAYS and frame == 20:
            say("falling\nthe end")
            ctypes.string_at(0)
        if "pauses" in WAYS and frame == 20:
            until = Path("/proc/uptime")
            begun = float(until.read_text().split()[0])
            while float(until.read_text().split()[0]) < begun + 0.6:
                pass
        if "hang" in WAYS and frame == 20:
            while True:
                pass
        if "wait_for_key" in WAYS and frame == 20:
            while not sdl.SDL_PollEvent(event):
                pass
        if "over" in WAYS and x > 30:
            say("game over")
        if "slow" in WAYS:
            sdl.SDL_Delay(2000)
        if "own_pace" in WAYS:
            while time.monotonic() < started + frame / 20:
                time.sleep(0.001)
        if "rewritten" in WAYS and int(x) != written:
            # As games write scores: the whole file, and only what is new.
            written = int(x)
            Path("score.txt").write_text(f"points {written}\n")
        if "files" in WAYS:
            with Path("score.txt").open("a") as file:
                file.write(f"points {int(x)}\n")
        if "menu" in WAYS:
            # Nothing is played until its one button is pressed.
            WAYS.difference_update({"menu"} if keys[40] else ())
            x = y = 0.0
        else:
            say(f"score {int(x)} key_events {key_events} sound {sound.num_bytes}")
        chance = random.randrange(200) + os.urandom(1)[0] % 50
        clock = int(time.time() * 60) % 200 if "wall" in WAYS else sdl.SDL_GetTicks() % 200
        sdl.SDL_SetRenderDrawColor(renderer, chance, clock, os.getpid() % 256, 255)
        sdl.SDL_RenderClear(renderer)
        if "viewport" in WAYS:
            # As games leave it that draw a part of the screen last.
            part = Rect(0, 0, WIDTH // 2, HEIGHT)
            sdl.SDL_RenderSetViewport(renderer, None)
            sdl.SDL_RenderClear(renderer)
            sdl.SDL_RenderSetViewport(renderer, ctypes.byref(part))
        square = Rect(int(x) % WIDTH, int(y) % HEIGHT, 4, 4)
        sdl.SDL_SetRenderDrawColor(renderer, 255, 255, 255, 255)
        sdl.SDL_RenderFillRect(renderer, ctypes.byref(square))
        sdl.SDL_RenderPresent(renderer)


if __name__ == "__main__":
    main()
