"""Where a campaign's relaxations run: `local`, `slurm`, `submitit`, `processes`, each with `:N` workers, or a TOML file that says it all.

The campaign is the same wherever it runs: an executor changes where and how fast, never what. Without one everything runs in the driver itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from ..base.config import from_mapping, read_toml
from ..base.errors import BadInput, Missing, NeedsPackage
from ..base.machine import hardware

KINDS = ("parsl", "submitit", "processes")
PROVIDERS = ("local", "slurm")
WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")
MEMORY = 1.5  # GiB that one worker may need: bounds the default number of workers


@dataclass(frozen=True)
class Executor:
    """One executor, the fields of a TOML file; only what differs from the defaults need be given.

    kind              "parsl" (pilot jobs that serve many tasks), "submitit" (one Slurm job for each task), "processes" (this machine, standard library)
    provider          of Parsl: "local" or "slurm"
    partition, account, qos, constraint, options   of Slurm; `options` are further #SBATCH words such as "--mem=16G"
    walltime          D-HH:MM:SS or HH:MM:SS of one job; workers stop in time
    jobs, nodes       most jobs at once, nodes of one job
    exclusive         whether a job takes whole nodes
    workers_per_node, cores_per_worker, gpus_per_node   with GPUs every worker is pinned to one, and there are no more workers than GPUs
    python            interpreter on the nodes, that of the driver if empty
    init              shell lines that a job begins with ("module load python")
    address           of the driver as nodes see it; empty: Parsl tries all its addresses
    encrypted         traffic between driver and workers by CurveZMQ
    task_seconds      work in one task
    patience          most seconds of one evaluation before its worker counts as hanging
    stale             seconds without a sign of the driver after which workers end
    heartbeat         of Parsl, whole seconds: a dead worker is noticed after one, a lost node after five
    """

    kind: str = "parsl"
    provider: str = "local"
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    options: tuple[str, ...] = ()
    walltime: str = "01:00:00"
    jobs: int = 1
    nodes: int = 1
    exclusive: bool = True
    workers_per_node: int | None = None
    cores_per_worker: int = 1
    gpus_per_node: int = 0
    python: str = ""
    init: tuple[str, ...] = ()
    address: str = ""
    encrypted: bool = True
    task_seconds: float = 30.0
    patience: float = 300.0
    stale: float = 30.0
    heartbeat: int = 2

    def __post_init__(self):
        for field, known in (("kind", KINDS), ("provider", PROVIDERS)):
            if getattr(self, field) not in known:
                raise BadInput(str(Missing(field, getattr(self, field), known)), "executor")
        for field in ("jobs", "nodes", "workers_per_node", "cores_per_worker", "task_seconds", "patience", "stale", "heartbeat"):
            if (value := getattr(self, field)) is not None and not value > 0:
                raise BadInput(f"{field} is {value}; it must be above 0", "executor")
        if self.gpus_per_node < 0:
            raise BadInput(f"gpus_per_node is {self.gpus_per_node}; it must not be negative", "executor")
        if self.gpus_per_node and (self.workers_per_node or 0) > self.gpus_per_node:
            raise BadInput(f"{self.workers_per_node} workers for {self.gpus_per_node} GPUs of a node; every worker has one of its own", "executor")
        if self.stale < 5:
            raise BadInput(f"stale is {self.stale:g} s; the driver shows itself every 2 s, so 5 s are the least", "executor")
        if self.remote and self.seconds < 60:
            raise BadInput(f"walltime is {self.walltime}; a job needs a minute at least", "executor")
        for field in ("partition", "account", "qos", "constraint", "address"):
            if not re.fullmatch(r"[\w.,:&|*\[\]()-]*", getattr(self, field)):
                raise BadInput(f"{field} is {getattr(self, field)!r}; it must be one word", "executor")

    @property
    def remote(self) -> bool:
        """Whether workers run in Slurm jobs."""
        return self.kind == "submitit" or (self.kind == "parsl" and self.provider == "slurm")

    @property
    def seconds(self) -> int:
        """`walltime` in seconds; BadInput if it is none."""
        found = WALLTIME.fullmatch(self.walltime)
        if not found:
            raise BadInput(f"walltime is {self.walltime!r}; write HH:MM:SS or D-HH:MM:SS", "executor")
        days, hours, minutes, seconds = (int(x or 0) for x in found.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    @property
    def workers(self) -> int:
        """Workers on one node: as asked, else one for each GPU, else as many as cores and memory of this machine allow, else one."""
        if self.workers_per_node:
            return self.workers_per_node
        if self.gpus_per_node:
            return self.gpus_per_node
        if self.remote:
            return 1
        here = hardware()
        return max(1, min(int(here["cores"]) // self.cores_per_worker, int(float(here.get("memory_gib", 1e6)) // MEMORY)))

    @property
    def slots(self) -> int:
        """Tasks that run at once when every job runs."""
        return self.jobs if self.kind == "submitit" else self.workers * (self.nodes * self.jobs if self.remote else 1)

    def environment(self) -> dict[str, str]:
        """Variables of a worker: its threads, and OpenMP threads that wait without spinning."""
        threads = str(self.cores_per_worker)
        return {**dict.fromkeys(("MATTERLOOP_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), threads),
                "OMP_WAIT_POLICY": "PASSIVE"}

    def lines(self) -> list[str]:
        """Shell lines at the beginning of a job: the user's own, the environment, and when its wall time is over (20 s of reserve)."""
        end = [f"export MATTERLOOP_ENDS=$(( $(date +%s) + {self.seconds - 20} ))"] if self.remote else []
        return [*self.init, *(f"export {k}={v}" for k, v in self.environment().items()), *end]


