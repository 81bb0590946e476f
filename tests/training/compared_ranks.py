"""A rank that compares its plan of the data with the other's.

python compared_ranks.py FOLDER PLAN PLAN     in JSON, one a rank; writes what came of it
"""

import json
import os
import sys
from pathlib import Path

import torch.distributed


def main() -> None:
    folder, *plans = sys.argv[1:]
    from nitrogen_train.training.callbacks import RankMismatchError, refuse_other_plan

    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group("gloo")
    try:
        refuse_other_plan(json.loads(plans[rank]), step=8)
        text = "the same"
    except RankMismatchError as error:
        text = str(error)
    (Path(folder) / f"rank-{rank}.txt").write_text(text)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
