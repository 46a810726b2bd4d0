"""The trade of novelty for stability: what guidance, temperature and screens do to the default generator, drawn from a record of `matterloop bench generate`.

    matterloop bench generate wyckoff_transformer,guidance=1,share=1.0 wyckoff_transformer,guidance=2,share=1.0 ... --count 300 --record trade_off.json
    python benchmarks/trade_off.py trade_off.json docs/trade_off.svg [--option guidance]
"""

import argparse
import json
from pathlib import Path

from matterloop.app.figures.curves import curves


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--option", default="guidance")
    parser.add_argument("--hull", default="published")
    args = parser.parse_args()
    held = json.loads(args.record.read_text(encoding="utf-8"))["generators"]
    rows = []
    for name, found in held.items():
        value = next((float(part.partition("=")[2]) for part in name.replace("+", ",").split(",") if part.startswith(f"{args.option}=")), None)
        if value is not None:
            rows.append((value, found))
    rows.sort(key=lambda row: row[0])
    points = lambda get: [(x, *(get(found)[k] for k in ("value", "low", "high"))) for x, found in rows]
    series = [("unique", points(lambda f: f["unique"])), ("novel", points(lambda f: f["novel"])), (f"MetaSUN, {args.hull}", points(lambda f: f["hulls"][args.hull]["metasun"])),
              (f"SUN, {args.hull}", points(lambda f: f["hulls"][args.hull]["sun"]))]
    args.figure.write_text(curves(series, args.option, "share of all proposed", low=0.0, high=1.0), encoding="utf-8")
    for name, held in series:
        print(name, [(x, round(y, 3)) for x, y, _, _ in held])


if __name__ == "__main__":
    main()
