"""Which formulas the Materials Project's 132,752 formation energies hold, in which space groups: shipped/known_formulas.parquet, names without energies.

    python recipes/known_formulas.py [--data-dir DIR]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from reference_common import write_table

from matterloop.crystal.composition import reduced_formula
from matterloop.measure.published_hull import TABLE, published_table


def main():
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    table = published_table(parser.parse_args().data_dir)
    held: dict[tuple, set[int]] = defaultdict(set)
    for composition, group in table.known:
        held[composition].add(group)
    chosen = sorted(held)
    frame = pd.DataFrame({"formula": [reduced_formula(dict(c)) for c in chosen], "space_groups": [np.array(sorted(held[c]), dtype=np.uint8) for c in chosen]})
    write_table("known_formulas", frame, {
        "what": "reduced formulas that the Materials Project held in 2019 and their space groups (numbers, found within 0.1 Å); no energies, no structures",
        "made_by": "python recipes/known_formulas.py", "source": "/".join(TABLE), "pairs": int(frame.space_groups.map(len).sum()),
        "credit": "formulas and space groups of the Materials Project (CC-BY 4.0) in matbench_mp_e_form of Matbench v0.1 (Dunn et al., npj Comput. Mater. 6, 138 (2020), MIT)"})


if __name__ == "__main__":
    main()
