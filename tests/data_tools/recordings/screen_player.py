"""Turns its screen white and presses SOUTH at the same time, again and again; run as a process."""

import os
import struct
import sys
import time
import tkinter


def play(descriptor: int, num_presses: int) -> None:
    window = tkinter.Tk()
    window.overrideredirect(True)
    window.geometry("320x240+0+0")
    window.configure(bg="black")
    window.update()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    # Recording begins meanwhile.
    time.sleep(0.8)
    for press in range(2 * num_presses):
        is_down = press % 2 == 0
        window.configure(bg="white" if is_down else "black")
        window.update()
        # A question that is answered once the server has drawn.
        window.winfo_pointerx()
        seconds, rest_ns = divmod(time.monotonic_ns(), 10**9)
        events = ((1, 0x130, int(is_down)), (0, 0, 0))
        packet = [struct.pack("@llHHi", seconds, rest_ns // 1000, *event) for event in events]
        os.write(descriptor, b"".join(packet))
        time.sleep(0.17)


if __name__ == "__main__":
    play(int(sys.argv[1]), int(sys.argv[2]))
