"""Who may read what the commands write: whom the user's umask permits, and nobody else decides."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

UMASK = 0o027
TINY = (
    "experiment=demo", "~data.sources.doom_defend", "data.sources.doom_gather.path=data",
    "data.games=[doom_gather]", "max_steps=2", "schedule.warmup_steps=1",
    "schedule.decay_steps=1", "checkpoint_every_n_steps=1", "val_every_n_steps=2",
    "data.num_val_windows=4", "data.global_batch_size=4", "data.micro_batch_size=4",
    "data.image_size=32", "data.num_workers=0", "output_dir=run",
)  # fmt: skip
COMMANDS = (
    ("data_tools", "record", "doom_gather", "--out", "rec", "--episodes", "2", "--size", "32"),
    ("data_tools", "shard", "rec", "--out", "data", "--size", "32"),
    ("data_tools", "filter", "data", "--out", "filtered"),
    ("data_tools", "preview", "data", "--out", "clip.mp4"),
    ("data_tools", "stats", "data", "--html", "stats.html"),
    ("data_tools", "verify", "data", "--report", "verify.json"),
    ("data_tools", "export", "lerobot", "data", "--out", "lerobot"),
    ("nitrogen_train.train", *TINY),
    ("nitrogen_train.export", "run=run", "output_dir=folder"),
)


@pytest.mark.full
def test_all_that_is_written_has_the_umasks_permissions(tmp_path: Path) -> None:
    for module, *arguments in COMMANDS:
        ended = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path,
            umask=UMASK,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"WANDB_MODE": "offline"},
        )
        assert ended.returncode == 0, (module, arguments, ended.stderr[-2000:])

    # wandb's own folder is wandb's.
    made = [path for path in tmp_path.rglob("*") if "wandb" not in path.parts]
    made = [path for path in made if not path.is_symlink()]
    full = {path: 0o777 if path.is_dir() else 0o666 for path in made}
    wrong = {path for path in made if path.stat().st_mode & 0o777 != full[path] & ~UMASK}
    assert len(made) > 20
    assert wrong == set()
