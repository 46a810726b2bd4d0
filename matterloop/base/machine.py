"""On what a run was made: versions, processor, memory, threads."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("matterloop", "torch", "numpy", "scipy", "pandas", "pymatgen", "moyopy", "chgnet", "smact", "ase", "sqlalchemy")


def versions() -> dict[str, str]:
    """Version of Python and of every package whose numbers a run depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware() -> dict[str, str | int | float]:
    """Processor, cores this process may use, memory in GiB, operating system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next((line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: dict[str, str | int | float] = {"processor": model, "cores": cores, "system": f"{platform.system()} {platform.release()}"}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    if "torch" in sys.modules:
        import torch

        found["torch_threads"] = torch.get_num_threads()
        found["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return found
