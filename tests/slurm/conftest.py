"""A SLURM of two nodes on this machine, with ports, key and folders of its own, for one session."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

_DAEMONS = ("munged", "slurmctld", "slurmd")
_FINISHED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
_CONFIG = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
MinJobAge=3600
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_1} CPUs=4 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_2} CPUs=4 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running cluster of the nodes n1 and n2, 4 cores each."""

    folder: Path
    env: dict[str, str]
    """For whoever talks to it, and for its jobs."""

    def call(self, *command: str | Path, timeout_s: float = 300) -> str:
        result = subprocess.run(
            [str(word) for word in command],
            capture_output=True, text=True, check=False, env=self.env, timeout=timeout_s,
        )  # fmt: skip
        assert result.returncode == 0, (command, result.stderr)
        return result.stdout

    def submit(self, *arguments: str | Path) -> str:
        return self.call("sbatch", "--parsable", *arguments).strip()

    def describe(self, job: str) -> dict[str, str]:
        words = self.call("scontrol", "--oneliner", "show", "job", job).splitlines()[0].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: str, output: Path, *, timeout_s: float = 900) -> dict[str, str]:
        """Wait for the end of a job or of all elements of an array."""
        deadline = time.monotonic() + timeout_s
        while True:
            lines = self.call("scontrol", "--oneliner", "show", "job", job).splitlines()
            if all(any(f"JobState={state}" in line for state in _FINISHED) for line in lines):
                return self.describe(job)
            assert time.monotonic() < deadline, (lines, output.read_text()[-3000:])
            self._hurry()
            time.sleep(0.5)

    def _hurry(self) -> None:
        """Start what has been requeued after 75 s instead of SLURM's two minutes.

        Sooner, a message that ends the job's last step may be repeated, and end its next one.
        """
        for line in self.call("scontrol", "--oneliner", "show", "job").splitlines():
            if "JobState=PENDING" in line and "Reason=BeginTime" in line:
                job = dict(word.split("=", 1) for word in line.split() if "=" in word)
                requeued = datetime.fromisoformat(job["SubmitTime"])
                if datetime.now(requeued.tzinfo) - requeued > timedelta(seconds=75):
                    name = job["JobId"]
                    if job.get("ArrayJobId") == name:
                        # Which would name the other elements, too.
                        name += f"_{job['ArrayTaskId']}"
                    self.call("scontrol", "update", f"JobId={name}", "StartTime=now")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    missing = [name for name in _DAEMONS if _find(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: apt-get install slurm-wlm munge (make slurm)")
    folder = tmp_path_factory.mktemp("slurm")
    cluster = Slurm(folder, os.environ | {"SLURM_CONF": str(folder / "slurm.conf")})
    processes: list[subprocess.Popen[bytes]] = []
    try:
        _start(cluster, processes)
        yield cluster
        cluster.call("scancel", "--user", _user())
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(cluster: Slurm, processes: list[subprocess.Popen[bytes]]) -> None:
    folder = cluster.folder
    ports = _free_ports(3)
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(
        _CONFIG.format(
            host=host, user=_user(), folder=folder,
            port=ports[0], port_1=ports[1], port_2=ports[2],
        )
    )  # fmt: skip
    for name in ("munge", "state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(mode=0o755)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)

    def start(name: str, *arguments: str) -> None:
        path = _find(name)
        assert path is not None
        log = (folder / f"{name}.out").open("ab")
        with log:
            processes.append(
                subprocess.Popen(
                    [path, *arguments], env=cluster.env, stdout=log, stderr=log,
                    start_new_session=True,
                )
            )  # fmt: skip

    # --force: a folder below /tmp is fine for a key that protects nothing.
    start(
        "munged", "--foreground", "--force", f"--key-file={key}",
        *(f"--{what}={folder}/munge/{what}" for what in ("pid-file", "log-file", "seed-file")),
        f"--socket={folder}/munge/socket",
    )  # fmt: skip
    _until(lambda: (folder / "munge" / "socket").exists(), folder)
    start("slurmctld", "-D", "-c")
    for node in ("n1", "n2"):
        start("slurmd", "-D", "-N", node, "-c")
    _until(lambda: _count_idle(cluster) == 2, folder)


def _count_idle(cluster: Slurm) -> int:
    result = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%T"],
        capture_output=True, text=True, check=False, env=cluster.env,
    )  # fmt: skip
    return result.stdout.split().count("idle")


def _until(holds: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        if time.monotonic() > deadline:
            logs = "\n".join(
                f"{path.name}: {path.read_text(errors='replace')[-800:]}"
                for path in [*folder.glob("*.log"), *folder.glob("*.out")]
            )
            pytest.fail(f"SLURM does not start here\n{logs}")
        time.sleep(0.2)


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _free_ports(count: int) -> list[int]:
    """Find ports below those that the kernel gives to whoever asks for any."""
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first_given = int(path.read_text().split()[0])
    ports: list[int] = []
    for port in range(first_given - 1 - os.getpid() % 10_000, 1024, -1):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
        if len(ports) == count:
            break
    return ports
