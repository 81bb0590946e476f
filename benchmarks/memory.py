"""What a process holds in memory, without torch."""

from pathlib import Path


def read_memory_mib(field: str, *, pid: int | None = None) -> float:
    """Read one count of a process's memory.

    The peak, `VmHWM`, is the process's own: `getrusage` begins with the peak of the process that
    started it.

    Args:
        field: As Linux names it in /proc/PID/status, for example `VmRSS`.
        pid: This process, if it is `None`.

    Returns:
        MiB.
    """
    status = Path(f"/proc/{'self' if pid is None else pid}/status")
    counts = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return int(counts[field].removesuffix("kB")) / 1024
