"""The Materials Project structures of the data sets, each once, as plain columns in the work folder of the reference recipes.

Called as `python recipes/reference_compounds.py read`. Published geometries stay in the work folder.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from matterloop.base.errors import BadInput
from matterloop.crystal.state import Crystals

CREDIT = {
    "mp20": "Materials Project (CC-BY 4.0) by way of MP-20 (Xie et al., ICLR 2022) as in SymmetryAdvantage/WyckoffTransformer (Apache-2.0)",
    "mpts52": "Materials Project (CC-BY 4.0) by way of MPTS-52 (Baird et al., JOSS 2024) as in SymmetryAdvantage/WyckoffTransformer (Apache-2.0)",
    "lemat": "Materials Project (CC-BY 4.0) by way of LeMaterial/lemat-genbench (Apache-2.0)",
    "dielectric": "Petousis et al., Sci. Data 4, 160134 (2017) (CC-BY 4.0) by way of matminer",
    "piezoelectric": "de Jong et al., Sci. Data 2, 150053 (2015) (CC-BY 4.0) by way of matminer",
    "built": "formulas and space groups on the hull of matbench_mp_e_form (Materials Project, CC-BY 4.0; Matbench v0.1, MIT), geometry by matterloop",
    "phonon": "Petretto et al., Sci. Data 5, 180065 (2018) (CC-BY 4.0), PBEsol geometries of Materials Project entries",
}


def rows_of(data_dir: Path) -> Iterator[tuple[str, str, str, str]]:
    """(material id, source, format, text) of every structure, in the order in which a repeated id is believed."""
    import pandas as pd

    for file in ("mp20_biternary_val_test/val", "mp20_biternary_val_test/test", "mp20_pilot_3x1000/train", "mp20_pilot_3x1000/val", "mp20_pilot_3x1000/test",
                 "mpts52_val_test/val"):
        frame = pd.read_csv(data_dir / f"{file}.csv.gz", usecols=["material_id", "cif"])
        yield from ((i, file.split("_")[0], "cif", text) for i, text in zip(frame.material_id, frame.cif, strict=True))
    yield from lemat_rows(data_dir / "gen_baseline_cifs_lemat" / "cifs_all.tar.zst")
    tensors = pd.read_csv(data_dir / "matminer_tensors" / "piezoelectric_tensor.csv.gz", comment="#")
    yield from ((i, "piezoelectric", "poscar", text) for i, text in zip(tensors.material_id, tensors.poscar, strict=True))
    tensors = pd.read_csv(data_dir / "matminer_tensors" / "dielectric_constant.csv.gz", comment="#")
    for text in tensors.meta:
        found = {key: re.search(rf"u'{key}': (u'(?:[^'\\]|\\.)*')", text) for key in ("material_id", "poscar")}
        if all(found.values()):
            yield ast.literal_eval(found["material_id"][1]), "dielectric", "poscar", ast.literal_eval(found["poscar"][1])
    with gzip.open(data_dir / "phonon_dfpt_petretto1521" / "petretto_visible.jsonl.gz", "rt") as file:
        for text in file:
            record = json.loads(text)
            yield record["material_id"], "phonon", "cif", record["cif"]


def lemat_rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """The Materials Project's part of an archive of CIFs."""
    import pyarrow as pa

    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if match := re.search(r"mp/mp_(mp-\d+)\.cif$", member.name):
                yield match[1], "lemat", "cif", archive.extractfile(member).read().decode()


def read(work: Path, data_dir: Path) -> None:
    """All structures once, as plain columns in the work folder."""
    import pandas as pd

    from matterloop.crystal.formats_cif import blocks, frame_of
    from matterloop.crystal.formats_frame import assemble
    from matterloop.crystal.formats_poscar import parse_poscar

    if (work / "structures.parquet").exists():
        return
    seen, records, failed = set(), [], []
    for material, source, kind, text in rows_of(data_dir):
        if material in seen:
            continue
        try:
            frame = frame_of(blocks(text)[0]) if kind == "cif" else parse_poscar(text)
            crystals, _ = assemble([frame])
        except BadInput as error:
            failed.append({"material_id": material, "source": source, "reason": str(error)})
            continue
        seen.add(material)
        records.append({"material_id": material, "source": source, "species": crystals.species.numpy().astype(np.int16), "cell": crystals.cell.flatten().numpy(),
                        "frac": crystals.frac.flatten().numpy()})
    frame = pd.DataFrame(records)
    frame["atoms"] = frame.species.map(len)
    frame = frame.sort_values(["atoms", "material_id"], kind="stable", ignore_index=True)
    frame.to_parquet(work / "structures.new", index=False)
    (work / "structures.new").replace(work / "structures.parquet")
    (work / "unreadable.json").write_text(json.dumps(failed, indent=1))
    print(f"{len(frame)} structures, {len(failed)} unreadable: {failed[:5]}", flush=True)


def crystals_of(frame) -> Crystals:
    """Crystals of some rows of the structure file."""
    return Crystals.of(np.concatenate(frame.frac.to_list()), np.concatenate(frame.species.to_list()).astype(np.int64), np.stack(frame.cell.to_list()),
                       frame.atoms.to_list())


def structures(work: Path):
    """The structure file as a frame."""
    import pandas as pd

    return pd.read_parquet(work / "structures.parquet")
