"""Build the hook, once per machine, with the machine's own compiler."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from nitrogen_train.runtime.atomic_files import build_once, default_index_dir, write_atomically

_SOURCES = Path(__file__).with_name("hook")
_FLAGS = ("-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden")
_LIBRARIES = ("-ldl", "-lpthread")


def name_library() -> Path:
    """Name where the hook's library is, or will be: by its sources and the kind of machine."""
    sources = sorted(_SOURCES.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    return default_index_dir().absolute() / "games" / f"hook-{digest}-{os.uname().machine}.so"


def build_hook() -> Path:
    """Return the hook's library, and build it if it is not there yet.

    Raises:
        ValueError: If this is not Linux, there is no C compiler or it fails, or there is no place.
    """
    if sys.platform != "linux":
        raise ValueError("native games need Linux: the hook drives them through its loader")
    library = name_library()
    if set(str(library)) & set(" :"):
        raise ValueError(
            "the loader takes no library whose path has a space or a colon, and the hook would be "
            f"{library}: set XDG_CACHE_HOME to another folder"
        )
    try:
        build_once(library, lambda: _compile(library))
    except ValueError as error:
        if isinstance(error.__cause__, OSError):
            raise ValueError(
                f"the hook of native games cannot be written: {error.__cause__}; set "
                "XDG_CACHE_HOME to a folder that can be"
            ) from error
        raise
    return library


def _compile(library: Path) -> None:
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        raise ValueError(
            "native games need a C compiler to build their hook, and there is none: "
            "apt-get install gcc libc6-dev"
        )
    with write_atomically(library) as temporary:
        files = [str(path) for path in sorted(_SOURCES.glob("*.c"))]
        result = subprocess.run(
            [compiler, *_FLAGS, "-o", str(temporary), *files, *_LIBRARIES],
            capture_output=True,
            text=True,
            check=False,
            # The compiler looks for its parts there.
            env={"PATH": os.defpath, **os.environ},
        )
        if result.returncode:
            first = next((line for line in result.stderr.splitlines() if "error" in line), "")
            raise ValueError(
                f"the hook of native games cannot be built by {compiler}: {first.strip()}; "
                "are the C library's headers there? apt-get install libc6-dev"
            )
