"""Checks of whole data sets: shards, splits, and what several of them share."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from nitrogen_train.data.files import describe_error
from nitrogen_train.data.game_names import find_respelt, quote
from nitrogen_train.data.manifest import Manifest
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.data.records import SHARD_END
from nitrogen_train.rates import SAME_RATE

# Other writers of tars fill up to this size with zeros.
_TAR_RECORD_BYTES = 10_240


def check_splits(manifest: Manifest) -> Iterator[str]:
    """Find sessions that are in both splits of a data set."""
    splits: dict[str, set[str]] = defaultdict(set)
    for row in manifest.rows():
        splits[row.session_id].add(row.split)
    for session_id, names in splits.items():
        if len(names) > 1:
            yield (
                f"session {session_id} is in {' and '.join(sorted(names))}: a policy would be "
                "measured on what it learned from; give the session one split"
            )


def check_splits_together(manifests: Mapping[Path, Manifest]) -> Iterator[str]:
    """Find sessions that one data set trains on and another one validates on."""
    places: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    for dataset, manifest in manifests.items():
        for row in manifest.rows():
            places[row.game, row.session_id].setdefault(row.split, dataset)
    for (game, session_id), datasets in places.items():
        if len(set(datasets.values())) > 1:
            where = " and ".join(f"{split} in {datasets[split]}" for split in sorted(datasets))
            yield (
                f"session {session_id} of {game} is {where}: a policy would be measured on what "
                "it learned from; give the session one split, or another name if it is another one"
            )


def check_frame_rates(manifests: Mapping[Path, Manifest]) -> Iterator[str]:
    """Find games that come at several frame rates."""
    rates: dict[str, dict[float, str]] = defaultdict(dict)
    for dataset, manifest in manifests.items():
        for row in manifest.rows():
            rates[row.game].setdefault(row.fps, f"clip {row.clip_id} of {dataset}")
    for game, examples in sorted(rates.items()):
        if max(examples) > SAME_RATE * min(examples):
            found = ", ".join(f"{fps:.4g} ({where})" for fps, where in sorted(examples.items()))
            yield (
                f"{game} has rows at several rates per second: {found}; if one is a mistake, shard "
                "again, else train with action_hz or permit it"
            )


def check_game_names(manifests: Mapping[Path, Manifest]) -> Iterator[str]:
    """Find a game under several names."""
    games = [
        game for each in manifests.values() for game in each.table["game"].unique().to_pylist()
    ]
    for names in find_respelt(games):
        yield (
            f"{quote(names)} differ in their spelling alone, and are learned as different games; "
            "if they are one, make the data set again with one name"
        )


def check_shards(dataset_dir: Path, manifest: Manifest) -> Iterator[str]:
    """Check that each shard is its records, one after the other, and a tar's end mark."""
    shards: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in manifest.rows():
        shards[row.shard].append(row)
    for path in sorted(dataset_dir.glob("*.tar")):
        if path.name not in shards:
            yield f"{path} is not in the manifest; remove it, or shard again"
    for name, rows in shards.items():
        path = dataset_dir / name
        if not path.is_file():
            yield f"{path} is missing; copy it again or shard again"
            continue
        end = 0
        for row in sorted(rows, key=lambda row: row.offset):
            if row.offset != end:
                yield (
                    f"clip {row.clip_id} is at byte {row.offset} of {name}, expected {end}; "
                    "shard again"
                )
            end = row.offset + row.size
        try:
            with path.open("rb") as file:
                file.seek(end)
                tail = file.read(_TAR_RECORD_BYTES + 1)
        except OSError as error:
            yield f"a shard cannot be read: {describe_error(error)}"
            continue
        if len(tail) not in range(len(SHARD_END), _TAR_RECORD_BYTES + 1) or any(tail):
            yield f"{path} does not end after its last record; copy it again or shard again"