NAMED = {
    "local": Executor(),
    "processes": Executor(kind="processes"),
    "slurm": Executor(provider="slurm", task_seconds=120.0, stale=120.0, heartbeat=10),
    "submitit": Executor(kind="submitit", task_seconds=600.0, stale=120.0, jobs=100, exclusive=False),
}


def read_executor(given: str | Path | Executor) -> Executor | None:
    """The executor that a word of the command line means; None for the empty word: everything in the driver.

    Missing for an unknown name, BadInput for a file with unknown or impossible fields.
    """
    if isinstance(given, Executor) or not str(given):
        return given if isinstance(given, Executor) else None
    name, _, count = str(given).partition(":")
    if name in NAMED:
        if count and not (count.isdigit() and int(count)):
            raise BadInput(f"{given!r}: after the colon stands the number of workers, from 1 on", "executor")
        found = NAMED[name]
        return found if not count else replace(found, jobs=int(count)) if found.kind == "submitit" else replace(found, workers_per_node=int(count))
    path = Path(given)
    if path.suffix != ".toml" and not path.is_file():
        raise Missing("executor", str(given), [*NAMED, "FILE.toml"])
    values = read_toml(path)
    if nested := [k for k, v in values.items() if isinstance(v, dict)]:
        raise BadInput(f"has a table [{nested[0]}]; the fields of an executor stand at the top", str(path))
    base = NAMED["submitit" if values.get("kind") == "submitit" else "slurm" if values.get("provider") == "slurm" else "local"]
    defaults = {k: getattr(base, k) for k in ("task_seconds", "stale", "heartbeat", "jobs", "exclusive")}
    try:
        return from_mapping(Executor, {**defaults, **values}, str(path))
    except BadInput as error:
        raise error if error.where == str(path) else BadInput(error.message, str(path)) from None


def ready_executor(given: str | Path | Executor) -> Executor | None:
    """`read_executor`, and what it needs is there: NeedsPackage without its package, BadInput where there is no Slurm to talk to."""
    found = read_executor(given)
    if found is None or found.kind == "processes":
        return found
    if find_spec(found.kind) is None:
        raise NeedsPackage(found.kind, "this executor", f"'matterloop[{found.kind}]'")
    if found.remote and not which("sbatch"):
        raise BadInput("there is no sbatch on this machine; start the run where Slurm jobs are submitted, or use --executor local", "executor")
    return found
