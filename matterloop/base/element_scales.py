"""Scales that order the elements hydrogen to plutonium: Mendeleev numbers and atomic radii.

Mendeleev numbers after D. G. Pettifor, Solid State Commun. 51, 31 (1984), in the order that pymatgen carries; radii in Å after J. C. Slater, J. Chem. Phys.
41, 3199 (1964), where he gives none the calculated ones of E. Clementi et al., J. Chem. Phys. 47, 1300 (1967), and 1.9 for astatine and francium.
"""

from __future__ import annotations

MAX_Z = 94
MENDELEEV = (0, *map(int, (
    "103 1 12 77 86 95 100 101 102 2 11 73 80 85 90 94 99 3 10 16 19 51 54 57 60 61 64 67 72 76 81 84 89 93 98 4 9 15 25 49 53 56 59 62 65 69 71 75 79 83 88 92 97 "
    "5 8 14 33 32 31 30 29 28 18 27 26 24 23 22 21 17 20 50 52 55 58 63 66 68 70 74 78 82 87 91 96 6 7 13 48 47 46 45 44 43").split()))
"""By atomic number; 0 for none."""
RADIUS = (0.0, *map(float, (
    "0.25 0.31 1.45 1.05 0.85 0.7 0.65 0.6 0.5 0.38 1.8 1.5 1.25 1.1 1 1 1 0.71 2.2 1.8 1.6 1.4 1.35 1.4 1.4 1.4 1.35 1.35 1.35 1.35 1.3 1.25 1.15 1.15 1.15 0.88 "
    "2.35 2 1.8 1.55 1.45 1.45 1.35 1.3 1.35 1.4 1.6 1.55 1.55 1.45 1.45 1.4 1.4 1.08 2.6 2.15 1.95 1.85 1.85 1.85 1.85 1.85 1.85 1.8 1.75 1.75 1.75 1.75 1.75 1.75 "
    "1.75 1.55 1.45 1.35 1.35 1.3 1.35 1.35 1.35 1.5 1.9 1.8 1.6 1.9 1.9 1.2 1.9 2.15 1.95 1.8 1.8 1.75 1.75 1.75").split()))
"""Å, by atomic number; 0 for none."""
