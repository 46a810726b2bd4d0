"""Write the ids of the catalogue of systems with their rooms: matterloop/shipped/systems.json and its card.

    python recipes/build_systems.py CATALOGUE.tsv

The catalogue is a table with the columns id and room, one row per system of the literature that the house has or will have.
"""

import csv
import json
import sys
from pathlib import Path

from matterloop.archive.shipped import SHIPPED, write_card


def main(table: str) -> None:
    with open(table, encoding="utf-8", newline="") as file:
        rows = [{"id": r["id"], "room": r["room"]} for r in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    if len({r["id"] for r in rows}) < len(rows):
        raise SystemExit("an id stands twice")
    target = SHIPPED / "systems.json"
    target.write_text("[\n" + ",\n".join(" " + json.dumps(r) for r in rows) + "\n]\n", encoding="utf-8")
    write_card(target, what=f"ids and rooms of the {len(rows)} systems of the catalogue; cards of built-in parts are called by these ids",
               made_by="recipes/build_systems.py", credit="a list of names, ours", systems=len(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]).as_posix())
