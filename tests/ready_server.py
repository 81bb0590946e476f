"""A Python that has imported what takes seconds, and is forked for each command it is given.

    python ready_server.py     reads a JSON line a request: words, env, cwd, output, ranks
                               answers a line with the pids, and a line with the statuses

A fork has nothing of an earlier one: modules, threads and process groups are its own.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import sys
import threading
import traceback
import warnings
from typing import Any, NoReturn, TextIO

PRELOADED = ("torch", "lightning", "deepspeed", "timm", "nitrogen_train.train")


def serve(answers: TextIO) -> dict[str, Any]:
    """Fork what is asked for; in the fork, return what it is to run."""
    for line in sys.stdin:
        request = json.loads(line)
        num_ranks = request["ranks"]
        store, port = start_store(num_ranks) if num_ranks > 1 else (0, 0)
        children = []
        for rank in range(num_ranks):
            child = os.fork()
            if child == 0:
                answers.close()
                return request | {"env": request["env"] | describe_rank(rank, num_ranks, port)}
            children.append(child)
        print(json.dumps(children), file=answers, flush=True)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        if store:
            os.kill(store, signal.SIGKILL)
            os.waitpid(store, 0)
        print(json.dumps(statuses), file=answers, flush=True)
    sys.exit()


def start_store(num_ranks: int) -> tuple[int, int]:
    """Start what ranks meet at, as the agent of torchrun does: its port is bound, then told."""
    from torch.distributed import TCPStore

    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        store = TCPStore("127.0.0.1", 0, num_ranks, is_master=True, wait_for_workers=False)
        os.write(tell, str(store.port).encode())
        while True:
            signal.pause()
    port = int(os.read(told, 16))
    os.close(told)
    os.close(tell)
    return child, port


def describe_rank(rank: int, num_ranks: int, port: int) -> dict[str, str]:
    """The variables that torchrun sets."""
    if num_ranks == 1:
        return {}
    return {
        "RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "GROUP_RANK": "0", "ROLE_RANK": f"{rank}",
        "WORLD_SIZE": f"{num_ranks}", "LOCAL_WORLD_SIZE": f"{num_ranks}", "GROUP_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "TORCHELASTIC_RUN_ID": "tests",
        "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip


def become(request: dict[str, Any]) -> None:
    """Be a fresh process of the request: its group, variables, folder, words and files."""
    os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    output = request["output"]
    for number, name in ((0, os.devnull), (1, f"{output}.out"), (2, f"{output}.err")):
        how = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(name, how, 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)


def run(words: list[str], cwd: str) -> None:
    """Run a module, or a file, as the main one."""
    first, *rest = words
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path.insert(0, os.path.dirname(first) if first.endswith(".py") else cwd)  # noqa: PTH120
    sys.argv = [first, *rest]
    if first.endswith(".py"):
        runpy.run_path(first, run_name="__main__")
        return
    # It has been imported already, by its name.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
    runpy.run_module(first, run_name="__main__", alter_sys=True)


def end(status: int) -> NoReturn:
    """End as an interpreter does, but for taking all objects apart: their pages are shared."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    # What an import prints is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in PRELOADED:
        with contextlib.suppress(ModuleNotFoundError):
            __import__(name)
    gc.collect()
    gc.freeze()
    print("ready", file=answers, flush=True)
    request = serve(answers)
    become(request)
    status: Any = 0
    try:
        run(request["words"], request["cwd"])
    except SystemExit as ended:
        status = ended.code or 0
        if not isinstance(status, int):
            sys.stderr.write(f"{status}\n")
            status = 1
    except BaseException:  # noqa: BLE001 - it is shown, and is status 1
        traceback.print_exc()
        status = 1
    end(status)


if __name__ == "__main__":
    main()
