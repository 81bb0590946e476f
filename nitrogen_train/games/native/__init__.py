"""Native Linux games as exact environments, driven from outside through SDL and libc."""
