"""What becomes of each printed command: run with small inputs, or why it cannot be run here.

A run is the printed text itself with small inputs in place of its names, and `$SMALL` or other
settings behind it. The commands of a story run in its order, in one folder.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Run:
    """A printed command, and what to put in place of its names."""

    text: str
    names: dict[str, str] = field(default_factory=dict)
    more: str = ""
    before: str = ""
    status: int = 0
    is_quick: bool = False
    """Whether `make test` runs it; `make test-full` runs them all."""

    @property
    def line(self) -> str:
        """What is given to a shell."""
        line = self.text
        for name, value in self.names.items():
            assert name in line, (name, line)
            line = line.replace(name, value)
        return f"{self.before}{line} {self.more}".strip()


GAMES = (
    Run("nitrogen-data games", is_quick=True),
    Run(
        "nitrogen-data record GAME --out FOLDER --episodes N",
        names={"GAME": "doom_defend", "FOLDER": "demo/recordings/doom_defend", "N": "3"},
        more="--workers 1",
    ),
    Run(
        "nitrogen-data record doom_gather --out rec --episodes 24",
        names={"24": "3"},
        is_quick=True,
    ),
    Run(
        "nitrogen-data shard FOLDER… --out DATASET",
        names={"FOLDER…": "demo/recordings/doom_defend", "DATASET": "demo/shards/doom_defend"},
        more="--size 64 --heldout-share 0.5",
    ),
    Run(
        "nitrogen-data shard rec --out data",
        more="--size 64 --heldout-share 0.5",
        is_quick=True,
    ),
    Run("nitrogen-data preview DATASET", names={"DATASET": "data"}),
    Run(
        "nitrogen-data overlay draw rec --out drawn --skin xbox",
        more="--size 320x180 --width 120 --workers 1",
    ),
    Run(
        "nitrogen-data overlay draw rec --out presets --skin PRESET.json --width 200 --at top-left "
        "--bitrate 2M --fps 60",
        names={"PRESET.json": "drawn-7"},
        more="--size 320x180 --workers 1",
    ),
    Run(
        "nitrogen-data watch drawn/*.mp4 --out watched --game doom_gather --sheet",
        more="--workers 1",
    ),
    Run(
        "nitrogen-data watch drawn/*.mp4 --out watched_known --game doom_gather --skin xbox",
        names={"*.mp4": "doom_gather-000000.mp4"},
        more="--workers 1",
    ),
    Run(
        "nitrogen-data watch drawn/*.mp4 --out watched_by_parts --game doom_gather --part 0/2",
        names={"*.mp4": "doom_gather-000000.mp4"},
        more="--workers 1",
    ),
    Run(
        "nitrogen-data watch drawn/*.mp4 --labels seen_labels --game doom_gather --skin xbox "
        "--correct-lag",
        names={"*.mp4": "doom_gather-000000.mp4"},
        more="--workers 1",
    ),
    Run("nitrogen-data shard watched --out seen --filling surroundings", more="--size 64"),
    Run('eval "$(nitrogen-data completion bash)"'),
    Run('eval "$(nitrogen-train -sc install=bash)"'),
    Run(
        "nitrogen-data verify DATASET [DATASET ...] --report FILE.json",
        names={"DATASET [DATASET ...]": "data demo/shards/doom_defend", "FILE": "doctor"},
    ),
    Run("nitrogen-data stats DATASET --html page.html", names={"DATASET": "data"}, is_quick=True),
    Run("nitrogen-data filter DATASET --dry-run", names={"DATASET": "data"}),
    Run("nitrogen-data filter SET --dry-run --workers 1", names={"SET": "data"}),
    Run("nitrogen-data filter DATASET --out NEW", names={"DATASET": "data"}),
    Run("nitrogen-data order DATASET…", names={"DATASET…": "data"}, more="--steps 2"),
    Run(
        "nitrogen-data order FOLDER --global-batch-size 4096 --world-size 1024 --rank 7 "
        "--start 5000 --steps 100 --accumulation 1",
        names={"FOLDER": "data", "4096": "8", "1024": "4", "7": "3", "100": "2"},
    ),
    Run(
        "nitrogen-data order --mixture mixture.yaml --world-size 1024 --rank 7 --start 5000 "
        "--steps 100 --accumulation 1",
        names={"1024": "4", "7": "3", "100": "2"},
        more="--global-batch-size 8",
    ),
    Run(
        "nitrogen-data mixture --mixture FILE --global-batch-size 4096 --steps 100000",
        names={"FILE": "mixture.yaml", "4096": "8", "100000": "100"},
    ),
    Run("nitrogen-train experiment=demo model=recurrent data.num_frames=3 plan=true"),
    Run("nitrogen-train … plan=true", names={"…": "experiment=demo"}),
    *(
        Run(
            f"nitrogen-train … profile={kind}",
            names={"…": "experiment=mine data.sources.mine.path=data"},
            more="$SMALL max_steps=3 output_dir=profiled",
        )
        for kind in ("steps", "loader")
    ),
    Run("nitrogen-train experiment=pretrain plan=true"),
    Run(
        "nitrogen-train experiment=pretrain plan=true strategy=zero_1 trainer.devices=8 "
        "trainer.num_nodes=16"
    ),
    Run(
        "nitrogen-train experiment=demo",
        more="$SMALL output_dir=demo/run-0 data.sources.doom_gather.path=data",
    ),
    Run(
        "nitrogen-train experiment=demo +data.sources.mine='{path: FOLDER, weight: 2}'",
        names={"FOLDER": "data"},
        more="$SMALL output_dir=two data.sources.doom_gather.path=data",
    ),
    Run(
        "nitrogen-train experiment=mine data.sources.mine.path=DATASET",
        names={"DATASET": "data"},
        more="$SMALL output_dir=alone",
        is_quick=True,
    ),
    Run('eval "$(nitrogen-train -sc install=bash)"'),
    Run(
        "nitrogen-eval policy=demo/run-0 games=[doom_defend,doom_gather] execution_horizon=1",
        more="episodes=2",
    ),
    Run(
        "nitrogen-eval policy=RUN games=[…] datasets=[…]",
        names={"RUN": "demo/run-0", "games=[…]": "games=[doom_gather]", "[…]": "[data]"},
        more="episodes=2",
    ),
    Run(
        "nitrogen-eval policy=RUN games=[doom_defend,doom_gather] delays_ms=[0,100,200,300] "
        "episodes=20",
        names={"RUN": "demo/run-0", "20": "2", "[doom_defend,doom_gather]": "doom_gather"},
        more="output_dir=late",
    ),
    Run(
        "nitrogen-play policy=RUN game=doom_defend output_dir=played",
        names={"RUN": "demo/run-0", "doom_defend": "doom_gather"},
    ),
    Run(
        "nitrogen-play policy=RUN game=doom_defend",
        names={"RUN": "demo/run-0", "doom_defend": "doom_gather"},
    ),
    Run(
        "nitrogen-eval policy=RUN datasets=[DATASET] predictions=true",
        names={"RUN": "demo/run-0", "DATASET": "data"},
        more="output_dir=judged",
        is_quick=True,
    ),
    Run(
        "nitrogen-data preview DATASET CLIP_ID --out CLIP.mp4 --predictions predictions.parquet",
        names={
            "DATASET": "data",
            "CLIP_ID": "$CLIP_ID",
            "predictions.parquet": "judged/predictions.parquet",
        },
        before='CLIP_ID=$(python -c "import pyarrow.parquet as p; '
        "print(p.read_table('judged/predictions.parquet')['clip_id'][0])\"); ",
    ),
    Run(
        "nitrogen-export run=RUN output_dir=FOLDER",
        names={"RUN": "demo/run-0", "FOLDER": "exported"},
        is_quick=True,
    ),
    Run(
        "nitrogen-export run=RUN output_dir=FOLDER weights=trained",
        names={"RUN": "demo/run-0", "FOLDER": "exported-trained"},
    ),
    Run(
        "nitrogen-export run=RUN output_dir=FOLDER format=checkpoint",
        names={"RUN": "demo/run-0", "FOLDER": "exported-checkpoint"},
    ),
    Run("nitrogen-report FOLDER", names={"FOLDER": "demo"}, is_quick=True),
    Run("nitrogen-data record my_games:MountainCar …", names={"…": "--out mountain --episodes 1"}),
    Run("nitrogen-data record my_games:Catch --out catch --episodes 20"),
    Run("nitrogen-data shard catch --out catch-data", more="--size 64"),
    Run("nitrogen-data stats catch-data"),
    Run(
        "nitrogen-train experiment=mine data.sources.mine.path=catch-data output_dir=runs/catch",
        more="$SMALL",
    ),
    Run("nitrogen-eval policy=runs/catch games=[my_games:Catch]", more="episodes=2"),
)
"""Played, recorded, sharded, looked at, trained on, judged and exported."""

RELEASED = (
    Run(
        "nitrogen-data shard RECORDINGS --out mine/shards",
        names={"RECORDINGS": "rec"},
        more="--size 64 --heldout-share 0.5",
    ),
    Run(
        "nitrogen-train experiment=finetune init_from=ng.pt +data.sources.mine.path=data "
        "data.action_offset=0 output_dir=runs/mine",
        more="$TINY",
    ),
    Run(
        "nitrogen-train experiment=finetune init_from=ng.pt +data.sources.mine.path=mine/shards "
        "output_dir=runs/mine",
        names={"runs/mine": "runs/again"},
        more="$TINY",
    ),
    Run(
        "nitrogen-eval policy=runs/mine games=[doom_gather] execution_horizon=4",
        more="episodes=2",
    ),
    Run("nitrogen-export run=runs/mine output_dir=mine format=ng"),
    Run(
        "nitrogen-export run=RUN output_dir=FOLDER format=ng",
        names={"RUN": "runs/mine", "FOLDER": "mine-2"},
    ),
    Run(
        "nitrogen-train experiment=pretrain_debug +data.sources.all.path=DATASET "
        "output_dir=runs/tiny",
        names={"DATASET": "data"},
        more="$SMALL",
    ),
    Run("nitrogen-export run=runs/tiny output_dir=tiny format=ng"),
    Run(
        "nitrogen-train experiment=finetune init_from=tiny/ng.pt ng.vision_num_heads=4 "
        "+data.sources.mine.path=DATASET max_steps=20 trainer.precision=32-true "
        "output_dir=runs/rehearsal",
        names={"DATASET": "data"},
        more="$SMALL",
    ),
    Run("nitrogen-report runs/mine"),
    Run(
        'nitrogen-train -m "${grid[@]}" output_dir=runs/lr',
        more="$TINY",
        before="grid=(experiment=finetune init_from=ng.pt +data.sources.mine.path=data "
        "optimizer.lr=1e-5,1e-4 seed=0); ",
    ),
    Run("nitrogen-report runs/lr"),
)
"""From a file like NVIDIA's to a policy of one's own."""

# An export of ours without the column by which it is known again.
AS_OF_OTHERS = (
    'cp -r back robot; python -c "import glob, pyarrow.parquet as p; '
    "[p.write_table(p.read_table(f).drop_columns(['nitrogen_train']), f) "
    "for f in glob.glob('robot/meta/episodes/**/*.parquet', recursive=True)]\"; "
)

OTHERS = (
    Run(
        "nitrogen-data ingest recording videos/*.mkv --out rec --game celeste --estimate-offset",
        names={"videos/": "films/"},
        more="--stick-y down",
    ),
    Run(
        "nitrogen-data ingest recording videos/*.mkv --out recordings --game my_game "
        "--estimate-offset",
        names={"videos/": "films/"},
        more="--stick-y down",
    ),
    Run(
        "nitrogen-data shard recordings --out dataset",
        names={"--out dataset": "--out of-films"},
        more="--size 64",
    ),
    Run("nitrogen-data labels index actions/ --out index", is_quick=True),
    Run(
        'nitrogen-data labels query index --where "game == celeste" --videos videos.jsonl',
        is_quick=True,
    ),
    Run(
        'nitrogen-data labels query index --where "source == youtube and idle_share < 0.5" '
        "--min-hours 10 --videos videos.jsonl",
        names={"10": "0"},
    ),
    Run(
        "nitrogen-data ingest nitrogen actions/ --index index --videos videos --out data",
        is_quick=True,
    ),
    Run(
        "nitrogen-data ingest nitrogen actions/ --index index --videos videos --out dataset "
        '--where "idle_share < 0.5"'
    ),
    Run("nitrogen-data verify dataset"),
    Run("nitrogen-data export lerobot data --out back", is_quick=True),
    Run(
        "nitrogen-data export lerobot DATASET --out FOLDER",
        names={"DATASET": "dataset", "FOLDER": "back-2"},
    ),
    Run(
        "nitrogen-data ingest lerobot FOLDER --out DATASET",
        names={"FOLDER": "back", "DATASET": "again"},
        is_quick=True,
    ),
    Run(
        "nitrogen-data ingest lerobot FOLDER --out data --map NAME=CONTROL,…",
        names={"FOLDER": "robot", "--out data": "--out of-robot", "NAME=CONTROL,…": "SOUTH=EAST"},
        more="--stick-y-axis down --game celeste",
        before=AS_OF_OTHERS,
    ),
    Run(
        "nitrogen-data ingest lerobot FOLDER --out DATASET --camera observation.images.top "
        "--map x=LEFT_STICK_X,y=LEFT_STICK_Y,grip=RIGHT_TRIGGER --stick-y-axis up "
        "--licence CC-BY-4.0",
        names={
            "FOLDER": "robot",
            "DATASET": "of-robot-2",
            "images.top": "images.screen",
            "x=LEFT_STICK_X,y=LEFT_STICK_Y,grip=RIGHT_TRIGGER": (
                "LEFT_STICK_X=LEFT_STICK_X,LEFT_STICK_Y=LEFT_STICK_Y,SOUTH=RIGHT_TRIGGER"
            ),
        },
    ),
    Run(
        "nitrogen-data ingest vpt FOLDER --out data",
        names={"FOLDER": "vpt", "--out data": "--out v"},
        is_quick=True,
    ),
    Run(
        "nitrogen-data ingest vpt FOLDER... --out SET",
        names={"FOLDER...": "vpt", "SET": "kbm"},
        more="--heldout-share 0.5",
    ),
    Run(
        "nitrogen-data ingest open-p2p FOLDER... --out SET", names={"FOLDER...": "p2p", "SET": "p"}
    ),
    Run(
        "nitrogen-train ... data.action_space=keyboard_mouse +data.sources.SET.path=SET",
        names={"...": "experiment=scratch model=small", "SET": "kbm"},
        more="$SMALL output_dir=keys",
    ),
    Run(
        "nitrogen-data index FOLDER_OR_URL… --game NAME",
        names={"FOLDER_OR_URL…": "foreign", "NAME": "celeste"},
        is_quick=True,
    ),
    Run(
        r"nitrogen-data index FOLDER --game NAME --session-from-key '^(lap\d+)'",
        names={"FOLDER": "foreign-laps", "NAME": "celeste"},
    ),
    Run(
        'python -c "import numpy as np; '
        "from nitrogen_train.actions.space import *; "
        "print(MOUSE_SCALE.encode(np.array([1., 2, 10, 100])), "
        'WHEEL_SCALE.encode(np.array([1., 2])))"'
    ),
    Run("make help", more="-C $ROOT"),
)
"""Data of others, brought in and out."""

_INSTALLS = "changes the machine: packages from the internet, groups; no test does"
_SLURM = "needs a SLURM; tests/slurm starts these scripts on one"
_BUCKET = "needs a bucket; tests/data/test_storage.py reads from an S3 server of its own"
_NODES = "needs several nodes; tests/training/test_strategies.py runs the strategies"
_MAKE = "a target of its own, of minutes to hours; CI runs check and test"
_BENCHMARK = "takes minutes; tests/benchmark and tests/benchmarks/data_tools run it smaller"
_NATIVE = "needs the game's packages; tests/games and tests/docs play them where they are"
_PERSON = "needs a person with a gamepad and a screen; tests/data_tools/recordings plays one"
_MENTION = "the name of a thing that its page explains, not a whole command"

_SERVER = "serves until it is told to end; tests/serving starts it, and plays with it"

NOT_RUN = {
    **dict.fromkeys(
        (
            "nitrogen-serve policy=RUN",
            "nitrogen-serve policy=ng.pt",
            "nitrogen-serve policy=runs/mine game=doom_defend",
            "nitrogen-serve policy=runs/mine game=doom_gather",
            "python scripts/play.py --process GAME.exe",
        ),
        _SERVER,
    ),
    **dict.fromkeys(
        (
            "nitrogen-data games court.yaml",
            "nitrogen-data record court.yaml --out court --episodes 4",
            "nitrogen-data record blobby --out blobby-recordings --episodes 20",
            "nitrogen-eval policy=runs/mine games=[blobby,doom_defend] videos=true",
            "nitrogen-eval policy=runs/mine games=suite",
        ),
        _NATIVE,
    ),
    **dict.fromkeys(
        (
            "make demo",
            "time make demo",
            "make test",
            "make test-full",
            "make test-gpu",
            "make check",
            "make format",
            "make compare",
            "make games",
            "make suite",
            "make lock",
            "python -m examples.demo --seed 1",
            "python -m pytest tests/data_tools/lerobot",
            "python -m pytest tests/data/test_order.py",
        ),
        _MAKE,
    ),
    **dict.fromkeys(
        (
            "git clone REPOSITORY nitrogen-train",
            "cd nitrogen-train",
            "pip install -e .",
            "pip install -e '.[cluster]'",
            "pip install 'nitrogen-train[cluster]'",
            "pip install 'nitrogen-train[s3]'",
            "pip install 'nitrogen-train[torchcodec]'",
            'pip install "nitrogen-train[videos]"',
            "pip install hydra-optuna-sweeper",
            "python3.11 -m venv venv",
            ". venv/bin/activate",
            "apt-get install ffmpeg",
            "apt install python3-tk",
            "pip install mpi4py",
            "sudo usermod -aG input $USER",
            ". venv/bin/activate; . STAGED/offline.sh",
            "venv/bin/pip install --no-index --find-links STAGED/wheels 'nitrogen-train[cluster]'",
            "slurm/stage.sh STAGED experiment=finetune init_from=nvidia/NitroGen "
            "+data.sources.mine.path=s3://BUCKET/FOLDER",
            "slurm/sync.sh runs/mine",
        ),
        _INSTALLS,
    ),
    **dict.fromkeys(
        (
            "export SBATCH_ACCOUNT=… SBATCH_PARTITION=…",
            "squeue --me",
            "sbatch …",
            "sbatch --signal=USR1@300",
            "scontrol requeue",
            "srun --pty bash",
            "salloc -J mine",
            "tail -f nitrogen-train-*.out",
            "sbatch --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8 "
            "--time=24:00:00 slurm/train.sbatch experiment=pretrain "
            "+data.sources.all.path=s3://BUCKET/FOLDER output_dir=runs/pretrain",
            "sbatch --gpus-per-node=1 --cpus-per-task=8 --time=12:00:00 slurm/train.sbatch "
            "experiment=finetune init_from=ng.pt +data.sources.mine.path=FOLDER "
            "output_dir=runs/mine",
            'sbatch --array="$(python -m nitrogen_train.sweep array "${grid[@]}")%8" '
            '--gpus-per-node=1 slurm/sweep.sbatch runs/lr "${grid[@]}"',
            'nitrogen-train -m hydra/launcher=slurm "${grid[@]}" output_dir=runs/lr',
            "sbatch --array=0-99 --cpus-per-task=8 --time=12:00:00 slurm/watch.sbatch "
            "videos/celeste --out watched/celeste --game celeste --skin ds4.json",
            "nitrogen-report runs/pretrain",
        ),
        _SLURM,
    ),
    **dict.fromkeys(
        (
            "nitrogen-train experiment=demo '+data.sources.mine={path: s3://bucket/set, weight: 2, "
            'where: "idle_share < 0.5 and fps == 60", game_temperature: 2}\'',
            "nitrogen-train … +data.sources.mine.path=s3://bucket/set "
            "data.cache_dir=/scratch/ranges data.cache_gib=500",
            "python -m http.server",
        ),
        _BUCKET,
    ),
    **dict.fromkeys(
        (
            "nitrogen-train experiment=pretrain strategy=zero_2 trainer.devices=8 "
            "trainer.num_nodes=4 …",
            "nitrogen-train … strategy=zero_3 "
            "strategy.deepspeed.zero_optimization.reduce_bucket_size=20000000",
        ),
        _NODES,
    ),
    **dict.fromkeys(
        (
            *(
                f"python -m benchmarks {name}"
                for name in (
                    "sampling",
                    "training",
                    "throughput",
                    "manifest",
                    "diversity",
                    "loading DATASET...",
                    "encoding VIDEO...",
                )
            ),
            "python -m benchmarks strategies",
            "python -m benchmarks serving",
            "nitrogen-train experiment=demo output_dir=runs/live model.max_prefix_rows=2 "
            "data.action_horizon=5 data.sources.doom_defend.path=suite/shards/doom_defend "
            "data.sources.doom_gather.path=suite/shards/doom_gather",
            "nitrogen-eval policy=runs/live games=[doom_defend,doom_gather] delays_ms=[0,100] "
            "methods=[trained,skip,synchronous] episodes=20",
            "python -m benchmarks games --seeds 10 --ledger games.jsonl --json docs/games.json",
            "python -m benchmarks.alignment play/*",
            "python -m benchmarks.watching play/* --cases 1 --seconds 60",
            "python -m benchmarks.watching play/* --skins xbox-controller.json",
            "python -m benchmarks.watching play/* --foreign overlays --pads 0 --cases 20",
            "python -m benchmarks.watching play/* --any --foreign overlays --pads 8 --cases 28",
            "python -m examples.compare watched",
            "python -m benchmarks.locating play/* --skins xbox-controller.json --videos 200",
            "nitrogen-data record doom_gather --episodes 8 --out play/doom_gather",
            "nitrogen-data record carracing --episodes 8 --out play/carracing",
            "python -m benchmarks.data_tools --seconds 60",
            "python -m benchmarks.data_tools.labels",
        ),
        _BENCHMARK,
    ),
    **dict.fromkeys(
        (
            "nitrogen-data record-screen --out mine --game celeste --fps 30",
            "nitrogen-data record doom_gather --out mine --episodes 3 --player human",
            "nitrogen-data gamepads",
            "nitrogen-data gamepads --watch",
            "nitrogen-data gamepads --watch --pad-map SOUTH=BTN_EAST,EAST=BTN_SOUTH",
            "nitrogen-data gamepads --watch --pad-map RIGHT_STICK_X=ABS_Z,RIGHT_STICK_Y=-ABS_RZ,"
            "LEFT_TRIGGER=ABS_RX,RIGHT_TRIGGER=ABS_RY",
            "nitrogen-data gamepads --watch --pad-map DPAD_UP=-ABS_HAT0Y,DPAD_DOWN=+ABS_HAT0Y,"
            "GUIDE=none",
        ),
        _PERSON,
    ),
    **dict.fromkeys(
        (
            "nitrogen-data videos fetch videos.jsonl --out videos",
            "nitrogen-data videos fetch videos.jsonl --out videos --rate-mb 5 "
            "--cookies cookies.txt",
        ),
        "needs the internet; tests/data_tools/ingest fetches from a server of its own",
    ),
    "python -m nitrogen_train.overlay_reader recordings/*/*.mp4 --out reader": (
        "takes hours; tests/overlay_reader/test_train_reader.py runs it on a little"
    ),
    "python tests/architecture/house.py": "tests/architecture/test_house.py holds what it prints",
    "python tests/docs/config_page.py > docs/config.md": (
        "writes into the repository; tests/docs/test_config_page.py compares what it would write"
    ),
    **dict.fromkeys(
        (
            "nitrogen-data ingest FORMAT …",
            "nitrogen-data ingest recording",
            "grid=(experiment=finetune init_from=ng.pt +data.sources.mine.path=FOLDER "
            "optimizer.lr=1e-5,1e-4 seed=0,1)",
        ),
        _MENTION,
    ),
}
"""Printed commands that are not run here, each with its reason."""

SNIPPETS = (
    """from nitrogen_train import load_policy
