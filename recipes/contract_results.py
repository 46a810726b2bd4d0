"""Run the full tier of the contract on every part and store the answers in docs/contract.json.

    python recipes/contract_results.py [--out FILE] [NAME ...]

One object per part with its checks, seconds, waivers and notes, the machine and the versions; named parts replace their entries only. Exit code 1 if a
check fails.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from matterloop.base.machine import hardware, versions
from matterloop.base.registry import entries
from matterloop.bench.contract import run_contract

HERE = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=HERE / "docs" / "contract.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = {n: e for n, e in entries().items() if not e.plugin}
    found = json.loads(given.out.read_text())["parts"] if given.out.exists() and given.names else {}
    for name in given.names or sorted(known):
        rows = run_contract(name, full=True)
        waived = {r["check"]: r["note"].removeprefix("waived: ") for r in rows if r["note"].startswith("waived: ")}
        checks = {r["check"]: {"passed": r["passed"], "seconds": r["seconds"]} | ({"note": r["note"]} if r["note"] else {})
                  for r in rows if r["check"] not in waived}
        found[name] = {"role": known[name].card.role, "seconds": round(sum(r["seconds"] for r in rows), 2), "checks": checks, "waived": waived}
        passed = [c["passed"] for c in checks.values()]
        sys.stderr.write(f"{name}: {passed.count(True)} passed, {passed.count(False)} failed, {passed.count(None)} not run, {len(waived)} waived, "
                         f"{found[name]['seconds']} s\n")
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps({"threads": 1, "hardware": hardware(), "versions": versions(), "parts": dict(sorted(found.items()))}, indent=1) + "\n")
    return int(any(c["passed"] is False for p in found.values() for c in p["checks"].values()))


if __name__ == "__main__":
    sys.exit(main())
