"""The doors for structures: CIF, POSCAR, extended XYZ and tables in, the same and pymatgen and ASE objects both ways, always batches."""

from .formats_frame import no_crystals
from .formats_objects import from_ase, from_pymatgen, to_ase, to_pymatgen
from .formats_read import ReadResult, kind_of, read, read_table, read_text_of
from .formats_write import cif_texts, extxyz_text, poscar_texts, write_cif, write_extxyz, write_poscar

__all__ = [
    "ReadResult", "cif_texts", "extxyz_text", "from_ase", "from_pymatgen", "kind_of", "no_crystals", "poscar_texts", "read", "read_table",
    "read_text_of", "to_ase", "to_pymatgen", "write_cif", "write_extxyz", "write_poscar",
]