from nitrogen_train.games import load_game

policy = load_policy("demo/run-0")  # a run, a policy's folder, NVIDIA's ng.pt, or a hub id
game, is_over = load_game("doom_defend")(), False
frame, _ = game.reset(seed=game.info.heldout_seeds[0])
policy.reset(game="doom_defend")
while not is_over:
    controls = policy.act(frame)  # uint8 (h, w, 3) → {"RIGHT_TRIGGER": True, …}
    frame, reward, is_terminated, is_truncated, _ = game.step(controls)
    is_over = is_terminated or is_truncated
""",
    '''from typing import Any, ClassVar

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.games import Frame, Game, GameInfo


class Catch(Game):
    """A ball falls, the left stick moves the paddle below it."""

    info: ClassVar[GameInfo] = GameInfo(
        name="catch",  # small letters, on disk
        controls=("LEFT_STICK_X",),  # what the game listens to; or "SOUTH", "RIGHT_TRIGGER", …
        fps=10.0,  # frames shown and rows acted per second, after the frame skip
        frame_skip=1,  # the game's own ticks in one row
        frame_size=(64, 64),  # height and width of the picture, even
        score="1 for a caught ball, 0 for a lost one",  # the sum of the rewards
        reference_score=None,  # the expert's published mean, if there is one
        licence="CC0-1.0",  # of the code and the pictures
        recording_seeds=range(1000),  # may be recorded
        heldout_seeds=range(1000, 1100),  # kept for evaluation
    )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        self.ball, self.height, self.paddle = np.random.default_rng(seed).integers(4, 60), 0, 32.0
        return self.draw(), {}

    def step(self, action: Controls) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        self.paddle = float(np.clip(self.paddle + 4 * action.get("LEFT_STICK_X", 0.0), 4, 60))
        self.height += 2
        is_over = self.height >= 60
        reward = float(is_over and abs(self.paddle - self.ball) < 6)
        return self.draw(), reward, is_over, False, {}  # ended; out of time; extras

    def expert(self) -> Controls:
        return {"LEFT_STICK_X": float(np.clip((self.ball - self.paddle) / 4, -1, 1))}

    def draw(self) -> Frame:
        frame = np.zeros((64, 64, 3), np.uint8)
        frame[self.height : self.height + 4, self.ball - 2 : self.ball + 2] = 255
        frame[60:, int(self.paddle) - 4 : int(self.paddle) + 4] = (255, 128, 0)
        return frame
''',
)
"""Printed Python, all of it run."""

NATIVE_SNIPPET = """from nitrogen_train.games import load_game

game = load_game("blobby")()
frame, info = game.reset(
    seed=0
)  # info["allowed"]: lock_step, repeatable, restorable, as measured here
state = game.save()  # a clone of the game's process, asleep
game.step({"LEFT_STICK_X": 1.0, "SOUTH": True})
frame = game.restore(state)  # any number of times, from any branch; with score and time
game.close()
"""
"""Run where its game is installed."""
