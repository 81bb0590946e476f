"""Videos whose packets are written anew: trimmed, cut off, to a pipe."""

from io import BytesIO
from pathlib import Path

import av


def remux(
    source: Path,
    target: Path | BytesIO,
    *,
    shift_s: float = 0.0,
    options: dict[str, str] | None = None,
) -> None:
    """Write a video's packets anew, with times that are so much earlier."""
    where, kind = (str(target), None) if isinstance(target, Path) else (target, "matroska")
    with (
        av.open(str(source)) as file,
        av.open(where, "w", format=kind, options=options or {}) as out,
    ):
        stream = out.add_stream_from_template(file.streams.video[0])
        for packet in file.demux(video=0):
            if packet.pts is not None and packet.dts is not None and packet.time_base is not None:
                shift = round(shift_s / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                out.mux(packet)


def cut(path: Path, share: float) -> Path:
    """Leave a share of a file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return path


def crash(path: Path) -> None:
    """Make an mp4 as of a recorder that writes each frame at once, and stopped at two thirds."""
    whole = path.rename(path.with_name("whole"))
    remux(whole, path, options={"movflags": "frag_every_frame+empty_moov"})
    whole.unlink()
    cut(path, 2 / 3)
