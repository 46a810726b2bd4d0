#!/usr/bin/env bash
# Builds the wheel from what is committed, installs it into an empty environment and runs it far from the checkout.
#   recipes/check_wheel.sh          dependencies borrowed from .venv (seconds)
#   recipes/check_wheel.sh --full   dependencies installed anew from constraints.txt (minutes, needs a network)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH MATTERLOOP_DATA

git -C "$root" archive HEAD | tar -x --one-top-level="$work/source"
"$python" -m build --wheel --no-isolation --outdir "$work/dist" "$work/source" > "$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
wheel=$(ls "$work"/dist/*.whl)
if [ "${1:-}" = --full ]; then
    "$python" -m venv "$work/env"
    "$work/env/bin/python" -m pip install --quiet --constraint "$root/constraints.txt" "$wheel"
else
    "$python" -m venv --without-pip "$work/env"
    site=$("$work/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$python" -m pip --python "$work/env/bin/python" install --quiet --no-deps --no-index "$wheel"
    # A .pth that adds a folder does not run the .pth files in it, so the editable install stays out.
    "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/borrowed.pth"
fi
cd "$work"
bin=$work/env/bin
"$bin/python" - "$root" <<'PY'
import sys
from pathlib import Path
import matterloop
where = Path(matterloop.__file__)
assert Path(sys.argv[1]) not in where.parents, f"the checkout was imported: {where}"
from matterloop.archive.shipped import list_shipped
assert len(list(list_shipped())) >= 6, "shipped tables are missing"
PY
cat > salt.cif <<'CIF'
data_salt
_cell_length_a 3.99
_cell_length_b 3.99
_cell_length_c 3.99
_cell_angle_alpha 60
_cell_angle_beta 60
_cell_angle_gamma 60
loop_
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na 0 0 0
Cl 0.5 0.5 0.5
CIF
"$bin/matterloop" models --json | "$bin/python" -c 'import json, sys; names = {json.loads(x)["name"] for x in sys.stdin}; assert {"chgnet", "substitution", "hull"} <= names, names'
"$bin/matterloop" doctor --json | "$bin/python" -c 'import json, sys; bad = [r for r in map(json.loads, sys.stdin) if not r["ok"]]; assert not bad, bad'
"$bin/matterloop" hull salt.cif --quiet --json | "$bin/python" -c 'import json, sys; r = json.loads(sys.stdin.read()); assert abs(r["energy_above_hull"]) < 0.02, r'
"$bin/matterloop" discover "stable oxides of lithium" --count 2 --out run --quiet --no-lookup --json > found.jsonl
test "$(wc -l < found.jsonl)" = 2 && test -s run/report.html
echo "the wheel works: $(basename "$wheel")"
