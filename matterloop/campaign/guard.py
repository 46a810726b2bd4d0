"""Parsl's interchange, ended with the driver that started it: Parsl itself leaves it running when the driver is killed.

    python -m matterloop.campaign.guard PID SPOOL
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

EVERY = 1.0  # seconds


def watch(parent: int) -> None:
    """End this process as soon as its parent is another than `parent`."""
    while os.getppid() == parent:
        time.sleep(EVERY)
    os._exit(1)


def main() -> None:
    parent, _ = int(sys.argv.pop(1)), sys.argv.pop(1)  # the spool only says whose process this is
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to hear
    threading.Thread(target=watch, args=(parent,), daemon=True).start()
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__")


if __name__ == "__main__":
    main()
