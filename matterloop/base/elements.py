"""The periodic table as plain tuples: symbols, groups, blocks and the classes that a wish may name."""

from __future__ import annotations

from .errors import Missing

SYMBOLS = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo "
    "Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb "
    "Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).split()
NUMBER = {s: z for z, s in enumerate(SYMBOLS) if z}
MAX_Z = len(SYMBOLS) - 1


def symbol(z: int) -> str:
    """Chemical symbol of atomic number `z`; 0 gives X (undecided)."""
    if not 0 <= z <= MAX_Z:
        raise Missing("element with atomic number", str(z))
    return SYMBOLS[z]


def number(name: str) -> int:
    """Atomic number of a symbol; Missing with the nearest symbols otherwise."""
    try:
        return NUMBER[name]
    except KeyError:
        raise Missing("element", name, NUMBER) from None


def _numbers(text: str) -> frozenset[int]:
    return frozenset(NUMBER[s] for s in text.split())


NOBLE_GASES = _numbers("He Ne Ar Kr Xe Rn Og")
HALOGENS = _numbers("F Cl Br I")
CHALCOGENS = _numbers("O S Se Te")
PNICTOGENS = _numbers("N P As Sb Bi")
ALKALI_METALS = _numbers("Li Na K Rb Cs Fr")
ALKALINE_EARTH_METALS = _numbers("Be Mg Ca Sr Ba Ra")
LANTHANOIDS = frozenset(range(57, 72))
ACTINOIDS = frozenset(range(89, 104))
RARE_EARTHS = LANTHANOIDS | _numbers("Sc Y")
TRANSITION_METALS = frozenset([*range(21, 31), *range(39, 49), *range(72, 81)])
POST_TRANSITION_METALS = _numbers("Al Ga In Tl Sn Pb Bi")
METALLOIDS = _numbers("B Si Ge As Sb Te")
NON_METALS = _numbers("H C N O F P S Cl Se Br I") | NOBLE_GASES
METALS = (ALKALI_METALS | ALKALINE_EARTH_METALS | LANTHANOIDS | ACTINOIDS | TRANSITION_METALS | POST_TRANSITION_METALS)

# No noble gases, no actinoids, and no element without a stable isotope or usable reference (Tc, Pm, Po, At and beyond Rn).
DEFAULT_MASK = NOBLE_GASES | ACTINOIDS | _numbers("Tc Pm Po At Rn Fr Ra") | frozenset(range(104, MAX_Z + 1))
