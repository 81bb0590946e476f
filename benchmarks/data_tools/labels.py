"""`python -m benchmarks.data_tools.labels`: an index of the public labels, and questions to it.

Pieces of 20 s are indexed as they come from a tarball; then an index as large as the public one is
made up, and asked.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data_tools.measure import run_data_tools
from benchmarks.data_tools.textured_video import VideoShape, write_labels
from data_tools.ingest.nitrogen.label_index import INDEX_SCHEMA

# Of the paper and the card.
_NUM_VIDEOS, _NUM_GAMES, _NUM_TARBALLS = 38_739, 1_079, 100
_QUERIES = {
    "all hours": [],
    "some games": ["--where", "game in [game_7, game_8] and idle_share < 0.5 and fps == 60"],
}


@dataclass(frozen=True, kw_only=True)
class LabelCost:
    """What labels cost."""

    num_indexed: int
    index_cpu_s: float
    index_peak_bytes: int
    tarball_bytes: int
    num_simulated: int
    index_bytes: int
    query_wall_s: dict[str, float]
    query_peak_bytes: int


def measure_labels(folder: Path, *, num_pieces: int, num_simulated: int) -> LabelCost:
    """Index some pieces, and question an index of many.

    Args:
        folder: For all that is written.
        num_pieces: To index.
        num_simulated: Rows of the made-up index.
    """
    shape = VideoShape(width=1280, height=720, fps=60, seconds=20 * num_pieces)
    tarball, index_dir = folder / "SHARD_0000.tar.gz", folder / "simulated"
    write_labels(shape, tarball)
    out = ["--out", str(folder / "index"), "--workers", "1"]
    indexed = run_data_tools("labels", "index", str(tarball), *out)
    simulate_index(index_dir, num_rows=num_simulated)
    asked = {
        name: run_data_tools("labels", "query", str(index_dir), *where)
        for name, where in _QUERIES.items()
    }
    return LabelCost(
        num_indexed=num_pieces,
        index_cpu_s=indexed.cpu_s,
        index_peak_bytes=indexed.peak_bytes,
        tarball_bytes=tarball.stat().st_size,
        num_simulated=num_simulated,
        index_bytes=sum(path.stat().st_size for path in index_dir.glob("*.parquet")),
        query_wall_s={name: cost.wall_s for name, cost in asked.items()},
        query_peak_bytes=max(cost.peak_bytes for cost in asked.values()),
    )


def simulate_index(folder: Path, *, num_rows: int) -> None:
    """Make up an index with as many videos and games as the public labels have."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    per_tarball = num_rows // _NUM_TARBALLS
    # Some games have most of the hours.
    games = (rng.pareto(1.0, _NUM_VIDEOS) * 20).astype(np.int64) % _NUM_GAMES
    for number in range(_NUM_TARBALLS):
        places = number * per_tarball + np.arange(per_tarball)
        videos = places * _NUM_VIDEOS // num_rows
        chunks = np.arange(per_tarball) - np.searchsorted(videos, videos)
        columns = {
            "tarball": [f"SHARD_{number:04d}.tar.gz"] * per_tarball,
            "video_id": [f"v{video:010d}" for video in videos],
            "chunk": chunks,
            "game": [f"game_{games[video]}" for video in videos],
            "controller": ["xboxone"] * per_tarball,
            "source": ["youtube" if video % 5 else "twitch" for video in videos],
            "url": [f"https://www.youtube.com/watch?v=v{video:010d}" for video in videos],
            "fps": np.where(videos % 2, 30.0, 60.0),
            "rows": np.where(videos % 2, 600, 1200),
            "labels": ["processed" if video % 3 else "raw" for video in videos],
            "idle_share": rng.random(per_tarball),
            "start_frame": chunks * 1200,
            "end_frame": chunks * 1200 + 1200,
            "start_s": chunks * 20.0,
            "end_s": chunks * 20.0 + 20,
            "height": [1080] * per_tarball,
            "width": [1920] * per_tarball,
            "overlay": [[10.0, 800.0, 410.0, 1060.0]] * per_tarball,
            "game_area": [None] * per_tarball,
            "others": [[]] * per_tarball,
        }
        arrays = [pa.array(columns[field.name]).cast(field.type) for field in INDEX_SCHEMA]
        table = pa.Table.from_arrays(arrays, schema=INDEX_SCHEMA)
        pq.write_table(table, folder / f"SHARD_{number:04d}.parquet", compression="zstd")


def main() -> int:
    """Print the cost as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data_tools.labels", description=__doc__
    )
    parser.add_argument("--pieces", type=int, default=2_000, help="to index")
    parser.add_argument("--simulated", type=int, default=7_200_000, help="rows to ask")
    options = parser.parse_args()
    try:
        with TemporaryDirectory() as folder:
            cost = measure_labels(
                Path(folder), num_pieces=options.pieces, num_simulated=options.simulated
            )
    except (OSError, RuntimeError) as error:
        print(f"benchmarks.data_tools.labels: {error}", file=sys.stderr)
        return 2
    print(json.dumps(asdict(cost), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
