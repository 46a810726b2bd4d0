"""The words of a wish, English and Chinese: elements, classes, structure types, properties, units, symmetry and the small words.

Meanings of classes. A class names elements that must be present and elements that must not, so that the name a chemist would give holds:
an oxide holds O and no halogen (oxyhalides have a name of their own; phosphates, carbonates and the like count as oxides); a halide holds no
chalcogen; a sulfide, selenide, telluride or chalcogenide holds neither O nor a halogen (so no sulfate; "chalcogenide" leaves oxides out); a
nitride or pnictide holds no O, S, Se, Te or halogen, a phosphide, arsenide, antimonide or bismuthide no N either; carbides, borides, silicides
and germanides neither; a hydride holds no C in addition; oxyanion salts (phosphate, titanate, ...) hold their two elements and forbid nothing.
What a class forbids yields to an element that the wish names. An intermetallic or alloy holds metals only, two at least.
Space-group sets follow from the geometric crystal class of each group (International Tables for Crystallography A, 2016, table 2.1.2.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..base import elements as table
from ..base.units import EV_PER_HARTREE, EV_PER_KJ_PER_MOL, GPA_PER_EV_PER_A3
from ..learn.shipped_predictors import predicted_properties

# Limits that words without a number stand for.
STABLE_LIMIT = 0.001  # eV/atom: on the hull, up to the noise of a relaxation
METASTABLE_LIMIT = 0.1  # eV/atom
ABOUT = 0.1  # "about x" is x ± 10 %
WAVENUMBERS_PER_THZ = 1e12 / 29979245800.0  # 1/cm, by the speed of light in cm/s

ELEMENT_NAMES = (
    "hydrogen helium lithium beryllium boron carbon nitrogen oxygen fluorine neon sodium magnesium aluminium silicon phosphorus sulfur chlorine "
    "argon potassium calcium scandium titanium vanadium chromium manganese iron cobalt nickel copper zinc gallium germanium arsenic selenium "
    "bromine krypton rubidium strontium yttrium zirconium niobium molybdenum technetium ruthenium rhodium palladium silver cadmium indium tin "
    "antimony tellurium iodine xenon caesium barium lanthanum cerium praseodymium neodymium promethium samarium europium gadolinium terbium "
    "dysprosium holmium erbium thulium ytterbium lutetium hafnium tantalum tungsten rhenium osmium iridium platinum gold mercury thallium lead "
    "bismuth polonium astatine radon francium radium actinium thorium protactinium uranium neptunium plutonium americium curium berkelium "
    "californium einsteinium fermium mendelevium nobelium lawrencium rutherfordium dubnium seaborgium bohrium hassium meitnerium darmstadtium "
    "roentgenium copernicium nihonium flerovium moscovium livermorium tennessine oganesson"
).split()
ELEMENT_NAMES_ZH = (
    "氢氦锂铍硼碳氮氧氟氖钠镁铝硅磷硫氯氩钾钙钪钛钒铬锰铁钴镍铜锌镓锗砷硒溴氪铷锶钇锆铌钼锝钌铑钯银镉铟锡锑碲碘氙铯钡镧铈镨钕钷钐铕钆铽镝钬铒铥镱镥铪钽钨铼锇铱铂金汞铊铅铋钋砹氡钫镭"
    "锕钍镤铀镎钚镅锔锫锎锿镄钔锘铹𬬻𬭊𬭳𬭛𬭶鿏𫟼𬬭鿔鿭𫓧镆𫟷鿬鿫"
)
OTHER_NAMES = {"aluminum": 13, "sulphur": 16, "cesium": 55, "wolfram": 74}

_z = table._numbers
HALOGENS, CHALCOGENS, PNICTOGENS = table.HALOGENS, table.CHALCOGENS, table.PNICTOGENS
_O, _S, _N = _z("O"), _z("S Se Te"), _z("N")
_PLATINUM = _z("Ru Rh Pd Os Ir Pt")


@dataclass(frozen=True)
class Group:
    """A named set of elements; `words` and `words_zh` are its spellings, the first is shown."""

    numbers: frozenset[int]
    words: tuple[str, ...]
    words_zh: tuple[str, ...]


def _group(numbers, words, words_zh):
    return Group(frozenset(numbers), tuple(words.split(", ")), tuple(words_zh.split()))


GROUPS: dict[str, Group] = {
    "alkali_metals": _group(table.ALKALI_METALS, "alkali metal, alkali", "碱金属 碱金属元素"),
    "alkaline_earth_metals": _group(table.ALKALINE_EARTH_METALS, "alkaline earth metal, alkaline earth, alkaline earth element, earth alkaline, earth alkaline metal, earth alkali metal", "碱土金属 碱土金属元素 碱土"),
    "transition_metals": _group(table.TRANSITION_METALS, "transition metal, tm, transition element, d block metal, d block element", "过渡金属 过渡金属元素 过渡元素"),
    "3d_metals": _group(range(21, 31), "3d transition metal, 3d metal, 3d element, first row transition metal", "3d过渡金属 3d金属"),
    "4d_metals": _group(range(39, 49), "4d transition metal, 4d metal, 4d element, second row transition metal", "4d过渡金属 4d金属"),
    "5d_metals": _group(range(72, 81), "5d transition metal, 5d metal, 5d element, third row transition metal", "5d过渡金属 5d金属"),
    "rare_earths": _group(table.RARE_EARTHS, "rare earth, rare earth metal, rare earth element, ree", "稀土 稀土元素 稀土金属"),
    "lanthanides": _group(table.LANTHANOIDS, "lanthanide, lanthanoid, lanthanide metal", "镧系 镧系元素 镧系金属"),
    "actinides": _group(table.ACTINOIDS, "actinide, actinoid, actinide metal", "锕系 锕系元素 锕系金属"),
    "noble_gases": _group(table.NOBLE_GASES, "noble gas, inert gas, rare gas", "稀有气体 惰性气体"),
    "halogens": _group(HALOGENS, "halogen", "卤素 卤族元素"),
    "chalcogens": _group(CHALCOGENS, "chalcogen", "氧族元素 硫族元素"),
    "pnictogens": _group(PNICTOGENS, "pnictogen", "氮族元素 磷族元素"),
    "metals": _group(table.METALS, "metal, metal element", "金属 金属元素"),
    "nonmetals": _group(table.NON_METALS, "nonmetal, non metal", "非金属 非金属元素"),
    "metalloids": _group(table.METALLOIDS, "metalloid, semimetal element", "类金属 准金属"),
    "post_transition_metals": _group(table.POST_TRANSITION_METALS, "post transition metal, p block metal", "后过渡金属"),
    "platinum_metals": _group(_PLATINUM, "platinum group metal, platinum group element, pgm", "铂族金属 铂族元素"),
    "precious_metals": _group(_PLATINUM | _z("Ag Au"), "precious metal, noble metal", "贵金属"),
    "heavy_metals": _group(_z("Cd Hg Tl Pb Bi"), "heavy metal", "重金属"),
    "refractory_metals": _group(_z("Nb Mo Ta W Re"), "refractory metal", "难熔金属"),
    "toxic_elements": _group(_z("Be As Cd Hg Tl Pb"), "toxic element, toxic metal, poisonous element", "有毒元素 有毒金属"),
    "radioactive_elements": _group(_z("Tc Pm Po At Rn Fr Ra") | table.ACTINOIDS | frozenset(range(104, table.MAX_Z + 1)), "radioactive element, radioactive metal, radioactive", "放射性元素"),
}


@dataclass(frozen=True)
class Class:
    """A class of compounds: one element of each set in `need`, none of `avoid`, nothing outside `only`, `fewest` elements at least."""

    need: tuple[frozenset[int], ...]
    avoid: frozenset[int]
    words: tuple[str, ...]
    words_zh: tuple[str, ...]
    only: frozenset[int] | None = None
    fewest: int = 1


def _class(need, avoid, words, words_zh, **more):
    return Class(tuple(need), frozenset(avoid), tuple(words.split(", ")), tuple(words_zh.split()), **more)


_X = HALOGENS
_STRONG = _X | _O | _S
CLASSES: dict[str, Class] = {
    "oxide": _class([_O], _X, "oxide", "氧化物"),
    "fluoride": _class([_z("F")], _O | _S, "fluoride", "氟化物"),
    "chloride": _class([_z("Cl")], _O | _S, "chloride", "氯化物"),
    "bromide": _class([_z("Br")], _O | _S, "bromide", "溴化物"),
    "iodide": _class([_z("I")], _O | _S, "iodide", "碘化物"),
    "halide": _class([_X], _O | _S, "halide", "卤化物"),
    "sulfide": _class([_z("S")], _O | _X, "sulfide, sulphide", "硫化物"),
    "selenide": _class([_z("Se")], _O | _X, "selenide", "硒化物"),
    "telluride": _class([_z("Te")], _O | _X, "telluride", "碲化物"),
    "chalcogenide": _class([_S], _O | _X, "chalcogenide", "硫族化物 硫族化合物 硫属化合物"),
    "nitride": _class([_N], _STRONG, "nitride", "氮化物"),
    "pnictide": _class([PNICTOGENS], _STRONG, "pnictide", "磷族化物 磷族化合物 氮族化物"),
    "phosphide": _class([_z("P")], _STRONG | _N, "phosphide", "磷化物"),
    "arsenide": _class([_z("As")], _STRONG | _N, "arsenide", "砷化物"),
    "antimonide": _class([_z("Sb")], _STRONG | _N, "antimonide", "锑化物"),
    "bismuthide": _class([_z("Bi")], _STRONG | _N, "bismuthide", "铋化物"),
    "carbide": _class([_z("C")], _STRONG | _N, "carbide", "碳化物"),
    "boride": _class([_z("B")], _STRONG | _N, "boride", "硼化物"),
    "silicide": _class([_z("Si")], _STRONG | _N, "silicide", "硅化物"),
    "germanide": _class([_z("Ge")], _STRONG | _N, "germanide", "锗化物"),
    "hydride": _class([_z("H")], _STRONG | _z("N C"), "hydride", "氢化物"),
    "oxyfluoride": _class([_O, _z("F")], (), "oxyfluoride, oxide fluoride", "氟氧化物 氧氟化物"),
    "oxychloride": _class([_O, _z("Cl")], (), "oxychloride", "氯氧化物 氧氯化物"),
    "oxybromide": _class([_O, _z("Br")], (), "oxybromide", "溴氧化物 氧溴化物"),
    "oxyiodide": _class([_O, _z("I")], (), "oxyiodide", "碘氧化物 氧碘化物"),
    "oxyhalide": _class([_O, _X], (), "oxyhalide, oxohalide", "卤氧化物 氧卤化物"),
    "oxynitride": _class([_O, _N], _X, "oxynitride, oxide nitride", "氮氧化物 氧氮化物"),
    "oxysulfide": _class([_O, _z("S")], _X, "oxysulfide, oxysulphide", "硫氧化物 氧硫化物"),
    "oxyselenide": _class([_O, _z("Se")], _X, "oxyselenide", "硒氧化物 氧硒化物"),
    "oxytelluride": _class([_O, _z("Te")], _X, "oxytelluride", "碲氧化物 氧碲化物"),
    "oxychalcogenide": _class([_O, _S], _X, "oxychalcogenide", "氧硫族化物"),
    "oxyhydride": _class([_O, _z("H")], _X, "oxyhydride", "氢氧化合物 氧氢化物"),
    "hydroxide": _class([_O, _z("H")], (), "hydroxide", "氢氧化物"),
    "oxypnictide": _class([_O, PNICTOGENS], _X, "oxypnictide", "氧磷族化物"),
    "oxyphosphide": _class([_O, _z("P")], _X, "oxyphosphide", "磷氧化物"),
    "oxyarsenide": _class([_O, _z("As")], _X, "oxyarsenide", "砷氧化物"),
    "oxycarbide": _class([_O, _z("C")], _X, "oxycarbide", "碳氧化物"),
    "carbonitride": _class([_z("C"), _N], _STRONG, "carbonitride", "碳氮化物"),
    "chalcohalide": _class([_S, _X], _O, "chalcohalide", "硫卤化物"),
    "thiophosphate": _class([_z("P"), _z("S")], _O, "thiophosphate", "硫代磷酸盐"),
    "borohydride": _class([_z("B"), _z("H")], _STRONG, "borohydride", "硼氢化物"),
    "cyanide": _class([_z("C"), _N], _O, "cyanide", "氰化物"),
    "intermetallic": _class([], (), "intermetallic, intermetallic compound, intermetallic phase", "金属间化合物 金属间相", only=table.METALS, fewest=2),
    "alloy": _class([], (), "alloy", "合金", only=table.METALS, fewest=2),
}
# Oxyanion salts: English name, element, Chinese stem (X酸盐).
for _name, _el, _zh in (
    ("phosphate", "P", "磷"), ("silicate", "Si", "硅"), ("sulfate", "S", "硫"), ("sulphate", "S", ""), ("carbonate", "C", "碳"), ("borate", "B", "硼"),
    ("nitrate", "N", "硝"), ("titanate", "Ti", "钛"), ("aluminate", "Al", "铝"), ("gallate", "Ga", "镓"), ("indate", "In", "铟"), ("germanate", "Ge", "锗"),
    ("stannate", "Sn", "锡"), ("plumbate", "Pb", "铅"), ("vanadate", "V", "钒"), ("niobate", "Nb", "铌"), ("tantalate", "Ta", "钽"), ("chromate", "Cr", "铬"),
    ("molybdate", "Mo", "钼"), ("tungstate", "W", "钨"), ("manganate", "Mn", "锰"), ("manganite", "Mn", ""), ("ferrite", "Fe", "铁"), ("ferrate", "Fe", ""),
    ("cobaltate", "Co", "钴"), ("cobaltite", "Co", ""), ("nickelate", "Ni", "镍"), ("cuprate", "Cu", "铜"), ("zincate", "Zn", "锌"), ("zirconate", "Zr", "锆"),
    ("hafnate", "Hf", "铪"), ("iridate", "Ir", "铱"), ("ruthenate", "Ru", "钌"), ("rhenate", "Re", "铼"), ("arsenate", "As", "砷"), ("antimonate", "Sb", "锑"),
    ("bismuthate", "Bi", "铋"), ("selenate", "Se", "硒"), ("selenite", "Se", ""), ("tellurate", "Te", "碲"), ("tellurite", "Te", ""), ("sulfite", "S", ""),
    ("iodate", "I", "碘"), ("perchlorate", "Cl", "高氯"), ("uranate", "U", "铀"),
):
    CLASSES[_name] = Class((_z(_el), _O), frozenset(), (_name,), (f"{_zh}酸盐",) if _zh else ())

# Structure types: canonical name -> (English spellings, Chinese spellings, formula that stands for it in "X-type").
PROTOTYPES: dict[str, tuple[str, str, str]] = {
    "perovskite": ("perovskite", "钙钛矿", "CaTiO3 SrTiO3"),
    "double_perovskite": ("double perovskite, elpasolite", "双钙钛矿 钾冰晶石", "K2NaAlF6"),
    "antiperovskite": ("antiperovskite, anti perovskite, inverse perovskite", "反钙钛矿", ""),
    "ruddlesden_popper": ("ruddlesden popper, layered perovskite", "层状钙钛矿", "K2NiF4"),
    "spinel": ("spinel", "尖晶石", "MgAl2O4"),
    "inverse_spinel": ("inverse spinel", "反尖晶石", ""),
    "garnet": ("garnet", "石榴石", ""),
    "half_heusler": ("half heusler, halfheusler", "半赫斯勒 半哈斯勒 半霍伊斯勒", "MgAgAs"),
    "full_heusler": ("full heusler, fullheusler", "全赫斯勒 全哈斯勒", "Cu2MnAl"),
    "inverse_heusler": ("inverse heusler", "反赫斯勒 逆赫斯勒", ""),
    "rock_salt": ("rock salt, rocksalt, halite", "岩盐 氯化钠型", "NaCl"),
    "cesium_chloride": ("caesium chloride structure, cesium chloride structure", "氯化铯型", "CsCl"),
    "zinc_blende": ("zinc blende, zincblende, sphalerite", "闪锌矿", ""),
    "wurtzite": ("wurtzite", "纤锌矿", ""),
    "fluorite": ("fluorite", "萤石", "CaF2"),
    "antifluorite": ("antifluorite, anti fluorite", "反萤石", ""),
    "rutile": ("rutile", "金红石", ""),
    "anatase": ("anatase", "锐钛矿", ""),
    "delafossite": ("delafossite", "铜铁矿 赤铜铁矿", "CuFeO2"),
    "layered_oxide": ("layered oxide", "层状氧化物", "NaFeO2 LiCoO2"),
    "pyrochlore": ("pyrochlore", "烧绿石", ""),
    "laves": ("laves phase, laves", "拉弗斯相 拉夫斯相 拉弗斯 拉夫斯", ""),
    "laves_c14": ("c14 laves phase, c14 laves, laves c14, c14", "", "MgZn2"),
    "laves_c15": ("c15 laves phase, c15 laves, laves c15, c15", "", "MgCu2"),
    "laves_c36": ("c36 laves phase, c36 laves, laves c36, c36", "", "MgNi2"),
    "max_phase": ("211 max phase", "", "Cr2AlC"),
    "312_max_phase": ("312 max phase", "", "Ti3SiC2"),
    "quaternary_heusler": ("quaternary heusler, equiatomic heusler", "四元赫斯勒 四元哈斯勒", "LiMgPdSn"),
    "vacancy_ordered_double_perovskite": ("vacancy ordered double perovskite", "空位有序双钙钛矿", "K2PtCl6"),
    "filled_skutterudite": ("filled skutterudite", "填充方钴矿", ""),
    "triphylite": ("triphylite", "磷铁锂矿", "LiFePO4"),
    "litharge": ("litharge", "密陀僧", ""),
    "simple_cubic": ("simple cubic", "简单立方", ""),
    "dhcp": ("dhcp, double hexagonal close packed", "双六方密堆积", ""),
    "corundum": ("corundum", "刚玉", ""),
    "ilmenite": ("ilmenite", "钛铁矿", "FeTiO3"),
    "olivine": ("olivine", "橄榄石", ""),
    "chalcopyrite": ("chalcopyrite", "黄铜矿", "CuFeS2"),
    "kesterite": ("kesterite", "锌黄锡矿", ""),
    "stannite": ("stannite", "黄锡矿", ""),
    "nickel_arsenide": ("nickeline, nickel arsenide structure", "红砷镍矿 砷化镍型", "NiAs"),
    "pyrite": ("pyrite", "黄铁矿", "FeS2"),
    "marcasite": ("marcasite", "白铁矿", ""),
    "cuprite": ("cuprite", "赤铜矿", ""),
    "bixbyite": ("bixbyite", "方铁锰矿", ""),
    "calcite": ("calcite", "方解石", ""),
    "aragonite": ("aragonite", "文石", ""),
    "scheelite": ("scheelite", "白钨矿", "CaWO4"),
    "zircon": ("zircon", "锆石", ""),
    "wolframite": ("wolframite", "黑钨矿", ""),
    "monazite": ("monazite", "独居石", ""),
    "apatite": ("apatite", "磷灰石", ""),
    "nasicon": ("nasicon", "nasicon型", ""),
    "argyrodite": ("argyrodite", "硫银锗矿", ""),
    "skutterudite": ("skutterudite", "方钴矿", "CoAs3"),
    "diamond": ("diamond structure, diamond", "金刚石", ""),
    "graphite": ("graphite", "石墨", ""),
    "fcc": ("fcc, face centered cubic, face centred cubic", "面心立方", ""),
    "bcc": ("bcc, body centered cubic, body centred cubic", "体心立方", ""),
    "hcp": ("hcp, hexagonal close packed", "密排六方 六方密堆积", ""),
    "cadmium_iodide": ("cadmium iodide structure", "碘化镉型", "CdI2"),
    "cadmium_chloride": ("cadmium chloride structure", "氯化镉型", "CdCl2"),
    "molybdenite": ("molybdenite", "辉钼矿", "MoS2"),
    "tetradymite": ("tetradymite", "辉碲铋矿", "Bi2Te3 Bi2Te2S"),
    "a15": ("a15", "", "Cr3Si Nb3Sn"),
    "l1_2": ("l1_2, l12", "", "Cu3Au"),
    "l1_0": ("l1_0, l10", "", "CuAu"),
    "aluminium_diboride": ("aluminium diboride structure, aluminum diboride structure", "", "AlB2 MgB2"),
}
# Words that name several structure types at once: any of them will do.
PROTOTYPE_FAMILIES = {
    ("full_heusler", "half_heusler"): ("heusler", "赫斯勒 哈斯勒 霍伊斯勒"),
    ("312_max_phase", "max_phase"): ("max phase, max", "max相"),
}


@dataclass(frozen=True)
class Property:
    """A property a wish may limit: its unit at rest, the dimension its units must have, its spellings."""

    unit: str
    dimension: str
    words: tuple[str, ...]
    words_zh: tuple[str, ...]


def _property(unit, dimension, words, words_zh):
    return Property(unit, dimension, tuple(words.split(", ")), tuple(words_zh.split()))


PROPERTIES: dict[str, Property] = {
    "energy_above_hull": _property(
        "eV/atom", "energy", "energy above hull, energy above the hull, energy above convex hull, energy above the convex hull, e above hull, ehull, e hull, e_hull, e_above_hull, hull distance, "
        "hull energy, distance to hull, distance to the hull, distance from the hull, distance to the convex hull, distance from the convex hull, distance above the hull, "
        "convex hull distance, decomposition energy, above the hull by, above hull by, above the hull, above hull, above the convex hull",
        "凸包能 凸包能量 凸包距离 凸包以上 在凸包以上 能量在凸包以上 能量高于凸包 凸包之上 凸包上方 高于凸包 距凸包 距离凸包 离凸包 与凸包的距离 到凸包的距离 距凸包的距离 在凸包 凸包 分解能"),
    "formation_energy_per_atom": _property("eV/atom", "energy", "formation energy, formation energy per atom, energy of formation, formation enthalpy, enthalpy of formation", "形成能 生成能 形成焓 生成焓"),
    "cohesive_energy_per_atom": _property("eV/atom", "energy", "cohesive energy", "内聚能 结合能"),
    "predicted_energy_above_hull": _property(
        "eV/atom", "energy", "predicted energy above hull, predicted energy above the hull, predicted hull distance, predicted distance to the hull, predicted distance to hull",
        "预测凸包能 预测凸包距离 预测的凸包距离 预测的凸包能"),
    "predicted_formation_energy_per_atom": _property("eV/atom", "energy", "predicted formation energy, predicted formation energy per atom, predicted formation enthalpy", "预测形成能 预测的形成能"),
    "measured_band_gap": _property(
        "eV", "energy", "measured band gap, measured bandgap, measured gap, experimental band gap, experimental bandgap, experimental gap, experimentally measured band gap, gap by experiment",
        "实验带隙 实测带隙 测量带隙 实验能隙 实测能隙 实验禁带宽度"),
    "band_gap": _property("eV", "energy", "band gap, bandgap, gap, energy gap, electronic gap, eg", "带隙 禁带宽度 能隙 禁带"),
    "work_function": _property("eV", "energy", "work function", "功函数"),
    "bulk_modulus": _property("GPa", "pressure", "bulk modulus, k_vrh, bulk moduli", "体积模量 体模量 体弹模量"),
    "shear_modulus": _property("GPa", "pressure", "shear modulus, g_vrh, shear moduli", "剪切模量 切变模量"),
    "youngs_modulus": _property("GPa", "pressure", "young's modulus, youngs modulus, young modulus, elastic modulus", "杨氏模量 弹性模量"),
    "hardness": _property("GPa", "pressure", "hardness, vickers hardness", "硬度 维氏硬度"),
    "density": _property("g/cm3", "density", "density, mass density", "密度"),
    "volume_per_atom": _property("Å3", "volume", "volume per atom, atomic volume", "原子体积 每原子体积"),
    "magnetic_moment_per_atom": _property("muB", "moment", "magnetic moment per atom, magnetisation per atom, magnetization per atom", "每原子磁矩"),
    "magnetic_moment": _property("muB", "moment", "magnetic moment, total magnetisation, total magnetization, magnetisation, magnetization, magmom", "磁矩 总磁矩"),
    "debye_temperature": _property("K", "temperature", "debye temperature", "德拜温度"),
    "melting_temperature": _property("K", "temperature", "melting point, melting temperature", "熔点"),
    "curie_temperature": _property("K", "temperature", "curie temperature, curie point", "居里温度"),
    "critical_temperature": _property("K", "temperature", "critical temperature, superconducting tc, superconducting transition temperature", "临界温度 超导转变温度"),
    "thermal_conductivity": _property("W/(m K)", "conductivity", "thermal conductivity, lattice thermal conductivity", "热导率 导热率 晶格热导率"),
    "thermal_expansion": _property(
        "1e-6/K", "expansion", "thermal expansion, thermal expansion coefficient, coefficient of thermal expansion, volumetric thermal expansion, volume expansion coefficient, expansion coefficient, cte",
        "热膨胀系数 热膨胀 体膨胀系数 膨胀系数"),
    "last_phonon_peak": _property(
        "1/cm", "wavenumber", "last phonon peak, last phonon dos peak, last phdos peak, last peak of the phonon density of states, highest phonon peak, highest phonon frequency, top phonon frequency",
        "最后声子峰 声子末峰 最高声子峰 最高声子频率 声子态密度最后一个峰"),
    "dielectric_constant": _property("", "number", "dielectric constant, permittivity, relative permittivity", "介电常数"),
    "refractive_index": _property("", "number", "refractive index", "折射率"),
    "poisson_ratio": _property("", "number", "poisson ratio, poisson's ratio, poissons ratio", "泊松比"),
    "seebeck_coefficient": _property("uV/K", "thermopower", "seebeck coefficient, thermopower", "塞贝克系数"),
    "ionic_conductivity": _property("S/cm", "siemens", "ionic conductivity, ion conductivity", "离子电导率"),
    "voltage": _property("V", "voltage", "voltage, average voltage", "电压 平均电压"),
    "capacity": _property("mAh/g", "capacity", "capacity, gravimetric capacity, specific capacity", "比容量 容量"),
    "lattice_constant": _property("Å", "length", "lattice constant, lattice parameter", "晶格常数 晶格参数"),
}
# What the package measures of a candidate today.
CHECKABLE = frozenset({"energy_above_hull", "formation_energy_per_atom", "density", "volume_per_atom", "magnetic_moment", "magnetic_moment_per_atom"})


def checkable() -> frozenset[str]:
    """The properties that are measured or that a shipped predictor gives; other limits are kept and reported as not checked."""
    return CHECKABLE | frozenset(predicted_properties())


# Adjectives that stand for a range: (property, low, high).
PRESETS: dict[str, tuple[str, float | None, float | None, str, str]] = {
    "metallic": ("band_gap", None, 0.0, "metallic, gapless, zero gap, zero band gap, no band gap, without a band gap, no gap", "金属性 无带隙 零带隙"),
    "semiconducting": ("band_gap", 0.1, 4.0, "semiconducting, semiconductor", "半导体 半导体性"),
    "insulating": ("band_gap", 4.0, None, "insulating, insulator", "绝缘体 绝缘"),
    "wide_gap": ("band_gap", 2.0, None, "wide gap, wide bandgap, wide band gap, large gap, large band gap, wide gap semiconductor, wide band gap semiconductor, wide bandgap semiconductor", "宽带隙 宽禁带 宽带隙半导体 宽禁带半导体"),
    "narrow_gap": ("band_gap", 0.1, 0.5, "narrow gap, narrow bandgap, narrow band gap, small gap, small band gap, narrow gap semiconductor, narrow band gap semiconductor", "窄带隙 窄禁带 窄带隙半导体"),
    "magnetic": ("magnetic_moment_per_atom", 0.1, None, "magnetic", "磁性"),
    "nonmagnetic": ("magnetic_moment_per_atom", None, 0.1, "nonmagnetic, non magnetic", "非磁性 无磁性"),
}

ATOM, FORMULA_UNIT = "atom", "formula unit"
_A3 = GPA_PER_EV_PER_A3


def _units() -> dict[str, tuple[str, float, float, str]]:
    """spelling -> (dimension, factor to the unit at rest, offset, per)."""
    found: dict[str, tuple[str, float, float, str]] = {}

    def add(dimension, factor, spellings, offset=0.0, per=""):
        for s in spellings.split(", "):
            found[s] = (dimension, factor, offset, per)

    kilojoule, kilocalorie = EV_PER_KJ_PER_MOL, 4.184 * EV_PER_KJ_PER_MOL
    for factor, names in ((1.0, "eV, ev, EV, electronvolts, electronvolt, electron volts, electron volt, 电子伏特, 电子伏"), (1e-3, "meV, mev, MEV, millielectronvolts, millielectronvolt, 毫电子伏特, 毫电子伏"),
                          (kilojoule, "kJ/mol, kj/mol, KJ/mol, kJ mol-1, kJ mol^-1"), (kilocalorie, "kcal/mol"), (EV_PER_HARTREE, "Ha, hartree, Hartree"),
                          (EV_PER_HARTREE / 2, "Ry, rydberg, Rydberg")):
        add("energy", factor, names)
        for name in names.split(", "):
            add("energy", factor, f"{name}/atom, {name} / atom, {name}/at, {name}/at., {name} per atom, {name} atom-1, {name} atom^-1, {name}/原子, {name}每原子", per=ATOM)
            add("energy", factor, f"{name}/f.u., {name}/fu, {name} per formula unit, {name}/formula unit", per=FORMULA_UNIT)
    add("pressure", 1.0, "GPa, gpa, GPA, gigapascal, gigapascals, 吉帕")
    add("pressure", 1e-3, "MPa, megapascal, megapascals, 兆帕")
    add("pressure", 1e3, "TPa, terapascal")
    add("pressure", 100.0, "Mbar, megabar")
    add("pressure", 0.1, "kbar, kilobar")
    add("pressure", _A3, "eV/Å3, eV/Å^3, eV/A3, eV/A^3")
    add("density", 1.0, "g/cm3, g/cm^3, g/cc, g/ccm, g cm-3, g cm^-3, g·cm-3, g/ml, g/mL, 克每立方厘米, 克/立方厘米")
    add("density", 1e-3, "kg/m3, kg/m^3, kg m-3")
    for factor, names in ((1.0, "Å3, Å^3, A3, A^3, Ang3, ang^3, angstrom^3, angstrom3, cubic angstrom, cubic angstroms, cubic Å, 立方埃"), (1e3, "nm3, nm^3")):
        add("volume", factor, names)
        for name in names.split(", "):
            add("volume", factor, f"{name}/atom, {name} per atom, {name}/原子", per=ATOM)
    for name in "muB, uB, μB, μ_B, mu_B, Bohr magneton, Bohr magnetons, bohr magneton, bohr magnetons, 玻尔磁子".split(", "):
        add("moment", 1.0, name)
        add("moment", 1.0, f"{name}/atom, {name} per atom, {name}/原子", per=ATOM)
        add("moment", 1.0, f"{name}/f.u., {name}/fu, {name} per formula unit", per=FORMULA_UNIT)
    add("temperature", 1.0, "K, kelvin, Kelvin, 开尔文, 开")
    add("temperature", 1.0, "°C, degC, celsius, Celsius, 摄氏度", offset=273.15)
    add("conductivity", 1.0, "W/(m K), W/(m·K), W/(mK), W/(m*K), W/mK, W/m/K, W/m-K, W/m K, W m-1 K-1, W m^-1 K^-1")
    per_kelvin = ("/K", " /K", " 1/K", " K-1", " K^-1", " per K", " per kelvin")
    millionths = [f"{times}10{power}" for times in ("", "x ", "x", "× ", "×", "* ", "*") for power in ("^-6", "-6", "^(-6)")] + ["1e-6", "1E-6"]
    add("expansion", 1.0, ", ".join(name + per for name in millionths for per in per_kelvin))
    add("expansion", 1e6, ", ".join(per.strip() for per in per_kelvin))
    add("expansion", 1.0, "ppm/K, ppm / K, ppm per K, ppm per kelvin, ppm K-1, ppm K^-1, ppm/°C, μK-1")
    add("wavenumber", 1.0, "1/cm, cm-1, cm^-1, /cm, wavenumbers, inverse centimetres, inverse centimeters, 波数")
    add("wavenumber", WAVENUMBERS_PER_THZ, "THz, terahertz, 太赫兹")
    add("length", 1.0, "Å, angstrom, angstroms, Angstrom, Angstroms, Ang, 埃")
    add("length", 10.0, "nm, nanometer, nanometers, 纳米")
    add("length", 0.01, "pm")
    add("thermopower", 1.0, "uV/K, μV/K")
    add("siemens", 1.0, "S/cm")
    add("siemens", 1e-3, "mS/cm")
    add("voltage", 1.0, "V, volt, volts, 伏特, 伏")
    add("capacity", 1.0, "mAh/g, mAh g-1")
    add("time", 1.0, "s, sec, secs, second, seconds, 秒, 秒钟")
    add("time", 60.0, "min, mins, minute, minutes, 分钟, 分")
    add("time", 3600.0, "h, hr, hrs, hour, hours, 小时, 个小时, 个钟头, 钟头")
    add("time", 86400.0, "day, days, 天")
    add("percent", 0.01, "%, percent")
    return found


DIMENSION_UNITS = {
    "energy": "eV, meV, kJ/mol", "pressure": "GPa, MPa, Mbar, kbar", "density": "g/cm3, kg/m3", "volume": "Å3, nm3", "moment": "muB", "temperature": "K, °C",
    "conductivity": "W/(m K)", "length": "Å, nm", "number": "none", "thermopower": "uV/K", "expansion": "1e-6/K, ppm/K, 1/K", "wavenumber": "1/cm, THz", "siemens": "S/cm", "voltage": "V", "capacity": "mAh/g",
}

# ---- symmetry ------------------------------------------------------------------------------------------------------------------------------

SPACE_GROUPS = (
    "P1 P-1 P2 P2_1 C2 Pm Pc Cm Cc P2/m P2_1/m C2/m P2/c P2_1/c C2/c P222 P222_1 P2_12_12 P2_12_12_1 C222_1 C222 F222 I222 I2_12_12_1 Pmm2 Pmc2_1 "
    "Pcc2 Pma2 Pca2_1 Pnc2 Pmn2_1 Pba2 Pna2_1 Pnn2 Cmm2 Cmc2_1 Ccc2 Amm2 Aem2 Ama2 Aea2 Fmm2 Fdd2 Imm2 Iba2 Ima2 Pmmm Pnnn Pccm Pban Pmma Pnna "
    "Pmna Pcca Pbam Pccn Pbcm Pnnm Pmmn Pbcn Pbca Pnma Cmcm Cmce Cmmm Cccm Cmme Ccce Fmmm Fddd Immm Ibam Ibca Imma P4 P4_1 P4_2 P4_3 I4 I4_1 P-4 "
    "I-4 P4/m P4_2/m P4/n P4_2/n I4/m I4_1/a P422 P42_12 P4_122 P4_12_12 P4_222 P4_22_12 P4_322 P4_32_12 I422 I4_122 P4mm P4bm P4_2cm P4_2nm P4cc "
    "P4nc P4_2mc P4_2bc I4mm I4cm I4_1md I4_1cd P-42m P-42c P-42_1m P-42_1c P-4m2 P-4c2 P-4b2 P-4n2 I-4m2 I-4c2 I-42m I-42d P4/mmm P4/mcc P4/nbm "
    "P4/nnc P4/mbm P4/mnc P4/nmm P4/ncc P4_2/mmc P4_2/mcm P4_2/nbc P4_2/nnm P4_2/mbc P4_2/mnm P4_2/nmc P4_2/ncm I4/mmm I4/mcm I4_1/amd I4_1/acd P3 "
    "P3_1 P3_2 R3 P-3 R-3 P312 P321 P3_112 P3_121 P3_212 P3_221 R32 P3m1 P31m P3c1 P31c R3m R3c P-31m P-31c P-3m1 P-3c1 R-3m R-3c P6 P6_1 P6_5 "
    "P6_2 P6_4 P6_3 P-6 P6/m P6_3/m P622 P6_122 P6_522 P6_222 P6_422 P6_322 P6mm P6cc P6_3cm P6_3mc P-6m2 P-6c2 P-62m P-62c P6/mmm P6/mcc P6_3/mcm "
    "P6_3/mmc P23 F23 I23 P2_13 I2_13 Pm-3 Pn-3 Fm-3 Fd-3 Im-3 Pa-3 Ia-3 P432 P4_232 F432 F4_132 I432 P4_332 P4_132 I4_132 P-43m F-43m I-43m P-43n "
    "F-43c I-43d Pm-3m Pn-3n Pm-3n Pn-3m Fm-3m Fm-3c Fd-3m Fd-3c Im-3m Ia-3d"
).split()
# Older symbols and other settings in common use.
OTHER_SPACE_GROUPS = {
    "Abm2": 39, "Aba2": 41, "Cmca": 64, "Cmma": 67, "Ccca": 68, "Pbnm": 62, "Pmnb": 62, "Pcmn": 62, "Pnam": 62, "P2_1/n": 14, "P2_1/a": 14, "P2_1/b": 14, "I2/m": 12, "A2/m": 12,
    "I2/a": 15, "I2/c": 15, "A2/n": 15, "A2/a": 15, "C2_1/c": 15, "Ia": 9, "Bmab": 64, "Amam": 63, "Bbmm": 63, "Bmmb": 63, "Icmm": 74, "Imcm": 74, "Ibmm": 74, "Ibm2": 46, "Pn2_1a": 33, "P2_1nb": 33,
    "Pb2_1m": 26, "Pmc21": 26,
}
CRYSTAL_SYSTEMS = {
    "triclinic": range(1, 3), "monoclinic": range(3, 16), "orthorhombic": range(16, 75), "tetragonal": range(75, 143), "trigonal": range(143, 168),
    "hexagonal": range(168, 195), "cubic": range(195, 231),
}
POINT_GROUPS = {
    "1": range(1, 2), "-1": range(2, 3), "2": range(3, 6), "m": range(6, 10), "2/m": range(10, 16), "222": range(16, 25), "mm2": range(25, 47), "mmm": range(47, 75),
    "4": range(75, 81), "-4": range(81, 83), "4/m": range(83, 89), "422": range(89, 99), "4mm": range(99, 111), "-42m": range(111, 123), "4/mmm": range(123, 143),
    "3": range(143, 147), "-3": range(147, 149), "32": range(149, 156), "3m": range(156, 162), "-3m": range(162, 168), "6": range(168, 174), "-6": range(174, 175),
    "6/m": range(175, 177), "622": range(177, 183), "6mm": range(183, 187), "-6m2": range(187, 191), "6/mmm": range(191, 195), "23": range(195, 200),
    "m-3": range(200, 207), "432": range(207, 215), "-43m": range(215, 221), "m-3m": range(221, 231),
}
_CENTRIC = "-1 2/m mmm 4/m 4/mmm -3 -3m 6/m 6/mmm m-3 m-3m"
_POLAR = "1 2 m mm2 4 4mm 3 3m 6 6mm"
_CHIRAL = "1 2 222 4 422 3 32 6 622 23 432"


def _of_points(names: str) -> frozenset[int]:
    return frozenset(g for name in names.split() for g in POINT_GROUPS[name])


ALL_GROUPS = frozenset(range(1, 231))
SYMMETRY: dict[str, frozenset[int]] = {
    **{name: frozenset(numbers) for name, numbers in CRYSTAL_SYSTEMS.items()},
    "rhombohedral": frozenset(i for i, s in enumerate(SPACE_GROUPS, 1) if s[0] == "R"),
    "centrosymmetric": _of_points(_CENTRIC),
    "noncentrosymmetric": ALL_GROUPS - _of_points(_CENTRIC),
    "polar": _of_points(_POLAR),
    "nonpolar": ALL_GROUPS - _of_points(_POLAR),
    "chiral": _of_points(_CHIRAL),  # the 65 Sohncke groups: a chiral crystal may take them
    "achiral": ALL_GROUPS - _of_points(_CHIRAL),
    "face_centred": frozenset(i for i, s in enumerate(SPACE_GROUPS, 1) if s[0] == "F"),
    "body_centred": frozenset(i for i, s in enumerate(SPACE_GROUPS, 1) if s[0] == "I"),
}
SYMMETRY_WORDS = {
    "triclinic": ("triclinic", "三斜"), "monoclinic": ("monoclinic", "单斜"), "orthorhombic": ("orthorhombic", "正交 斜方"), "tetragonal": ("tetragonal", "四方"),
    "trigonal": ("trigonal", "三方"), "hexagonal": ("hexagonal", "六方"), "cubic": ("cubic, isometric", "立方"), "rhombohedral": ("rhombohedral", "菱方 菱面体"),
    "centrosymmetric": ("centrosymmetric, centric", "中心对称"), "noncentrosymmetric": ("noncentrosymmetric, acentric, non centrosymmetric, non centric", "非中心对称"),
    "polar": ("polar", "极性"), "nonpolar": ("nonpolar, non polar", "非极性 无极性"), "chiral": ("chiral, sohncke", "手性"), "achiral": ("achiral, non chiral, nonchiral", "非手性"),
    "face_centred": ("face centered, face centred", "面心"), "body_centred": ("body centered, body centred", "体心"),
}
# A crystal has one of these: joined by "and" they are alternatives, the other symmetry words add up.
ONE_OF_A_KIND = frozenset(CRYSTAL_SYSTEMS) | {"rhombohedral", "face_centred", "body_centred"}


# ---- small words ---------------------------------------------------------------------------------------------------------------------------

ARITIES = {1: ("unary, elemental, single element, one component, allotropes, allotrope", "一元 单质 同素异形体"), 2: ("binary, two component", "二元"), 3: ("ternary, three component", "三元"),
           4: ("quaternary, four component", "四元"), 5: ("quinary, pentanary, five component", "五元"), 6: ("senary, hexanary, six component", "六元")}
NUMBER_WORDS = {w: n for n, w in enumerate("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
                                           "eighteen nineteen twenty".split())} | {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
                                                                                   "hundred": 100, "dozen": 12, "thousand": 1000}
NUMBER_CHARS = {c: n for n, c in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
NUMBER_POWERS = {"十": 10, "百": 100, "千": 1000}

# kind -> (English spellings, Chinese spellings); the parser asks for kinds, never for words.
SMALL: dict[str, tuple[str, str]] = {
    "lt": ("<, less than, fewer than, below, under, smaller than, lower than, beneath, not reaching", "小于 少于 低于 不到 不足 <"),
    "le": ("<=, =<, ≤, ≦, ≲, at most, up to, no more than, not more than, no greater than, not greater than, not above, not over, not exceeding, no larger than, no higher than, not higher than, maximum, maximum of, max, "
           "a maximum of, at the most, within, less than or equal to, smaller than or equal to", "不超过 不大于 不高于 最多 至多 不多于 以内 最大 小于等于 小于或等于 ≤"),
    "gt": (">, more than, greater than, above, over, larger than, higher than, exceeding, in excess of, bigger than", "大于 多于 高于 超过 >"),
    "ge": (">=, =>, ≥, ≧, ≳, at least, no less than, not less than, no fewer than, not fewer than, not below, not under, no lower than, not lower than, no smaller than, minimum, minimum of, min, a minimum of, "
           "greater than or equal to, from at least", "至少 不小于 不少于 不低于 最少 大于等于 大于或等于 ≥"),
    "about": ("~, ≈, about, around, approximately, approx, circa, near, close to, roughly, ca", "约 大约 接近 左右 ~"),
    "between": ("between, in the range, in the range of, in the range from, ranging from, from, in between, in a range of", "介于 在 从 范围在 范围为"),
    "exactly": ("=, ==, exactly, equal to, equals, of exactly, precisely", "等于 恰好 正好"),
    "plus_minus": ("±, plus or minus, plus minus, give or take", "正负"),
    "to": ("to, -, through, until, ~, up to", "到 至 ~ -"),
    "or_more": ("or more, or above, or higher, or greater, or larger, and above, or over, +, and up, and more", "以上 或更多 或以上 及以上"),
    "or_less": ("or less, or fewer, or below, or lower, or smaller, or under, and below, at most, or at most", "以下 以内 之内 内 或更少 或以下 及以下"),
    "around": ("or so", "左右 上下"),
    "in_between": ("range", "之间 的范围 范围内 范围"),
    "and": ("and, &, as well as, plus, together with, along with, ',, and also", "和 与 及 以及 并且 且 跟"),
    "or": ("or, and / or", "或 或者"),
    "either": ("either, both", ""),
    "not": ("not, non, isn't, aren't, is not, are not, not being, that are not, which are not, other than, but not", "不是 非 并非 不为 不要是"),
    "without": ("without, no, free of, free from, excluding, exclude, excludes, not containing, not contain, does not contain, do not contain, doesn't contain, don't contain, except, except for, avoiding, avoid, devoid of, lacking, but no, but not, "
                "with no, without any, not including, do not use, don't use, not with, omitting, minus, with neither, neither, anything but, everything but, all but, nor, that contain no, contain no, containing no, and no, leaving out, not any",
                "不含 不含有 无 不包含 不包括 排除 没有 不能含 不能含有 不要 避免 除 除了 不得含有 不得含 去除 不用 不使用"),
    "absent": ("absent, excluded, forbidden, prohibited, banned, avoided, left out, not allowed, not permitted, not present, not wanted, not included, unwanted", "除外 不允许"),
    "nothing_else": ("and nothing else, nothing else, and no other elements, and no other element, no other elements, and no others", "且不含其他元素 不含其他元素 无其他元素"),
    "except_tail": ("", "外 以外 之外 除外"),
    "contain": ("containing, contain, contains, with, including, include, includes, that contain, which contain, comprising, having, has, have, based on, made with, must contain, must include, rich with, and with, "
                "built on, featuring, containing both, with both, that include", "含 含有 包含 包括 必须含 必须含有 必须包含 同时含有 同时含 具有 有 带有 基于"),
    "only": ("with only, only, containing only, only containing, consisting only of, made only of, composed only of, made up only of, limited to, restricted to, nothing but, solely, exclusively, using only, only with, made from only, "
             "only from, drawn from, only use, only using, contain only, with just, just", "仅含 只含 只含有 仅含有 仅由 只由 只用 仅用 限于 仅限于 仅限 只包含 仅包含 只有 只能含"),
    "made_of": ("consisting of, made of, composed of, made up of, formed by, formed from, made from", "由"),
    "made_of_tail": ("", "组成 构成 组成的"),
    "any_of": ("at least one of, at least one, any of, one of, one or more of, either of, at least an, at least a, at least any of, some of", "至少一种 任一 任意一种 至少含 至少含有 至少包含 至少有"),
    "any_of_tail": ("", "之一 中的一种 中至少一种 中的至少一种 的一种 中的任意一种 中任一 其中之一 其中一种 至少之一 中的任一种 至少一种"),
    "free": ("free", ""),
    "bearing": ("containing, based, bearing, rich in, including", "基 系"),
    "bad_suffix": ("rich, poor, deficient, doped, substituted, ion, ions, intercalated, stuffed, coated, stabilized, stabilised, terminated, excess, battery, type", "离子 掺杂 缺陷 空位"),
    "bad_prefix": ("", "富 贫 缺 掺"),
    "system": ("system, chemical system, phase diagram, composition space, chemical space, phase space, phase field", "体系 化学体系 系统 相图 系"),
    "atoms": ("atoms, atom, atomic sites, sites", "原子 个原子"),
    "atom_number": ("number of atoms, atom count, atoms per cell, nsites, n_atoms, natoms, cell size", "原子数 原胞原子数 单胞原子数 原子个数 原子数目 原子总数 晶胞原子数"),
    "elements": ("elements, element, different elements, distinct elements, chemical elements, constituents, element compounds, components, species, kinds of elements, chemical species", "种元素 元素 种不同元素 个元素 种不同的元素"),
    "element_number": ("number of elements, element count, number of different elements, number of distinct elements, n_elements, nelements", "元素数 元素种类 元素数目 元素种数 元素个数"),
    "per_cell": ("per cell, per unit cell, per primitive cell, in the cell, in the unit cell, in the primitive cell, in a unit cell, in a cell, in a primitive cell, in their cell, in total, a cell, in their primitive cell, in their unit cell, "
                 "inside the unit cell, in each unit cell, in each cell, per primitive unit cell, in the primitive unit cell", "每晶胞 每个晶胞 晶胞中 每个原胞 原胞中 单胞中 每个单胞 晶胞内 原胞内 在晶胞中 一个晶胞"),
    "noun": ("candidates, candidate, materials, material, compounds, compound, crystals, crystal, structures, structure, phases, phase, solids, solid, results, proposals, suggestions, examples, systems, hits, entries, "
             "crystal structures, of them, substances, polymorphs, polymorph", "候选 候选材料 候选物 材料 化合物 晶体 结构 晶体结构 相 固体 结果 物质 建议"),
    "measure": ("", "个 种 类"),
    "ask_for": ("give me, show me, find me, find, propose, suggest, generate, list, return, give, show, provide, the top, top, the best, best, first, the first, i want, i need, we need, we want, produce, get, get me, discover, search for, deliver, "
                "count, limit", "给我 找 给出 找出 生成 列出 返回 推荐 提供 寻找 搜索 需要 我要 请给我 提出"),
    "budget": ("in, within, for, in under, in less than, under, in at most, during, spending, taking, spend, budget, budget of, with a budget of, in no more than, time budget, using at most, run for, time limit, stop after, after, time limit of, "
               "a budget of, less than, at most, no more than, up to, for at most, for up to, in about", "在 用时 限时 时间 最多 预算 用 不超过 运行 时限 花 时间不超过 用时不超过"),
    "budget_tail": ("of computing time, of compute, of computing, of time, budget, time budget, of cpu time, at most, or less, max", "内 以内 之内 时间 的时间"),
    "space_group": ("space group, space groups, spacegroup, spacegroups, sg, space group number, space group numbers, space group no, s.g, space group symbol", "空间群 空间群号"),
    "point_group": ("point group, crystal class, point groups, crystal classes", "点群 晶类"),
    "number_sign": ("number, no, #, numbers, is, :, of, nos, in, equal to, =, symbol", "号 编号 为 是 :"),
    "stable": ("stable, thermodynamically stable, on the hull, on the convex hull, on hull, ground state, ground states, lying on the hull, that lie on the hull, on the convex energy hull",
               "稳定 热力学稳定 稳定的 凸包上 在凸包上 位于凸包上 处于凸包上 基态"),
    "metastable": ("metastable, nearly stable, near stable, almost stable, near hull, close to the hull, near the hull, stable or metastable, metastable or stable, near the convex hull, close to the convex hull", "亚稳 亚稳态 近稳定 接近凸包 亚稳定 介稳 稳定或亚稳"),
    "unstable": ("unstable, thermodynamically unstable", "不稳定"),
    "hull": ("hull, the hull, convex hull, the convex hull, a hull", "凸包"),
    "hull_link": ("of, from, above, off, to, away from, over, near, on top of", "以上 之上"),
    "novel": ("new, novel, unknown, undiscovered, unreported, previously unknown, not in the reference, not in the reference set, not known, not yet known, not yet reported, not reported, never reported, never synthesised, new to the database, "
              "not in the database, as yet unknown, hitherto unknown, brand new, not in any database, not in materials project, not in the materials project, that are new, that are not known, yet unknown, unseen",
              "新 新型 新的 全新 未知 未报道 未被报道 尚未报道 没有报道过 未发现 未被发现 新颖 不在参考库中 不在数据库中 未报道过"),
    "allow": ("allow, allowing, permit, permitting, also allow, allow for, including, include, even, unmask, may contain, can contain, may include, can include, possibly with, optionally with, also allowing", "允许 允许含 允许含有 可含 可以含 可以含有 可包含 包括 也允许 可以包含 允许使用"),
    "allowed": ("allowed, permitted, are allowed, is allowed, are ok, are fine, ok, is ok, is fine, may be present, welcome, are welcome", "允许 也可以 可以"),
    "everything": ("any element, any elements, all elements, every element, the whole periodic table, all the elements, no element mask, whole periodic table, the full periodic table", "任何元素 所有元素 全部元素 任意元素"),
    "formula_word": ("formula, composition, stoichiometry, chemical formula, general formula, of formula, of composition, formula type, with formula, with the formula, with composition, with the composition, of the formula, with stoichiometry, of stoichiometry, of the composition, "
                     "with general formula, with the general formula, of general formula, having the formula, type", "化学式 化学式为 通式 分子式 组成为 成分为 配比 通式为"),
    "type_word": ("type, type structure, structure type, structured, like, structure, type structures, structures, prototype", "型 型结构 结构"),
    "non_toxic": ("non toxic, nontoxic, toxic element free, without toxic elements, toxin free", "无毒 无毒性 低毒"),
    "filler": (
        "please, kindly, what about, how about, &, anything, something, me, i, we, you, us, my, our, want, wants, need, would, like, the, a, an, of, that, which, is, are, be, being, have, has, having, for, to, in, on, at, some, it, its, their, they, them, these, those, this, whose, where, "
        "with, find, search, look, looking, show, give, get, discover, propose, suggest, generate, list, seek, identify, predict, design, explore, try, can, could, should, must, will, shall, also, there, all, any, each, every, "
        "materials, material, compounds, compound, crystals, crystal, structures, structure, structured, phases, phase, solids, solid, polymorphs, polymorph, candidates, candidate, results, systems, structural, kind, sort, inorganic, ideally, preferably, "
        "and, by, as, from, so, do, let, let's, hi, hello, thanks, thank, what, exist, exists, than, then, one, ones, different, possible, symmetry, group, value, values, per, type, types, family, class, containing, contain, contains, "
        "belonging, crystallizing, crystallising, crystallize, crystallise, adopting, form, forming, formed, has, but, while, still, only, just, both, i'd, i'm, we're, am, going, up, good, substances, substance, chemistry, chemistries, "
        "crystalline, based, made, composed, consisting, lying, lie, lies, search for, looking for, a set of, set, list of, number of, crystal system, lattice, energy, ., \\,, ;, :, !, ?, (, ), \", ', `, -, [, ], {, }, /, …, *, +",
        "的 了 但 但是 而 而且 请 给 我 我们 找 寻 寻找 帮 帮我 一些 材料 化合物 晶体 结构 相 具有 有 为 是 在 中 所有 想 想要 要 需要 希望 个 种 类 并 并且 且 和 与 也 其 这 那 该 以 及 吗 呢 吧 能 可以 应 应该 必须 一个 一种 候选 型 晶系 "
        "对称性 点 空间 元素 物质 固体 无机 之间 数 值 每 , 。 、 ; : ! ? （ ） “ ” 《 》 · 左右 列出 生成 搜索 推荐 设计 发现 预测 探索 给出 寻求 哪些 什么 含 用 由 组成 构成 多晶型 群 最好 您 你 谢谢 你好 类型 同时 相图 晶体结构 族 系 等 到 都 一下"),
}
# Words that are known but that no field of an Ask can carry: reported with the reason.
BEYOND: dict[str, tuple[str, str]] = {
    "an application, not a property with a number: say which property must lie in which range": (
        "thermoelectric, thermoelectrics, photovoltaic, photovoltaics, solar cell, superconductor, superconductors, superconducting, battery, batteries, cathode, cathodes, anode, anodes, electrolyte, electrolytes, solid electrolyte, solid electrolytes, catalyst, "
        "catalysts, phosphor, phosphors, ferroelectric, ferroelectrics, multiferroic, magnet, magnets, ferromagnet, topological, hard, superhard, conductor, conductors, transparent, light absorber, absorber, absorbers", "热电 光伏 太阳能电池 超导 超导体 电池 正极 负极 电解质 固态电解质 催化剂 铁电 拓扑 超硬 透明 导体"),
    "magnetic order cannot be asked for yet": ("ferromagnetic, antiferromagnetic, ferrimagnetic, paramagnetic, antiferromagnets", "铁磁 反铁磁 亚铁磁"),
    "price and abundance cannot be asked for yet": ("cheap, inexpensive, abundant, earth abundant, low cost, affordable", "便宜 廉价 低成本 储量丰富"),
    "how likely a synthesis is cannot be asked for yet": ("synthesizable, synthesisable, easy to make, synthesized, synthesised", "可合成 易合成"),
    "dimensionality cannot be asked for yet": ("2d, two dimensional, layered, monolayer, monolayers, 1d, 0d, quasi one dimensional", "二维 层状 单层 一维"),
    "say how much: a number with a unit": ("high, low, large, small, strong, weak, higher, lower, larger, smaller, big, light, heavy, dense, soft, stiff", "高 低 大 小 强 弱 轻 重"),
    "the nature of the gap cannot be asked for yet": ("direct, indirect", "直接 间接"),
    "no prototype of this structure type is known": ("clathrate, clathrates, brookite, brookites, zeolite, zeolites, mof, mofs", "笼合物 板钛矿 沸石"),
    "disorder cannot be asked for": ("disordered, amorphous, glass, glasses, glassy", "无序 非晶 玻璃"),
    "a wish cannot ask for what is already known": ("known, reported, existing, experimental", "已知 已报道"),
    "conditions cannot be asked for yet": ("high pressure, high temperature, at high pressure, room temperature, at room temperature, ambient", "高压 高温 常温 室温"),
}


# Why something was not understood, in Chinese; what is missing here is shown in English.
REASONS_ZH = {
    "unknown word": "未知词", "unknown sign": "未知符号", "a number that belongs to nothing": "无所属的数字", "a unit without a number": "没有数值的单位",
    "alternatives between different kinds of words cannot be expressed; both sides are taken as wanted": "不同种类词语之间的“或”无法表达, 两侧均按需要处理",
    "say which range: a number with a unit": "请给出范围: 数值和单位", "say how much: a number with a unit": "请给出数值和单位", "say how many": "请给出个数",
    "say which property this range is for": "请说明此范围属于哪个性质", "this exclusion cannot be expressed": "此排除条件无法表达",
    "excluding a combination cannot be expressed; exclude elements or one class": "无法排除组合, 请排除元素或单个类别", "one formula per wish; ask once for each": "每次只能给一个化学式",
    "how many of one element or group cannot be asked for; give a formula or the number of elements": "无法限定某一元素的个数, 请给出化学式或元素种数",
    "how many of a list cannot be asked for; at least one of it, or all, can": "无法限定列表中的个数, 可要求至少一种或全部",
    "an amount relative to others cannot be asked for; say which elements or a formula": "无法限定相对含量, 请给出元素或化学式",
    "an application, not a property with a number: say which property must lie in which range": "这是用途而非带数值的性质, 请说明性质及其范围",
    "magnetic order cannot be asked for yet": "尚不能指定磁有序", "price and abundance cannot be asked for yet": "尚不能指定价格或储量", "how likely a synthesis is cannot be asked for yet": "尚不能指定可合成性",
    "dimensionality cannot be asked for yet": "尚不能指定维度", "the nature of the gap cannot be asked for yet": "尚不能指定带隙类型", "disorder cannot be asked for": "不能指定无序",
    "a wish cannot ask for what is already known": "不能要求已知材料", "conditions cannot be asked for yet": "尚不能指定条件", "no prototype of this structure type is known": "没有此结构类型的原型",
    "say which space group: a number from 1 to 230 or a symbol such as Fm-3m": "请给出空间群编号 (1 到 230) 或符号, 如 Fm-3m", "a time above zero is wanted": "时间须大于零",
}


def plural(word: str) -> tuple[str, ...]:
    """`word` (one or several words) and its plural."""
    if word.endswith("s") or word.endswith("x"):
        return word, word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word, word[:-1] + "ies"
    return word, word + "s"


def is_cjk(c: str) -> bool:
    """Whether a character is a Chinese one (each is a token of its own)."""
    return "\u3400" <= c <= "\u9fff" or "\U00020000" <= c <= "\U0003ffff" or c == "〇"


def words_of(spelling: str) -> tuple[str, ...]:
    """The tokens of a spelling: words and signs by blanks, every Chinese character alone, hyphens and blanks are one."""
    found: list[str] = []
    for part in spelling.lower().replace("-", " ").split() or [spelling]:
        run = ""
        for c in part:
            if is_cjk(c):
                if run:
                    found.append(run)
                    run = ""
                found.append(c)
            else:
                run += c
        if run:
            found.append(run)
    return tuple(found)


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ")


class Lexicon:
    """Every spelling with its readings, found by first token and then by length; made once per process."""

    def __init__(self):
        self.entries: dict[str, list[tuple[tuple[str, ...], str, object]]] = {}
        self.units = _units()
        self.unit_starts: dict[str, list[str]] = {}
        for spelling in sorted(self.units, key=len, reverse=True):
            self.unit_starts.setdefault(spelling[0], []).append(spelling)
        self.space_groups: dict[str, int] = {}
        for number, symbol in enumerate(SPACE_GROUPS, 1):
            for spelling in (symbol, symbol.replace("_", "")):
                self.space_groups.setdefault(spelling, number)
            if number >= 200 and "-3" in symbol:
                self.space_groups.setdefault(symbol.replace("-3", "3"), number)
        for symbol, number in OTHER_SPACE_GROUPS.items():
            self.space_groups.setdefault(symbol, number)
            self.space_groups.setdefault(symbol.replace("_", ""), number)
        lower: dict[str, set[int]] = {}
        for symbol, number in self.space_groups.items():
            lower.setdefault(symbol.lower(), set()).add(number)
        self.space_groups_lower = {symbol: next(iter(found)) for symbol, found in lower.items() if len(found) == 1}
        self.longest_symbol = max(map(len, self.space_groups))
        from ..crystal.structure_types import PROTOTYPE_NAMES

        self.type_formulas = {f: name for name, (_, _, formulas) in PROTOTYPES.items() for f in formulas.split()}
        plain = {_plain(name): name for name in PROTOTYPES}
        for name, entry in PROTOTYPE_NAMES.items():  # archetypes such as ThCr2Si2 that have no name of their own here
            others = (name, *entry["synonyms"])
            known = next((plain[_plain(o)] for o in others if _plain(o) in plain), _plain(name).replace(" ", "_"))
            for other in others:
                self.type_formulas.setdefault(other, known)
        self._fill()
        for options in self.entries.values():
            options.sort(key=lambda e: -len(e[0]))
        self.words = frozenset(w for options in self.entries.values() for e in options for w in e[0])
        self.suggestions = sorted(w for w in self._suggest if len(w) > 3)

    def _add(self, spelling: str, kind: str, value: object):
        tokens = (spelling,) if spelling in "-.,;:!?()[]{}/" else words_of(spelling)
        self.entries.setdefault(tokens[0], []).append((tokens, kind, value))

    def _fill(self):
        self._suggest: set[str] = set()

        def nouns(words, words_zh, kind, value, plurals=True):
            for w in words:
                for spelling in plural(w) if plurals else (w,):
                    self._add(spelling, kind, value)
                    self._suggest.add(spelling)
            for w in words_zh:
                self._add(w, kind, value)

        for z, name in enumerate(ELEMENT_NAMES, 1):
            nouns([name], [ELEMENT_NAMES_ZH[z - 1]], "element", z, plurals=False)
        for name, z in OTHER_NAMES.items():
            nouns([name], [], "element", z, plurals=False)
        for name, g in GROUPS.items():
            nouns(g.words, g.words_zh, "group", name)
            self._add(name, "group", name)
        for name, c in CLASSES.items():
            nouns(c.words, c.words_zh, "class", name)
            self._suggest.add(name)
            for w in c.words_zh:  # 氧化锂, 钛酸钡: the class stands before the metal and loses its last character
                if w.endswith(("化物", "酸盐")) and len(w) > 2:
                    self._add(w[:-1], "class", name)
        for name, (words, words_zh, _) in PROTOTYPES.items():
            nouns(words.split(", "), words_zh.split(), "prototype", (name,))
            self._add(name, "prototype", (name,))
        for name in {*self.type_formulas.values()} - {*PROTOTYPES}:
            self._add(name, "prototype", (name,))
        for names, (words, words_zh) in PROTOTYPE_FAMILIES.items():
            nouns(words.split(", "), words_zh.split(), "prototype", names)
        for name, p in PROPERTIES.items():
            nouns(p.words, p.words_zh, "property", name)
            self._add(name, "property", name)
        for name, (_, _, _, words, words_zh) in PRESETS.items():
            nouns(words.split(", "), words_zh.split(), "preset", name)
        for name, (words, words_zh) in SYMMETRY_WORDS.items():
            nouns(words.split(", "), words_zh.split(), "symmetry", name, plurals=False)
        for n, (words, words_zh) in ARITIES.items():
            nouns(words.split(", "), words_zh.split(), "arity", n)
        for kind, (words, words_zh) in SMALL.items():
            for w in [*words.split(", "), *words_zh.split()]:
                w = w.replace("\\,", ",")
                if w:
                    self._add(w, kind, w)
                    if " " not in w and w.isalpha() and w.isascii():
                        self._suggest.add(w)
        for reason, (words, words_zh) in BEYOND.items():
            nouns(words.split(", "), words_zh.split(), "beyond", reason, plurals=False)
        for w, n in NUMBER_WORDS.items():
            self._add(w, "number_word", n)


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The one lexicon of the process; it is read, never written."""
    return Lexicon()
