"""Conversion factors between the inner units (eV, Å, amu, K, e, fs, eV/Å^3) and those of the border (CODATA 2018)."""

GPA_PER_EV_PER_A3 = 160.2176634
EV_PER_KJ_PER_MOL = 1.0 / 96.48533212331
EV_PER_HARTREE = 27.211386245988
A_PER_BOHR = 0.529177210903
KELVIN_TO_EV = 8.617333262e-5
AMU_A3_TO_G_CM3 = 1.66053906660


def stress_to_gpa(stress):
    """eV/Å^3 to GPa, same sign (positive under tension)."""
    return stress * GPA_PER_EV_PER_A3


def gpa_to_stress(gpa):
    """GPa to eV/Å^3, same sign (positive under tension)."""
    return gpa / GPA_PER_EV_PER_A3
