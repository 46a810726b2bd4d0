"""Workers as subprocesses of the driver, served over their standard streams: no package needed, one machine."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from .engines import GRACE, SPOOL
from .executors import Executor


class _Worker:
    """One subprocess that serves calls, and the thread that reads its answers."""

    def __init__(self, environment: dict[str, str], log):
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "matterloop.campaign.workers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            env={**os.environ, **environment}, text=True, start_new_session=True)
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.call: ProcessCall | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def hear(self) -> None:
        """Note what the worker has said or how it ended."""
        while not self.answers.empty():
            line = self.answers.get()
            if self.call is not None:
                self.call.how = "" if line else self._fate()
                self.call = None

    def _fate(self) -> str:
        code = self.process.wait()
        if code < 0:
            return f"its process was killed by signal {-code}"
        words = Path(self.log.name).read_text(errors="replace").split("\n")
        return f"its process ended with code {code}: {next((w.strip() for w in reversed(words) if w.strip()), 'it said nothing')}"

    def alive(self) -> bool:
        return self.process.poll() is None


class ProcessCall:
    """A call that waits for, or runs in, a subprocess."""

    def __init__(self, engine: Processes, arguments: dict[str, Any]):
        self.engine, self.arguments, self.how = engine, arguments, None

    def ended(self) -> str | None:
        self.engine.turn()
        return self.how


class Processes:
    """A pool of subprocesses; one that dies is replaced."""

    def __init__(self, executor: Executor, folder: Path):
        if executor.gpus_per_node:
            self.environments = [{**executor.environment(), "CUDA_VISIBLE_DEVICES": str(i)} for i in range(executor.workers)]
        else:
            self.environments = [executor.environment()] * executor.workers
        self.environments = [{**e, SPOOL: str(folder)} for e in self.environments]
        self.waiting: deque[ProcessCall] = deque()
        self.log = (folder / "workers.log").open("ab")
        self.workers: list[_Worker | None] = [None] * executor.workers

    def start(self, arguments: dict[str, Any]) -> ProcessCall:
        call = ProcessCall(self, arguments)
        self.waiting.append(call)
        self.turn()
        return call

    def turn(self) -> None:
        """Hear the workers, and hand waiting calls to free ones."""
        for i, worker in enumerate(self.workers):
            if worker is not None:
                worker.hear()
                if not worker.alive() and worker.call is None:
                    worker = self.workers[i] = None
            if self.waiting and (worker is None or worker.call is None):
                worker = self.workers[i] = worker or _Worker(self.environments[i], self.log)
                worker.call = self.waiting.popleft()
                try:
                    worker.process.stdin.write(json.dumps(worker.call.arguments) + "\n")
                    worker.process.stdin.flush()
                except OSError:
                    pass  # it has just died: the next turn hears of it

    def close(self) -> None:
        alive = [w.process for w in self.workers if w is not None]
        for process in alive:
            process.stdin.close()
            process.terminate()
        until = time.monotonic() + GRACE
        for process in alive:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()
