"""The data sets that matterloop knows, as literals: what, whose, under which licence, and the SHA-256 of every file.

The files themselves are never part of the package. `homes` maps a folder or a file here to "commit/path" in the source's GitHub
repository where the very same bytes lie; a file under none of them was packed or cut down and has no public home in this form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True)
class DataSource:
    """A named, versioned, hashed data set.

    name         its folder in a data directory
    version      first digits of the repository's snapshot, "+packed" if repacked, "+cut" if some rows were left out
    repository   "owner/name" on GitHub it was taken from, `snapshot` the commit looked at
    licence      of the data and, where it differs, of the repository
    description  content, columns and units
    credit       whom to cite
    changes      how the files differ from the repository's, empty if not at all
    files        {path within the folder: SHA-256}
    homes        {folder or file, "" for all: commit/path in the repository}
    rows         {file: rows} of the files that `load_frame` reads
    read         {file: options of the pandas reader} where the defaults do not do
    """

    name: str
    version: str
    repository: str
    snapshot: str
    licence: str
    description: str
    credit: str
    files: Mapping[str, str]
    changes: str = ""
    homes: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    read: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def url(self, file: str) -> str:
        """Where the bytes of `file` lie in public; empty if nowhere in this form."""
        for folder in sorted(self.homes, key=len, reverse=True):
            if file == folder or not folder or file.startswith(folder + "/"):
                rest = "" if file == folder else file[len(folder) :].lstrip("/")
                return "https://raw.githubusercontent.com/" + quote("/".join(x for x in (self.repository, self.homes[folder], rest) if x))
        return ""

    @property
    def home(self) -> str:
        """Page of the repository at the snapshot."""
        return f"https://github.com/{self.repository}/tree/{self.snapshot}"


SOURCES = (
    DataSource(
        name="adsorption_pt_zong", version="c0c8a2fa", repository="xzong0619/Adsorption_Machine_Learning", snapshot="c0c8a2fa443abcd8dac30f4d623b26b19d66eb92",
        licence="MIT",
        description=(
            "Adsorption energies on Pt, other transition metals, single-atom alloys and bimetallics with site descriptors (E_bind, "
            "E_ads in eV)"),
        credit="Zong and Vlachos, J. Chem. Inf. Model. (2022)",
        homes={"": "c0c8a2fa443abcd8dac30f4d623b26b19d66eb92"},
        rows={"gcn_scaling/gcn_scaling.csv": 176},
        files={
            "Dataset.xlsx": "c3f0a05691266cb2aaf25ac4dc9929e72d824401c21fb9d7c135a67eddb22702",
            "README.md": "a37f194d8477a5db46881404a08adb1116956799c535bc7584593950381825b8",
            "gcn_scaling/gcn_scaling.csv": "78e9a6c4992d7f51b025c93eb4755dee5b44f27dc010525e54f7b7653fbd2b06",
            "transfer_learning/TM_Data.xlsx": "f30e9cb2d1fb807719a89c5ed3a90adfcdcdb8733ced2a398bda71a82dc06290",
        }),
    DataSource(
        name="aflow_props_cif", version="507e8f14", repository="SymmetryAdvantage/WyckoffTransformer", snapshot="507e8f147a0e87905c2574ebfbbfc9fa21c2fb09",
        licence="repository Apache-2.0; Materials Project data CC-BY-4.0; AFLOW free with citation",
        description=(
            "Crystals (CIF) with AFLOW bulk and shear modulus (GPa), Debye temperature (K), thermal conductivity (W/m/K) and "
            "expansion (1/K) at 300 K; train and val"),
        credit="Toher et al., Phys. Rev. B 90, 174107 (2014); Phys. Rev. Materials 1, 015401 (2017)",
        homes={"": "32c31a03d24dc1147439774540e701345acea7c4/data/aflow"},
        rows={"bulk_modulus/train.csv.gz": 3433, "bulk_modulus/val.csv.gz": 735, "debye_temperature/train.csv.gz": 3433,
            "debye_temperature/val.csv.gz": 735, "shear_modulus/train.csv.gz": 3433, "shear_modulus/val.csv.gz": 735,
            "thermal_conductivity/train.csv.gz": 3426, "thermal_conductivity/val.csv.gz": 734, "thermal_expansion/train.csv.gz": 3426,
            "thermal_expansion/val.csv.gz": 734},
        files={
            "bulk_modulus/train.csv.gz": "57ff2e370d555f31be5e4c9d0d89ac8c879c165ffbf118e27649e940dd1f8abe",
            "bulk_modulus/val.csv.gz": "e158c4f3810e14317a80f10ea3b348f12410399fe4942a2440f09a63153a2f75",
            "debye_temperature/train.csv.gz": "726c9bc244a2ac992ae9637dfda247e9c5b9a4d6cedfb3e96f99bce31fbf5d1b",
            "debye_temperature/val.csv.gz": "e1c5d2f33c521ec66f0406b2861ec7cbd283f6414247b3d9746a43b55555c9d1",
            "shear_modulus/train.csv.gz": "5d20bbde467f84ea2aee3b4de97f0dc3fa835b7a6098801364cca0ed2d1c15ea",
            "shear_modulus/val.csv.gz": "caae0448dc2db1566a1955d585f301a25675a55bbd050a4274c3f4da79b0525b",
            "thermal_conductivity/train.csv.gz": "e76390d925500f0a9a2d423f527674fe72d8bdf94077721acaf1bd5b3f93f3b0",
            "thermal_conductivity/val.csv.gz": "d2a9b920acb59f512dcbb90104fefcf59e80f4b975bdf9c4fa89cf6a3040e89e",
            "thermal_expansion/train.csv.gz": "726f0aef6c0f2ca42145198e8feecd5e2b598c9e9cafc8ac750e0007886318be",
            "thermal_expansion/val.csv.gz": "b08805d9574ac728eb66b589358ea14eab5620111d7a774fbcd5702b14f5e2b1",
        }),
    DataSource(
        name="alignn_sample_multi_prop", version="a8be0bed", repository="usnistgov/alignn", snapshot="a8be0bed552ac70c14b8db825a48dbca1d14ad8d",
        licence="NIST public domain",
        description="50 JARVIS-DFT crystals (POSCAR) with one spectrum each",
        credit="Choudhary and DeCost, npj Comput. Mater. 7, 185 (2021)",
        homes={"": "a8be0bed552ac70c14b8db825a48dbca1d14ad8d/alignn/examples/sample_data_multi_prop"},
        read={"id_prop.csv": {"header": None}},
        rows={"id_prop.csv": 50},
        files={
            "POSCAR-JVASP-10.vasp": "a9fe82b32ab4f1166f640d0385509f5be1eebd9ff2a5af00eb070c8e3e849846",
            "POSCAR-JVASP-107772.vasp": "3398f0571bf985b317e342b9ed8cbf2f040426d12dcc2ccb0be648686f5ff87b",
            "POSCAR-JVASP-1372.vasp": "6e92f70d8e6bb56114211b3cc7087b38aa04f29d375e43072f28b6fe1e7b34ab",
            "POSCAR-JVASP-14014.vasp": "21bf6e35906aaa50406332e1104598db3f598c525fdeb310742cc338ae904abd",
            "POSCAR-JVASP-14873.vasp": "e61052a71918793947facd25b9a8d64aa97a18a004dc15cd461db1ccbd57bfc4",
            "POSCAR-JVASP-15345.vasp": "2346d0a07585249cb95a775144253285cb9449202b1b05e6828a3113c4898706",
            "POSCAR-JVASP-1996.vasp": "5114c97e9b1fe86fa03a8e02691b65c4956016117b0d13f9d16977adfc078dec",
            "POSCAR-JVASP-21210.vasp": "50b56b05ddfec3e96bb20f1033007d2f54fc57832f564428221796efb355c364",
            "POSCAR-JVASP-22556.vasp": "7b9ae4575ab4d1d3b026d79fe866ea6dd5a74267710d73b330c36945e8e5ad05",
            "POSCAR-JVASP-28397.vasp": "424e3a523132b04731bdbf792b9530e03b27dd47df434b00d97f6c11da5df5f3",
            "POSCAR-JVASP-28565.vasp": "15b9a83c6be6e2c2eb3340f00d7ed758328d1ae0caa3b1ef978dcf38cdd0e5d3",
            "POSCAR-JVASP-28634.vasp": "7bb753a25378b8634857f2dd2821363aa9a26f6ebde1dc520405dcd69273ba95",
            "POSCAR-JVASP-28704.vasp": "e4f07a74a9b915fe78a28760a959d6a0e1d991e8c3553c26e9ef4af2302564f8",
            "POSCAR-JVASP-42300.vasp": "41e49d3b4ecac5b2893c69d0c9002e1d3b56e1238915889bea30754d73912f51",
            "POSCAR-JVASP-48166.vasp": "a138c6cba2688e4c8608cc65b2512d21d5eb730732d9509a9b04c2e5530f182a",
            "POSCAR-JVASP-50332.vasp": "1849f322299dc8c826a2985ebfc6df7d00478da7f6579a52a90e7a5a4dcec682",
            "POSCAR-JVASP-60702.vasp": "82af69be1bde8918caa0d6cd48ccf328be13eeb4b5d8350e9180a6351f19a801",
            "POSCAR-JVASP-63912.vasp": "20613261717a11592226509f567f18fd42c9d4fbb40205f0908dd2baa3e68bdf",
            "POSCAR-JVASP-64003.vasp": "83aff7759aac29e175516038e22970e114feefc81a1408eb3fa215079a20eb1b",
            "POSCAR-JVASP-64045.vasp": "ed2d76c7e6666e241276a6cdff032934739d78c5ab1266181a4b13ebbd851629",
            "POSCAR-JVASP-64240.vasp": "c27ca8d98586b7d8e35ab264ddfd81c93f4c88f950b2dbc7c3c91fef10c6cf8c",
            "POSCAR-JVASP-64377.vasp": "861811ca6ee3f0d327f266b25f983f2e749635d8c733f6277b35ed3333357af1",
            "POSCAR-JVASP-64584.vasp": "7b93b7e6a4c2bc0468ac7a7da4efa2d298cc9a2af676b2616446aef617baa0a6",
            "POSCAR-JVASP-64664.vasp": "d0645c9d1d73ea1a474e90d4a8ece078c757bec7646e09b87141218ce845f312",
            "POSCAR-JVASP-64719.vasp": "680f10de67150d827ae8db67dc81ad4a3885e5200482b43c6b6cae5e3e5adf9d",
            "POSCAR-JVASP-64906.vasp": "5f9f5595b53e5101689daa98e93ed37ef4fafe0b33a5baf0cc4bedaebcb72a92",
            "POSCAR-JVASP-65062.vasp": "6e47597c74bf7e7861a0c70f6b3a9c55421a755b91f5500e6e20075579ce77b8",
            "POSCAR-JVASP-65101.vasp": "3d05aa40c0ed7cc849594d7d652f73c26299d333d21ea94ea26e4cb4d86064a6",
            "POSCAR-JVASP-86097.vasp": "7b68cc6930fbd25631fca11298681ee399f238e240f6405053acb7071adfe8f5",
            "POSCAR-JVASP-86205.vasp": "3bd5411019d030b109c46024fd75bf47d308848703ac041d880bbab99a74ce7f",
            "POSCAR-JVASP-86436.vasp": "e80ab00c6657a63a5a79b01c4038a115403a476fce7ba4cbd5505642a9b148c3",
            "POSCAR-JVASP-86726.vasp": "a78b017d9b2cd21e98d7ae8e1417655b9b12a7924dbaeeace45121bd39885724",
            "POSCAR-JVASP-86968.vasp": "acf859ef7d2c144536f7b4162d7b1ad7b5f7222b3dc974f31c3a740d2b94997f",
            "POSCAR-JVASP-89025.vasp": "0635bdd9455dc18ce2e2dc15e0d7fe03bcb52793fca1d0086b7f90d3b1f3a949",
            "POSCAR-JVASP-89265.vasp": "8d83cd348d4dee2209554266fdd29f75b399e146b36749240ccf27bf55fc5399",
            "POSCAR-JVASP-90228.vasp": "6d7b30a150012e8f9547e62b41677b3286aa117895e596bea5d4d3d03c15f963",
            "POSCAR-JVASP-90532.vasp": "e7d83e7d3b8a865af09d63c506e4c32e0cf93a9aea36375a518ef57b5fc64999",
            "POSCAR-JVASP-90856.vasp": "075e39686c0472cc05ccae9fc56c90c1c3a611d668efd718c404b1955ecc072c",
            "POSCAR-JVASP-97378.vasp": "d2065c5e5c6e90b22e407e9e1fc5f9888bfe6efe977a201e5f3f9690736a0de1",
            "POSCAR-JVASP-97499.vasp": "e9a382a0595d50deb38a498c3046ef91bf6f942eced103717f6e4461da5ff31b",
            "POSCAR-JVASP-97570.vasp": "8b62102fa466d1cd0635455bbbb2d3fe2b3cccfbcb2d790c71a21ee12d4335e5",
            "POSCAR-JVASP-97677.vasp": "9aeab9495a2da11a077059e61ef9fe08a99485569eeefffd58a5f045acabfddb",
            "POSCAR-JVASP-97799.vasp": "3d41d509ccd172db539a73003e8bef1020dc02a6a9f95f04413c06e1af8a0b36",
            "POSCAR-JVASP-97915.vasp": "2b36c3326e98e2cc7f5f7571055b036fe4187305f3284ec32e523dd30585d2c5",
            "POSCAR-JVASP-97984.vasp": "78e7719e98d324ada52bf6dddf073f8b825e729c5b7036ccfd8945810b59952b",
            "POSCAR-JVASP-98167.vasp": "37de033462ae1e9d60eab1d031fcb0fe9dd429c3331f76c60f0b271b204d94d0",
            "POSCAR-JVASP-98224.vasp": "9bc6b9994c2d5629b0438e3e3dba349f5dcfdff726f3eede89c1232ba3880226",
            "POSCAR-JVASP-98225.vasp": "7d9b35495ac06923232068c2612d8ea5d7a1fccb3f9fbb27a9cad31f20ec986c",
            "POSCAR-JVASP-98284.vasp": "613b5431d218ac359a04ab84ff028ffd649bc1cf1128d7daa2d7fdf3b450716e",
            "POSCAR-JVASP-98550.vasp": "468b599d52125b3dbdd944779f7b9bfbac65e516de4ed27cd69b81deff94ae77",
            "id_prop.csv": "ebf97afddce149d216e6245ed4c0f81409617386c5240593c9acefd437e4f256",
        }),
    DataSource(
        name="botnet_3bpa_acac", version="29e6d467", repository="davkovacs/BOTNet-datasets", snapshot="29e6d467317e4b5967b7ea5cbee54de953fa0d45",
        licence="MIT",
        description="Molecular dynamics of 3BPA, acetylacetone and ethanol: energy (eV) and forces (eV/Å), extxyz",
        credit="Kovács et al., J. Chem. Theory Comput. 17, 7696 (2021); Batatia et al., arXiv:2205.06643",
        homes={"": "29e6d467317e4b5967b7ea5cbee54de953fa0d45"},
        files={
            "dataset_3BPA/README.md": "de9daa6f12c8f0ae28e2988608406dc77174982cf734b057ec84f3e0efebf1ea",
            "dataset_3BPA/iso_atoms.xyz": "e12a2465a2612bf38fd5dabdf64d4b57fc58ce9610a858c54ea1142d517c053f",
            "dataset_3BPA/train_300K.xyz": "d109971fab90e2231ad931a83eb704c8d940f5c7d7a8de27fe3b84ea18634c0a",
            "dataset_3BPA/train_mixedT.xyz": "bc108532964b2ed259eaaabf82e5dfaffa5bda9ac384fc2afabcce192a49250b",
            "dataset_acac/README.md": "f77cf1d5d90c6eac636049ab87dc0895e50d53a2ed6d7b65fb47687b1862beea",
            "dataset_acac/isolated_atoms.xyz": "b74f321b453374621b447d65c60979f70df1b7182c8ee0215388b2c574f33823",
            "dataset_acac/test_H_transfer.xyz": "ea4d76c79cf4cfccd2f93eaf755172b0b648886c4907eb0f82dff07a77530743",
            "dataset_acac/test_MD_300K.xyz": "2291f3186a3cc6a5e05e92952c84a9237ca53f862d78fd3316a769360719ec43",
            "dataset_acac/test_MD_600K.xyz": "d5a5bba154ec43f915eb7529f86ec3af60e6f911743859daba030181a0378ff7",
            "dataset_acac/test_dihedral.xyz": "0c2246a593579de5a4450698d5f4ba5802b095824b7f211aa5889339967c6809",
            "dataset_acac/train_300K.xyz": "8f5706d6902360555a5be59395612d2afc3489a75688388a58e7275fdad68af3",
            "dataset_acac/train_600K.xyz": "180c2538508f7810a623c279426f44953ee7cfb2af77e48ea3986ff97645a71c",
            "dataset_ethanol/README.md": "eb8fe6a4e4be05b40ca3c1f6e1d4beac5b3bbd7cc718a953a24d43d93780f06d",
            "dataset_ethanol/isolated_atoms.xyz": "a2a662390f31ad623ce493038e680bc34214f88d4432566bf8fbd0761be57583",
            "dataset_ethanol/test_H_removal.xyz": "8d9f13272eb1c7570edaf6afc31e6f8670df38c41b82611504878576708b1a1c",
            "dataset_ethanol/test_MD.xyz": "b8726933d5b9083989d8e3cc7013c18e0950cf0cbc6f6cd570fdb9759001031c",
            "dataset_ethanol/test_dimers.xyz": "6beaf368c2caed6493a39c643438317246926675f14b188b7a2dcbd7868f7342",
            "dataset_ethanol/test_eth_meth.xyz": "e9109584eb66d2ffe7509dd792c436e4b54bed2583a4de555bda9b2cd4799adf",
            "dataset_ethanol/test_norm_mode_3005.xyz": "9412f0ac3562ee3f307e823eae5f6a9b793e1805feea908f58c9d24a0068f6b0",
            "dataset_ethanol/test_norm_mode_874.xyz": "13f363e0c141dc25af4d8f59668623a27e024c781a07a52f8565fc6bb0e58f99",
            "dataset_ethanol/train.xyz": "a26a16d8910581fa321fedc3bd3dfe31f2460e8cbfdc7a8f65243f4fd7250dd0",
            "dataset_ethanol/train_eth_meth.xyz": "2aea243261f05b7d556cca37d73de335a98573d198441f32dc6f835cd948e3a0",
        }),
    DataSource(
        name="cdvae_carbon24", version="f857f598+packed", repository="txie-93/cdvae", snapshot="f857f598d6f6cca5dc1ea0582d228f12dcc2c2ea",
        licence="repository MIT; data CC-BY-4.0 (Materials Cloud 2020.0026)",
        description="Carbon-24: carbon crystals of 6 to 24 atoms (CIF) with energy_per_atom (eV/atom); val and test",
        credit="Pickard, doi:10.24435/materialscloud:2020.0026/v1; split of Xie et al., ICLR 2022, arXiv:2110.06197",
        changes="packed with gzip",
        rows={"test.csv.gz": 2030, "val.csv.gz": 2032},
        files={
            "test.csv.gz": "59c6270b3fe9bb7a5bd6e0b25afa11c93d278d19e27e06c9143afaffc54c9402",
            "val.csv.gz": "16d82a61a363747c4ebec8945020b4273ea055745f2446426fa4dc94ce3b1dd8",
        }),
    DataSource(
        name="cdvae_perov5", version="f857f598+packed", repository="txie-93/cdvae", snapshot="f857f598d6f6cca5dc1ea0582d228f12dcc2c2ea",
        licence="repository MIT; data public (Computational Materials Repository)",
        description="Perov-5: cubic perovskites of 5 atoms (CIF) with heat of formation and gaps (eV); val, test and an earlier development split",
        credit="Castelli et al., Energy Environ. Sci. 5, 5814 and 9034 (2012); split of Xie et al., ICLR 2022, arXiv:2110.06197",
        changes="packed with gzip; the development splits joined",
        rows={"dev.csv.gz": 2048, "test.csv.gz": 3785, "val.csv.gz": 3787},
        files={
            "dev.csv.gz": "97889b49b7a0569806183becbca0e73e8900f84d5d2d6da4e7be6292460f157b",
            "test.csv.gz": "eca65c11ba567ae3826559dad3bd19b284e6ef7221a5b6198039deac1c9b57d7",
            "val.csv.gz": "4db0253d3caba00efe2656a028a18dbba0dfa24ba916838c07ca9065f58b82df",
        }),
    DataSource(
        name="cdvae_supercon", version="f857f598", repository="txie-93/cdvae", snapshot="f857f598d6f6cca5dc1ea0582d228f12dcc2c2ea",
        licence="repository MIT; JARVIS data NIST public domain",
        description="JARVIS-SuperconDB crystals (CIF); prop is minus the critical temperature in K",
        credit="Choudhary and Garrity, npj Comput. Mater. 8, 244 (2022); Wines et al., J. Phys. Chem. Lett. (2023)",
        homes={"": "840cd7050f711e9e58a8fbbb1d5e3aa3bab70599/data/supercon"},
        rows={"test.csv": 105, "train.csv": 846, "val.csv": 105},
        files={
            "test.csv": "758d05ecb539e094f6f0e6b70880160a796e115ed738145f379ad5b9eadee402",
            "train.csv": "be0df28dbf1c72b06966bd90c4c85aefc07be5b73aa0fc7ed1cb18fa60c591a9",
            "val.csv": "2568af0713cbfe3b881a329269964e72274790f785e029d8fce99e2f7236d849",
        }),
    DataSource(
        name="coremof_tables", version="a931fb58", repository="coudertlab/CoRE-MOF", snapshot="a931fb5809696bbd43fbdec54341ee95b1d323db",
        licence="code MIT; data CC-BY-4.0",
        description="CoRE MOF 2014 and 2019: names, pore diameters (Å), surface areas, void fractions, metals, open metal sites",
        credit="Chung et al., Chem. Mater. 26, 6185 (2014); J. Chem. Eng. Data 64, 5985 (2019)",
        homes={"": "a931fb5809696bbd43fbdec54341ee95b1d323db/src/CoRE_MOF/data"},
        rows={"2014.csv": 4764, "2019-ASR.csv": 12020, "2019-FSR.csv": 7061},
        files={
            "2014.csv": "c2c93c1d57f017369824b9dfe9a2a617036dcbfd535604ba3b98bce5b39c2c67",
            "2019-ASR.csv": "3335de758a72a6e45a7578a36d40f1982cc3c700f6ee836dd7b2eed521a99609",
            "2019-FSR.csv": "d38e527fc07d262126e36d75763327ea1b0fdaa0cc042d9d8f430a22cf111cab",
        }),
    DataSource(
        name="crabnet_mp", version="457b4d48+cut", repository="anthony-wang/CrabNet", snapshot="457b4d4835737ecbe4dd33e53174bd818bd82143",
        licence="repository MIT; Materials Project data CC-BY-4.0",
        description=(
            "Composition benchmarks: Materials Project bulk and shear modulus, distance to hull, magnetic moment, elastic anisotropy;"
            " CritExam formation and decomposition energies (eV/atom)"),
        credit="Wang et al., npj Comput. Mater. 7, 77 (2021); Bartel et al., npj Comput. Mater. 6, 97 (2020)",
        changes="a choice of the sets, packed with gzip",
        rows={"CritExam__Ed/test.csv.gz": 12753, "CritExam__Ed/train.csv.gz": 59509, "CritExam__Ed/val.csv.gz": 12752, "CritExam__Ef/test.csv.gz":
            12753, "CritExam__Ef/train.csv.gz": 59509, "CritExam__Ef/val.csv.gz": 12752, "mp_bulk_modulus/test.csv.gz": 947,
            "mp_bulk_modulus/train.csv.gz": 4414, "mp_bulk_modulus/val.csv.gz": 946, "mp_e_hull/test.csv.gz": 8500, "mp_e_hull/train.csv.gz": 39663,
            "mp_e_hull/val.csv.gz": 8499, "mp_elastic_anisotropy/test.csv.gz": 950, "mp_elastic_anisotropy/train.csv.gz": 4431,
            "mp_elastic_anisotropy/val.csv.gz": 950, "mp_mu_b/test.csv.gz": 8500, "mp_mu_b/train.csv.gz": 39663, "mp_mu_b/val.csv.gz": 8499,
            "mp_shear_modulus/test.csv.gz": 928, "mp_shear_modulus/train.csv.gz": 4328, "mp_shear_modulus/val.csv.gz": 928},
        files={
            "CritExam__Ed/test.csv.gz": "61bbdf8c5dc2d8cd714ea6f676a0bd8364689e5872e01b0af2fedd8d9c98e01f",
            "CritExam__Ed/train.csv.gz": "8c8d4c1ef800c900d835ec9b44e3f62f8afd8f3f1e04a478ea4a784f8700e9ed",
            "CritExam__Ed/val.csv.gz": "f7ce6886c94c739d9424ac35c3d8b035083e7fdbf8ebe1ea987f7b2040eb767c",
            "CritExam__Ef/test.csv.gz": "7f775c119f3e26606fe8e24e56701c93f451f99e7b39c1309f446e61fee0e0b7",
            "CritExam__Ef/train.csv.gz": "6b077982902a591d30d95d20d255eb95700c8dfc846e0225dccac554543c4863",
            "CritExam__Ef/val.csv.gz": "ecd390d382b5d6f0502355ae5e787e7f964aaad62f407b7d80f236c43851653e",
            "mp_bulk_modulus/test.csv.gz": "2fa1fbf1648ec78ddcda10631f6a98624c26759fa6a21ae7e5a93b8d174b894d",
            "mp_bulk_modulus/train.csv.gz": "23f136f709168be3f09ae3b22058ae58894d3d669af3f6f639ccecbecbd22bf4",
            "mp_bulk_modulus/val.csv.gz": "1b85f21d3d7f389299b322ce0f891e4749027548bfa351adaef969b43eb8f17e",
            "mp_e_hull/test.csv.gz": "f5ee1e5602f7a467de086b2cc10830fede7cb235c3bce50f8cfa1eeb77a3ae52",
            "mp_e_hull/train.csv.gz": "80641c624b6af0b670c4c4d77fa9db21941c02e1335711dae9964fde922e5953",
            "mp_e_hull/val.csv.gz": "0cba776aedf571dad4d6bf46aa9e66036cac2e70a886c0dcb6901b95d8e479e2",
            "mp_elastic_anisotropy/test.csv.gz": "fc6b6fa8963d7033199104b1d7e0ed901a1612464dc338297a660d8d879e9b44",
            "mp_elastic_anisotropy/train.csv.gz": "cea7923a8c6ffc21ba2df911d64ddf6fd1536d48e86c36d6ed913c7feb000ea9",
            "mp_elastic_anisotropy/val.csv.gz": "58da39b1fe500f6bfc889506a5b8d324a73336942ce766e54d0c167bff82e43b",
            "mp_mu_b/test.csv.gz": "b52a36360edcc0c866e29162abf2275b72b4e944afbced2c3b594133ff1f312f",
            "mp_mu_b/train.csv.gz": "fe95697f153d316743bc8be22c6a0f5280c9210f2c9096bbfbb4a09660489a16",
            "mp_mu_b/val.csv.gz": "b951403ab46ae99c9c1c4cc4342570c8bc6b1e48573b49af5d66963dea2f1037",
            "mp_shear_modulus/test.csv.gz": "17a49495f0d9f505927cd5ae030d6a99ea64466bfbb987b6eb9672dc3fd6f160",
            "mp_shear_modulus/train.csv.gz": "9ab30d4e3322d5325bdbc0a06ea087f8b4cf59394abed74b53ebfe52fbe298ac",
            "mp_shear_modulus/val.csv.gz": "5c6de4e211a7512e148b401d615070125cfe8fa4115d4b3b966f6e65eac51f52",
        }),
    DataSource(
        name="deepstruc_pdf", version="7b5088ee", repository="EmilSkaaning/DeepStruc", snapshot="7b5088eecb0010475f7157665bff8cbbdaa23fc5",
        licence="Apache-2.0",
        description="Pair distribution functions of metal nanoparticles, 5 measured and 12 simulated: r (Å), G(r)",
        credit="Kjær, Anker et al., Digital Discovery (2023)",
        homes={"": "7b5088eecb0010475f7157665bff8cbbdaa23fc5/data"},
        files={
            "PDFs_experimental/Au144PET_100K-00000.gr": "b240818828c6b2e63e1cc024707681ac33a8b1d9c446dbe2ce309ca93d6ba619",
            "PDFs_experimental/Au144pMBA.gr": "99ca8f3b56f8595d7d2f0252beb674eb5008111346db6c21eb98ae1abd1eef39",
            "PDFs_experimental/JQ_S1.gr": "f845900fdce758aeb38c2f92fb26d565b2cfb7857eabada7b123d568ff7ddb30",
            "PDFs_experimental/JQ_S2.gr": "b6a5f3184418372b920d7ec2696fd6537cd054b0cffc5afddd00b7d5afdce4a0",
            "PDFs_experimental/JQ_S3.gr": "8a372937c414d6b67d66b4f2ff56ea3ca55434b3781d14715a622fd15a505316",
            "PDFs_simulated/BCC_h_2_k_9_l_9.gr": "0ed0863f3c04783441450bc6dfa3f9b3dee12978319c742245b6678ce3422647",
            "PDFs_simulated/BCC_h_4_k_7_l_8.gr": "c65979828966bc0f8ef033224e3228132ccf84ffc146e89179d8ca813d34e228",
            "PDFs_simulated/Decahedron_p_1_q_1_r_1.gr": "b57e0cc44ab3a2961b8a4bec8637b4b2f908691aec539bcf52cba99916f6914f",
            "PDFs_simulated/Decahedron_p_5_q_1_r_0.gr": "f0dfb62cc63beaffb78d7b634af486991908504b27d90958956cdb7450aa2732",
            "PDFs_simulated/FCC_h_3_k_6_l_7.gr": "2639aee627fc6e5eb53c1dff88d53c8d53db923ba3d7a84dd36b403acde88194",
            "PDFs_simulated/HCP_Size1_2_Size2_2_Size3_7.gr": "bbb57e560408ba15e6206438e0e0795c530c0dbb95183dfa8c2cd76733d4abda",
            "PDFs_simulated/HCP_Size1_4_Size2_4_Size3_4.gr": "897845f0b0108050be49ee90b48881f28c547fa860c7d291a5055337b2295a6c",
            "PDFs_simulated/Icosahedron_shell_2.gr": "03b5ce496d04dbc669c3bf620df1c40d85525a9b7038c1f6d8b0942f8e42b451",
            "PDFs_simulated/Icosahedron_shell_3.gr": "dd9c059cef547ed8ca874f9cc70a83f641722c8069c8d5f3fc7953a4ab4200fc",
            "PDFs_simulated/Octahedron_length_6.gr": "37aa8c5819830b11cd3e8304cef4085528068901f88b409ae575883707210beb",
            "PDFs_simulated/SC_h_2_k_2_l_7.gr": "23e7c606bb4f1854b336bed20cf56adc548b9b18abc03cfe97b471ce6e104695",
            "PDFs_simulated/SC_h_4_k_4_l_5.gr": "e97dab5978516d27e235af747909b0c90170a0c5c9cd190316777a4200485114",
        }),
    DataSource(
        name="gen_baseline_cifs_lemat", version="5bab2cd8+packed", repository="LeMaterial/lemat-genbench", snapshot="5bab2cd8642d863250d09a9f03292109e1c7345c",
        licence="repository Apache-2.0; Materials Project, Alexandria and OQMD data CC-BY-4.0; AFLOW free with citation",
        description="About 2,470 random crystals each of Materials Project, AFLOW, Alexandria and OQMD: CIFs in one archive, metadata tables",
        credit="LeMat-GenBench (LeMaterial, 2025)",
        changes="the CIFs packed into one archive",
        homes={
            "aflow": "5bab2cd8642d863250d09a9f03292109e1c7345c/baseline_data/aflow",
            "alexandria": "5bab2cd8642d863250d09a9f03292109e1c7345c/baseline_data/alexandria",
            "mp": "5bab2cd8642d863250d09a9f03292109e1c7345c/baseline_data/mp",
            "oqmd": "5bab2cd8642d863250d09a9f03292109e1c7345c/baseline_data/oqmd"},
        rows={"aflow/metadata.csv": 2500, "alexandria/metadata.csv": 2500, "mp/metadata.csv": 2500, "oqmd/metadata.csv": 2500},
        files={
            "aflow/metadata.csv": "22d68fa71d61f531f4f68b33e612ee6dcfe912b081bfd87d528719faf7dd7785",
            "alexandria/metadata.csv": "1e420a08c31357176a31b283446cfdf1231059976b1b97e2b9a4636e71b6bf81",
            "cifs_all.tar.zst": "c8960b552cf98baee969d2a250e6d41c284e8a59ae9e3a761f5fb5b3ccbd888d",
            "mp/metadata.csv": "3ad93069f1d999c316133813362e1bbcfa7608abb9fed917b8795b3bee0b5c1d",
            "oqmd/metadata.csv": "317ab84d44bb8f5293f7bf8863c5a940542953b07df42f52c40614cd8006728d",
        }),
    DataSource(
        name="jarvis_defects_surfaces", version="a8be0bed", repository="usnistgov/alignn", snapshot="a8be0bed552ac70c14b8db825a48dbca1d14ad8d",
        licence="NIST public domain",
        description="JARVIS vacancy formation energies (eV) of 545 defects and 84 surface energies (J/m^2), with structures",
        credit="Choudhary and Sumpter, AIP Advances (2023)",
        homes={
            "surface_db.json": "0b48f3836cd8f942eb65f54ceb7dd1d9ad837b7e/alignn/ff/Surf/surface_db.json",
            "vacancy_db.json": "0b48f3836cd8f942eb65f54ceb7dd1d9ad837b7e/alignn/ff/LattPar/vacancy_db.json"},
        files={
            "surface_db.json": "1637ddba9f122bb96fbed6c2d1967938b8750fd83a38f3140209ad06f6ef912b",
            "vacancy_db.json": "62219742074aaa1463c30a4160c16792cc364b88d39759d6f9a391f634aa5d4f",
        }),
    DataSource(
        name="matbench_v01_official_tables", version="936176db", repository="materialsproject/matbench", snapshot="936176db18ca4cd7b38cbd957c017a5bac770c6b",
        licence="MIT",
        description="The 13 Matbench v0.1 tasks by composition: targets, space group, crystal system; rows in the official order, no structures",
        credit="Dunn et al., npj Comput. Mater. 6, 138 (2020)",
        homes={"": "936176db18ca4cd7b38cbd957c017a5bac770c6b/scripts/artifacts"},
        rows={"matbench_dielectric.json.bz2": 4764, "matbench_expt_gap.json.bz2": 4604, "matbench_expt_is_metal.json.bz2": 4921,
            "matbench_glass.json.bz2": 5680, "matbench_jdft2d.json.bz2": 636, "matbench_log_gvrh.json.bz2": 10987, "matbench_log_kvrh.json.bz2":
            10987, "matbench_mp_e_form.json.bz2": 132752, "matbench_mp_gap.json.bz2": 106113, "matbench_mp_is_metal.json.bz2": 106113,
            "matbench_perovskites.json.bz2": 18928, "matbench_phonons.json.bz2": 1265, "matbench_steels.json.bz2": 312},
        files={
            "matbench_dielectric.json.bz2": "828b3c40e350e146177e86fdf5812d409688fbedee29c84dea6aacb146a31d37",
            "matbench_expt_gap.json.bz2": "11d79ac6f2c25e23a136295e9bc37ea9ea4a9fa936c6bc366e777c1cb1c397b9",
            "matbench_expt_is_metal.json.bz2": "72b2b60ebe3506aae9d3498f8fbb6c0e7268ba502c0c30561b5ff90490643ba1",
            "matbench_glass.json.bz2": "0f907acf156830277fbcb168985cf1cd77e4598b0d4351c441967b9f5d294f21",
            "matbench_jdft2d.json.bz2": "57591e4c178800135bfb497246ddf4422a14fcde67f77187c66a28f9632ff20c",
            "matbench_log_gvrh.json.bz2": "4895201003e4da1592fe2bad4ba7c627f204e755fd929c43984b0ca5c6d34e40",
            "matbench_log_kvrh.json.bz2": "c61c243695d00ba290e1787b3a6c9d849a7da0b3f2339f847d1dfa173eec9d75",
            "matbench_mp_e_form.json.bz2": "961b8860f59ef81c6828b91dc5ce10371c7cc744c52bdd5a0433086e5295da75",
            "matbench_mp_gap.json.bz2": "ba32d1f0e79dc94e453e4efd3208cd288ba8e54dbef37ff700e896eafa539ac8",
            "matbench_mp_is_metal.json.bz2": "4fa68d3469419db0f55c70bf1131415df803b1119f7be61673058e3a4dbbba5d",
            "matbench_perovskites.json.bz2": "3c45312ebb0c6e5f7be4d1f2842c186d4906afbb3f8e80882f3c08bc3ba49f0a",
            "matbench_phonons.json.bz2": "17ce45bd20aea96fa59d8adddb08abde59934033ba5446e7ffcc4df333331790",
            "matbench_steels.json.bz2": "f62ab2e43009e58bdeb3cb83637359e163e065caaf9fe309fab9bb8c7ad54aac",
        }),
    DataSource(
        name="matminer_tensors", version="8ddb18c7+packed", repository="hackingmaterials/matminer", snapshot="8ddb18c74064ab3668d7b5aed7c360abdfdae5de",
        licence="LBNL BSD-style (repository); data CC-BY-4.0",
        description="Dielectric tensors (with gaps and refractive index) and piezoelectric tensors (C/m^2) of Materials Project crystals",
        credit="Petousis et al., Sci. Data 4, 160134 (2017); de Jong et al., Sci. Data 2, 150053 (2015)",
        changes="packed with gzip",
        read={"dielectric_constant.csv.gz": {"comment": "#"}, "piezoelectric_tensor.csv.gz": {"comment": "#"}},
        rows={"dielectric_constant.csv.gz": 1056, "piezoelectric_tensor.csv.gz": 941},
        files={
            "dielectric_constant.csv.gz": "87a3c6e533014cf40b2efcc4919c75606f30d2e4870caa9ea87a00b6d2e1413c",
            "piezoelectric_tensor.csv.gz": "15b4056454da35944ae72a16415ec958655c327dcd80a3d76162a8930e88c6f8",
        }),
    DataSource(
        name="megnet_multifidelity_gap", version="e9cde229", repository="materialsvirtuallab/matgl", snapshot="e9cde2291acd0b4c4a342428e7dd5e4d596b7bf9",
        licence="BSD-3-Clause",
        description="Band gaps (eV) at five fidelities (PBE, GLLB-SC, SCAN, HSE, experiment) by Materials Project id or formula, no structures",
        credit="Chen et al., Nat. Comput. Sci. 1, 46 (2021)",
        homes={"": "9df78179be9d018a5aae5d135676f00673b1a3f8/examples/training/MEGNet/MP-2019.4.1-BandGap"},
        files={
            "data_no_structs.json.gz": "e064545967531995d4fd32ff9292b8327b52050e454e2a0390841a92a0749b0a",
        }),
    DataSource(
        name="mlearn_raw", version="10c427a5", repository="materialsvirtuallab/mlearn", snapshot="10c427a5480c6281c15c64efaf869b03be04818f",
        licence="BSD-3-Clause",
        description=(
            "Cu, Ge, Li, Mo, Ni, Si: structures with energy (eV), forces (eV/Å) and virial stress (kbar); training of four, test of "
            "six elements"),
        credit="Zuo et al., J. Phys. Chem. A 124, 731 (2020)",
        homes={"": "10c427a5480c6281c15c64efaf869b03be04818f/data"},
        files={
            "Cu/test.json": "1805a315ce8d0ce4a18bb761df4c4f619909ce114d598d426015d0071edc98c2",
            "Ge/test.json": "737ea6159c9dd27ebee7fb8ffae22f15e20466884927771248ca4f5b2cd3f093",
            "Ge/training.json": "43dee02009a5167f94c7aafce19051222bcfc328c46181750cc2a2018187ca00",
            "Li/test.json": "554d0ce60b35a07b357be3a80bf04f68eb8fc97b5a88328caf08c860b5e9b260",
            "Li/training.json": "1cac01475c5a4fb85771ee1fd23366a6b8abfb9891e0c9e088b6e37228e147b3",
            "Mo/test.json": "68169e2927c2115daa2f504805fcb9548ee65daf2dd015428807ba92f8e13bb8",
            "Mo/training.json": "b13305fca0d0d2631ab080c8fcf13c743ee79a911712fb65a34ca88fadf09f9a",
            "Ni/test.json": "dccbfa14ddff5d1d35f658c48b68f6b431f95496a5261ef8b8f4d1d41e36008a",
            "Si/test.json": "d452b30a89f23bff76f7cc529b7b6c2d159ea81ccd5a4599fb1a18207654fa91",
            "Si/training.json": "ae6d4b0a65b00e0fcf7ba0a6fad366716710d2f0d21d70199203089c6866b500",
        }),
    DataSource(
        name="molecules_small", version="2966882c", repository="gkwt/rbo", snapshot="2966882ccb40e799552df691de2473f6c55ed547",
        licence="MIT",
        description="ESOL: SMILES and log10 solubility (mol/L)",
        credit="Delaney, J. Chem. Inf. Comput. Sci. 44, 1000 (2004)",
        homes={"": "2966882ccb40e799552df691de2473f6c55ed547/data"},
        rows={"delaney.csv": 1143},
        files={
            "delaney.csv": "d5d2e8d05693f823994f7731fc79e3cabe44b44acbaeef6d5f71a6bc24674812",
        }),
    DataSource(
        name="mp20_biternary_val_test", version="507e8f14+cut", repository="SymmetryAdvantage/WyckoffTransformer", snapshot="507e8f147a0e87905c2574ebfbbfc9fa21c2fb09",
        licence="repository Apache-2.0; Materials Project data CC-BY-4.0",
        description=(
            "Binary and ternary members of the MP-20 validation and test sets: CIF, formation energy and distance to hull (eV/atom), "
            "PBE gap (eV), space group"),
        credit="Xie et al., ICLR 2022, arXiv:2110.06197; Kazeev et al., ICML 2025; Jain et al., APL Mater. 1, 011002 (2013)",
        changes="some rows left out",
        rows={"test.csv.gz": 7103, "val.csv.gz": 7116},
        files={
            "test.csv.gz": "130d8afdb5853d0170da27cb6d1dc8cfa083323e57ebd58f18c81169ce547319",
            "val.csv.gz": "e6cabc675ec2413e45212671220bc965c34254bc4d82c26d57e80a9a96560366",
        }),
    DataSource(
        name="mp20_mlip_hull_energies", version="5bab2cd8", repository="LeMaterial/lemat-genbench", snapshot="5bab2cd8642d863250d09a9f03292109e1c7345c",
        licence="Apache-2.0; Materials Project data CC-BY-4.0",
        description=(
            "34,424 MP-20 materials: energies (eV per cell) of MACE, ORB, UMA, their mean and DFT, distance to hull (eV/atom); no "
            "coordinates"),
        credit="LeMat-GenBench (LeMaterial, 2025)",
        homes={"": "2383022e9ef1c2d004d82cdf16b5cf7feb74eb4d/data/mp20_hulls"},
        rows={"ensemble_above_hull_dataset.parquet": 34424},
        files={
            "ensemble_above_hull_dataset.parquet": "3fba7ec7350396196660bc15f653187441685f0c91fec87f562a8672abf2bc76",
        }),
    DataSource(
        name="mp20_pilot_3x1000", version="507e8f14+cut", repository="SymmetryAdvantage/WyckoffTransformer", snapshot="507e8f147a0e87905c2574ebfbbfc9fa21c2fb09",
        licence="repository Apache-2.0; Materials Project data CC-BY-4.0",
        description="MP-20 in small: about 1,000 crystals each of train, val and test with the labels of MP-20",
        credit="Xie et al., ICLR 2022, arXiv:2110.06197; Kazeev et al., ICML 2025; Jain et al., APL Mater. 1, 011002 (2013)",
        changes="a few rows left out",
        rows={"test.csv.gz": 997, "train.csv.gz": 999, "val.csv.gz": 999},
        files={
            "test.csv.gz": "b940f1ab685fa972e6b8fd0073e50c786731ad8d6fd442fa54f9198eac243fcb",
            "train.csv.gz": "f64b7da3433489090422814110e8d37ac40f6fdf247d258efb8c172b33919bbe",
            "val.csv.gz": "52d22c29bf94c2b4ef5d5c6c99d62c729e42a5d78e4b7b01c9aff9ce33c4ea28",
        }),
    DataSource(
        name="mp_elemental_refs", version="2c7f9fc4", repository="janosh/matbench-discovery", snapshot="2c7f9fc42d018711dc2f5df573d225ea6d2d17b2",
        licence="MIT; Materials Project data CC-BY-4.0",
        description="Materials Project reference entry of 89 elements: energy (eV) with the MP2020 corrections",
        credit="Riebesell et al., Matbench Discovery; Jain et al., APL Mater. 1, 011002 (2013)",
        homes={"": "2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/data/mp"},
        files={
            "2023-02-07-mp-elemental-reference-entries.json.gz": "9fd6ef848a91c88840a0d1709b5856d0edb4af22095237e59db52f2acd6bbf79",
        }),
    DataSource(
        name="mpts52_val_test", version="507e8f14+cut", repository="SymmetryAdvantage/WyckoffTransformer", snapshot="507e8f147a0e87905c2574ebfbbfc9fa21c2fb09",
        licence="repository Apache-2.0; Materials Project data CC-BY-4.0",
        description="MPTS-52 validation set: CIF of up to 52 atoms, distance to hull and formation energy (eV/atom), year of first publication",
        credit="Baird et al., J. Open Source Softw. (2024); Jiao et al., NeurIPS 2023",
        changes="some rows left out",
        rows={"val.csv.gz": 4992},
        files={
            "val.csv.gz": "de3aefeab33175bc1553e3340c2e3b89956e57eccae561571d7a7174512bea3f",
        }),
    DataSource(
        name="omatg_carbon24", version="ed80cb86+packed", repository="FERMat-ML/OMatG", snapshot="ed80cb86fd69d4f4d14164c6635b0a8d4939b34f",
        licence="MIT",
        description="Carbon-24 without duplicates, split by number of atoms in two directions: CIF only",
        credit="Höllmer et al., ICML 2025, arXiv:2502.02582; Pickard, doi:10.24435/materialscloud:2020.0026/v1",
        changes="packed with gzip",
        rows={"carbon_24_new_Nsplit/carbon_Nsplit_htl/test.csv.gz": 825, "carbon_24_new_Nsplit/carbon_Nsplit_htl/train.csv.gz": 2633,
            "carbon_24_new_Nsplit/carbon_Nsplit_htl/val.csv.gz": 792, "carbon_24_new_Nsplit/carbon_Nsplit_lth/test.csv.gz": 811,
            "carbon_24_new_Nsplit/carbon_Nsplit_lth/train.csv.gz": 2280, "carbon_24_new_Nsplit/carbon_Nsplit_lth/val.csv.gz": 1159},
        files={
            "carbon_24_new_Nsplit/carbon_Nsplit_htl/test.csv.gz": "4fcf420f3e6bf3744ace250ed99677600b948da48ee508b3402c61de6ea05de9",
            "carbon_24_new_Nsplit/carbon_Nsplit_htl/train.csv.gz": "aab708ca99e02559f512467981396d31f582fc4ecfe9334af7734f1226cb7759",
            "carbon_24_new_Nsplit/carbon_Nsplit_htl/val.csv.gz": "043ca2d0380f389cd9eb5eaeeaa43f9ef677dc87605b630a89cd078657496c80",
            "carbon_24_new_Nsplit/carbon_Nsplit_lth/test.csv.gz": "90380e099581774aa8f986c3f1806a56547d53d00d78749f57d3f14fdcb78cae",
            "carbon_24_new_Nsplit/carbon_Nsplit_lth/train.csv.gz": "844228eb303bb9ef3f559649bc48c5f13c0e3eab7742a8f75ed9503da1e15777",
            "carbon_24_new_Nsplit/carbon_Nsplit_lth/val.csv.gz": "75e66100b250e3bd0c5067bdb2602b1ad7a38a7f59493a7b0b045ab72b33952a",
        }),
    DataSource(
        name="phonon_dfpt_petretto1521", version="78815766+cut", repository="RyotaroOKabe/phonon_prediction", snapshot="78815766ac9b5719c198c5fdf965c1449343bf84",
        licence="repository MIT; data CC-BY-4.0",
        description=(
            "1,271 crystals with DFPT phonons: density of states (1/cm), thermodynamics, Born charges, dielectric tensors, Gamma "
            "frequencies; one JSON object a line"),
        credit="Petretto et al., Sci. Data 5, 180065 (2018)",
        changes="gathered into one file, rounded to 6 digits, some materials left out",
        rows={"petretto_visible.jsonl.gz": 1271},
        files={
            "petretto_visible.jsonl.gz": "87f432ac1eccdb7ec6498ae79a36d56500d8a664d1ee699349acd8a311667600",
        }),
    DataSource(
        name="raspa2_structures", version="6498ab1e+packed", repository="iRASPA/RASPA2", snapshot="6498ab1eec9c8e0f063dcd0d71dd7add372c529b",
        licence="MIT",
        description="Porous and dense reference crystals (CIF): MOFs, zeolites, ceramics, minerals",
        credit="Dubbeldam et al., Mol. Simul. 42, 81 (2016)",
        changes="packed into one archive",
        files={
            "raspa2_structures.tar.zst": "d349f7beeb4f179c417fd18a6d91f855ef99c3af5cf9cddcb723e24247329c01",
        }),
    DataSource(
        name="rmd17", version="4a16c68a+packed", repository="divelab/AIRS", snapshot="4a16c68a7da707c521019067dec51c227c10de45",
        licence="repository GPL-3.0; data CC0",
        description="Revised MD17, split 1: 10 molecules, 1,000 training and 1,000 test frames each, energy (eV) and forces (eV/Å), extxyz",
        credit="Christensen and von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020)",
        changes="packed into one archive",
        files={
            "rmd17_split01.tar.zst": "009a3e7e5ee77bd6333d2b5477a0fe94d513aa5679d1186f9c7061b347c7ac41",
        }),
    DataSource(
        name="roost_history_sets", version="a021eb72", repository="CompRhys/aviary", snapshot="a021eb723a5128d45df7387ba57ec50a4834afe9",
        licence="MIT; Materials Project and OQMD data CC-BY-4.0",
        description=(
            "By composition: elpasolite formation energies (eV/atom), measured gaps (eV), hardness of high-entropy alloys (HV), "
            "superconducting Tc (K)"),
        credit=(
            "Goodall and Lee, Nat. Commun. 11, 6280 (2020); Faber et al., Phys. Rev. Lett. 117, 135502 (2016); Zhuo et al., J. Phys. "
            "Chem. Lett. 9, 1668 (2018); Stanev et al., npj Comput. Mater. 4, 29 (2018)"),
        homes={
            "elpasolite.csv": "d293ae293a9b40ae80668148fd8f1893f0afcc5e/data/datasets/elpasolite.csv",
            "expt-bandgaps.csv": "08b7bdd853c7a185e9f022f7a68cfb780d009219/data/datasets/expt-bandgaps.csv",
            "hea-vickers.csv": "29cc6286a25169d0503654a634e5bd19d8fb099d/data/datasets/hea-vickers.csv",
            "supercon.csv": "b8db4328fbedc7cc3a2f272d71585a82021b0af3/data/supercon.csv"},
        read={"supercon.csv": {"header": None, "names": ["id", "composition", "Tc"]}},
        rows={"elpasolite.csv": 10590, "expt-bandgaps.csv": 6354, "hea-vickers.csv": 243, "supercon.csv": 653},
        files={
            "elpasolite.csv": "8bbf14ff0f06d185273aa7dc73895a5b3b1b5b47c4e5b952d269c4ffb43e27d1",
            "expt-bandgaps.csv": "5533b10ba44cb8bb7e630394a930aec1b47d2f9c2358c06d53b532ba093a51b8",
            "hea-vickers.csv": "0192c55d096e7f69bb45224f50f6e5b3933ecf5e387103b5361dcb453a79ab35",
            "supercon.csv": "59c75bb4405142307dcf0ea154e09f3ba918fdefda450fe167c9925994128ca5",
        }),
    DataSource(
        name="wbm_10k", version="507e8f14", repository="SymmetryAdvantage/WyckoffTransformer", snapshot="507e8f147a0e87905c2574ebfbbfc9fa21c2fb09",
        licence="repository Apache-2.0; WBM data CC-BY-4.0 (Materials Cloud 2021.68)",
        description="10,000 WBM crystals (CIF) with formation energy (eV/atom) and gap (eV), no ids",
        credit="Wang, Botti and Marques, npj Comput. Mater. 7, 12 (2021)",
        homes={
            "README": "507e8f147a0e87905c2574ebfbbfc9fa21c2fb09/data/wbm/README",
            "val.csv.gz": "990f2e1d75705d5e917a78c6699fa112fc4bdfd4/data/wbm/val.csv.gz"},
        rows={"val.csv.gz": 10000},
        files={
            "README": "682ef33655e24026c178f5a78da6190b5d7e17efe88ee1022df7e18199ca271b",
            "val.csv.gz": "5a2fe636cbac4759f600d0ecd1740289db9740eb90014f773dbe02cab9de0aa2",
        }),
    DataSource(
        name="xrd_autoanalyzer", version="bf320825", repository="njszym/XRD-AutoAnalyzer", snapshot="bf32082521e45c0fcf5cf9ae9bd1321e76bf9012",
        licence="MIT",
        description=(
            "Measured powder patterns (Cu K-alpha, 2theta and counts) of pure phases and mixtures, labels in the file names, with "
            "reference CIFs"),
        credit="Szymanski et al., Chem. Mater. 33, 4204 (2021)",
        homes={
            "Example/References": "bf32082521e45c0fcf5cf9ae9bd1321e76bf9012/Example/References",
            "PDF_Example/References": "bf32082521e45c0fcf5cf9ae9bd1321e76bf9012/PDF_Example/References",
            "all_spectra_incl_history/Example__Li2MnO3+MnO+TiO2.xy": "bf32082521e45c0fcf5cf9ae9bd1321e76bf9012/Example/Spectra/Li2MnO3+MnO+TiO2.xy",
            "all_spectra_incl_history/Example__Li2MnO3.xy": "3cef2ee77cb6a4166edab0d294ea2977e8a4524f/Example/Spectra/Li2MnO3.xy",
            "all_spectra_incl_history/Example__Li2TiO3+MnF2+LiMn2O4.xy": "3cef2ee77cb6a4166edab0d294ea2977e8a4524f/Example/Spectra/Li2TiO3+MnF2+LiMn2O4.xy",
            "all_spectra_incl_history/Example__Li2TiO3.xy": "3cef2ee77cb6a4166edab0d294ea2977e8a4524f/Example/Spectra/Li2TiO3.xy",
            "all_spectra_incl_history/Example__LiF.xy": "3cef2ee77cb6a4166edab0d294ea2977e8a4524f/Example/Spectra/LiF.xy",
            "all_spectra_incl_history/Example__LiMn2O4+LiF+Li2MnO3.xy": "3cef2ee77cb6a4166edab0d294ea2977e8a4524f/Example/Spectra/LiMn2O4+LiF+Li2MnO3.xy",
            "all_spectra_incl_history/Example__LiMn2O4.xy": "3cef2ee77cb6a4166edab0d294ea2977e8a4524f/Example/Spectra/LiMn2O4.xy",
            "all_spectra_incl_history/Example__LiMnO2+Li2MnO3.xy": "3cef2ee77cb6a4166edab0d294ea2977e8a4524f/Example/Spectra/LiMnO2+Li2MnO3.xy",
            "all_spectra_incl_history/Example__LiMnO2.xy": "bf32082521e45c0fcf5cf9ae9bd1321e76bf9012/Example/Spectra/LiMnO2.xy",
            "all_spectra_incl_history/Example__Mn2O3+Li2TiO3+TiO2.xy": "3cef2ee77cb6a4166edab0d294ea2977e8a4524f/Example/Spectra/Mn2O3+Li2TiO3+TiO2.xy",
            "all_spectra_incl_history/Example__Mn2O3+LiF.xy": "bf32082521e45c0fcf5cf9ae9bd1321e76bf9012/Example/Spectra/Mn2O3+LiF.xy",
            "all_spectra_incl_history/Example__Mn2O3.xy": "bf32082521e45c0fcf5cf9ae9bd1321e76bf9012/Example/Spectra/Mn2O3.xy",
            "all_spectra_incl_history/Example__MnF2+TiO2.xy": "3cef2ee77cb6a4166edab0d294ea2977e8a4524f/Example/Spectra/MnF2+TiO2.xy",
            "all_spectra_incl_history/Example__MnF2.xy": "3cef2ee77cb6a4166edab0d294ea2977e8a4524f/Example/Spectra/MnF2.xy",
            "all_spectra_incl_history/Example__MnO.xy": "bf32082521e45c0fcf5cf9ae9bd1321e76bf9012/Example/Spectra/MnO.xy",
            "all_spectra_incl_history/Example__MnO2.xy": "bf32082521e45c0fcf5cf9ae9bd1321e76bf9012/Example/Spectra/MnO2.xy",
            "all_spectra_incl_history/Example__TiO2+MnO.xy": "bf32082521e45c0fcf5cf9ae9bd1321e76bf9012/Example/Spectra/TiO2+MnO.xy",
            "all_spectra_incl_history/Example__TiO2.xy": "bf32082521e45c0fcf5cf9ae9bd1321e76bf9012/Example/Spectra/TiO2.xy",
            "all_spectra_incl_history/PDF_Example__Li2CO3-ZrO2.xy": "bf32082521e45c0fcf5cf9ae9bd1321e76bf9012/PDF_Example/Spectra/Li2CO3-ZrO2.xy",
            "all_spectra_incl_history/PDF_Example__Li2O+ZrO2.xy": "9d583ecce0d8153bc4a9d1d1db153bb4b55ef20b/PDF_Example/Spectra/Li2O+ZrO2.xy",
            "all_spectra_incl_history/Pre-Trained_Li-Mn-Ti-O-F_Including_Non-Stoich__Li2TiO3.xy": "59be4bea312c32b1ab5500e2862f24009c4aee74/Pre-Trained_Li-Mn-Ti-O-F/Including_Non-Stoich/Spectra/Li2TiO3.xy",
            "all_spectra_incl_history/Tutorial__LiF+MnO.xy": "f4f38b4da7963c4a4bd85be5ebff146f6b994bcb/Tutorial/Spectra/LiF+MnO.xy"},
        files={
            "Example/References/Li2MnF5_15.cif": "0ec9b3f63d6e0790845584b1eb606b0dd616f42c289133695bde76fde275139f",
            "Example/References/Li2MnF6_164.cif": "d9c6c18c28d3d04405eab75d2dcd23c1ba8b3c95f89ec93466f62ebf689f409d",
            "Example/References/Li2MnO2_164.cif": "9c29aa7328ac3e5b6711a916d872e2d366a5ab0c3f580b161c302e5d84b20b49",
            "Example/References/Li2MnO3_12.cif": "6116bfecdf989101dd20cdade40b822e6eb2532deceea22a72d52a55982aa017",
            "Example/References/Li2O2_129.cif": "85a49ea3e5cd1e9f5e9da197e42e1cc0e5e9300829f9fc24e9629f8b5bb6ba32",
            "Example/References/Li2O2_14.cif": "938d085ccf92f7b26a415cf61ae24f3496cf30aa6527da631c015c2e54754972",
            "Example/References/Li2O2_194.cif": "e8be425b8a7e17ec09700def1baf8eb0c6d0cdc3675994ec3dd6c3d109b5b2b7",
            "Example/References/Li2O_225.cif": "a9894eeda63e01b77da7990e0a863bf64bb5a15a79812f697d5926eef26c59e7",
            "Example/References/Li2Ti(OF3)2_12.cif": "9292afd83356ae6da558f4a0260c91ea650c398603dc68d272ab6313b1aeb944",
            "Example/References/Li2Ti3O7_11.cif": "361bd2f2f07d0e9ca18e3434c6c1fd62bc603ad6a3aa3181f0b134f398538b30",
            "Example/References/Li2Ti6O13_12.cif": "19b2d16878e72774fe1b5fdb808fdf9c4fe7f380789cd7da6f48be263500deee",
            "Example/References/Li2TiF6_136.cif": "a8cd965026ddc81461ffe7c7e2ab691beba1652026a80704aab34ea713b7ccad",
            "Example/References/Li2TiO3_15.cif": "efecff2adfaf3f32407e3c43073bb88876a7ada21b058be14368cb9bc50567fa",
            "Example/References/Li3Ti4O8_3.cif": "09b3976c37e156d8ec18fe5be9f0608eb93850568d5941eb814f90014fa86132",
            "Example/References/Li3TiF6_15.cif": "30eb2f3428e07642e80c100da595b6dd7980b9e76728579bcc146f994603e0b7",
            "Example/References/Li4TiO4_63.cif": "6c6fe3b53d827dbbd171fca660faa9202ae65c423ce8a39e1673cd96138154d7",
            "Example/References/LiF_225.cif": "b82bc8908fc1e9be63262f928a64644c01c9bd89ddc41f51d7286ce72f959462",
            "Example/References/LiMn2O4_227.cif": "15b22c0141d9064f2ae85d01ce307057fe96ca8ecbac5573b0a251aa08d26f06",
            "Example/References/LiMn4O8_198.cif": "00f53c68950471b34bc9ec3f8a78623fb59888810e32aff6f267ac18e774ae09",
            "Example/References/LiMnF4_14.cif": "25831ea3365ea96513e116acd77d14bcef84765393c091a316ed0339abcc90bc",
            "Example/References/LiMnO2_141.cif": "3a1de620da8e9e208c60ba9ad859c997158947a69c3207dd120e9ce0f122ae01",
            "Example/References/LiMnO2_59.cif": "908b9657c511be498701a92e2d4e580c6ba2dcd103ea2d36e018ebccd5d46abe",
            "Example/References/LiTi2O4_227.cif": "62523818b6fa55768ab0d8f44b146d9a3a9fd6308c76e9468e5f21785aeb10e2",
            "Example/References/LiTiMnF6_150.cif": "49db09edb789d858424b6d56bd47841214286dabdec1e663acf4f734ada89f56",
            "Example/References/LiTiO2_141.cif": "8df19b444684794e156d0067e73e731f9421905d79bb8c2bc70d6c79d1a412c0",
            "Example/References/LiTiO2_227.cif": "8589eed412a4dc7442dc33886fa0c4834a07e58034e3be8e861b11ffc8cd774b",
            "Example/References/Mn2O2F9_15.cif": "9c84a625ae01e50bfacba2a8a926a2c56d88bd90c0369bbe11977035ca197367",
            "Example/References/Mn2O3_206.cif": "dd1a05bf9803b88601a41e088ad7ee2d33cf37fbbe619500be09c881b07f3f71",
            "Example/References/Mn3O4_141.cif": "cc9182aefe19bf89ecc1ecedf7f5efc1a06542a45411f8e1e681f14ec70f3e83",
            "Example/References/MnF2_136.cif": "491cac151663c30a7498d4c929d2fe64994b6e7e4a03a4020f6b517bcf29271a",
            "Example/References/MnF3_15.cif": "b87c64f2609a94fc86528a404f5bc4afaf652ad52c5a7c993d29741cfebb22c9",
            "Example/References/MnF4_88.cif": "9a12222748cfd01b87311e1ba4ddddcf3821217f7d791c6bce51e37dbdb40606",
            "Example/References/MnO2_10.cif": "9af2f5cc0f1ef774466dab64ff58c75c408d40e062b998890cb1e33ddec07f08",
            "Example/References/MnO2_12.cif": "cfdca8ec8ed276be5e1d83de7595109c62dcc3d5c45dc0be091bf67f0ee20b90",
            "Example/References/MnO2_136.cif": "4b4a46dd65e1509f431a1d080d3a15e2c0be3cc224b4cb91bd2c71d7f41a65e1",
            "Example/References/MnO2_14.cif": "d3473f55ef7f6e3252e5add0eb9fc44d14d00e0c56cba5787d8bba6a809b1c64",
            "Example/References/MnO2_164.cif": "2aafe0fb65debf6e4c68cd0f7748960401dee455d2cd49fd560dedf5c9eac2dd",
            "Example/References/MnO2_227.cif": "220edbf2ef2d64575674f32d7610be6a312941039a3a25954d3c1f52a5e1e03f",
            "Example/References/MnO2_62.cif": "db3cc8fba09f86a6a0b3ede74f0e73fb2f70e7677a78964de1631f82d86b23bc",
            "Example/References/MnO2_84.cif": "eaf406a0aab4b4cf4ed3d29f351b5df3e2c1d6c0e31e70627f34e413a996cb23",
            "Example/References/MnO2_87.cif": "49c2676c6ead64a428c7f10bdf1c041cd956cf5ff236cfffe8a1c95a2208ecc6",
            "Example/References/MnO_186.cif": "5a3028cabda6d2603b4c7be9601cd3c325b7ab1dc6edbaca9ef38369ee0ea006",
            "Example/References/MnO_225.cif": "a851523642c29637717502d91c2b9f68fcf9fd2c469945d5ff412f9c99e92cf4",
            "Example/References/Ti2MnO4_227.cif": "5f157b24a39a6547eb17cdd97ad79003b51f572d500868c13d1384f788f03049",
            "Example/References/Ti2O3_167.cif": "8ac9a88a6cf1d5371c2378d9c173d858b5ce335d9f27a0e2f660065853fb45f6",
            "Example/References/Ti2O3_62.cif": "389824254e9f57aebfb06377e267182c9e3f718be505657434fa2d055268557b",
            "Example/References/TiF2_225.cif": "ba02bb559e222926067af0dab0b33813cec5065ee853053ad942d0697edc9b5e",
            "Example/References/TiF3_167.cif": "a328e2bfb917fc4bc1cbff20900687f9e9e16a16b1a4eea4de16310f2cca351e",
            "Example/References/TiF4_62.cif": "0b98ea0bd60761e482b2bc8559ada1f9841cad1de547fcd70310ced63327d4fc",
            "Example/References/TiMn2O4_95.cif": "a413713592f74ad83ba6f230bc1e53c40c6efc7545faecb959c04cb0d2f67ab7",
            "Example/References/TiMnO3_148.cif": "10d8554a39d6b9cfc59874280d2d659abfeb027e4d11efe84d1788506031f249",
            "Example/References/TiMnO3_161.cif": "19d413f3ba7c7d06b914bf55d028842afd8cb7139d411c6708db2d6d85451be7",
            "Example/References/TiMnO3_62.cif": "31a8f43b73ab291e431e911c560dc4475cc6c954090ca4e374e252920832859f",
            "Example/References/TiO2_136.cif": "e6141ed540795cb7f5bb8fa89beaeeaae8ba90983c92f475c5700f14c8fc1d23",
            "Example/References/TiO2_141.cif": "02c10728d3bec99ca81b04c78cf68f546261a6f822e2d23cf3cbb73a095e159f",
            "Example/References/TiOF5_15.cif": "92f12b63facabd7b20af4b3499db24d94c38e34911749f86576f118376135333",
            "Example/Spectra/Li2MnO3+MnO+TiO2.xy": "f79ae2cb342b68bc0375d90e929fa6de3b7a99f7e4469603110ed878de3b3199",
            "Example/Spectra/LiMnO2.xy": "a7fd38668a1c342ce6fd6e123d4715a72b18196f86ad266d09042008f42b0da6",
            "Example/Spectra/Mn2O3+LiF.xy": "e4b1c1dce8f2ed3a3b339102f26b00a8c6a6b9acfac839d2b4cf4771f4fa4df9",
            "Example/Spectra/Mn2O3.xy": "9ef40dc8b60abdf2e2ccfaebdab989952f6c2bc88969d4c7f0a1cf57a23ff11e",
            "Example/Spectra/MnO.xy": "bc5c7c2e7a6e3e95ab76e50a7ca761ff93c428abb9ccd92dfb41b9d6e49c9e12",
            "Example/Spectra/MnO2.xy": "e89229becf1e4ac7fbe554701e16f6ee5927e080a9d9d88c7aee398eac932a73",
            "Example/Spectra/TiO2+MnO.xy": "796ebeab4c157a8080d93bc39019f735b3dcc6aff27d4fb57ca7e3cb809927ef",
            "Example/Spectra/TiO2.xy": "996c0828f8e0feeeb155141c190741f01f488147a27266341be2c3529f2acda6",
            "PDF_Example/References/La(OH)3_176.cif": "4c1261078713f257418b09b2d44013dd2b4f0f560ee8b52e102c8f501fc2f49e",
            "PDF_Example/References/La2O3_164.cif": "5d178a2151d5a4568404a4b34e9d37720cadb7a2bd2b487601b46c631cfe7c6a",
            "PDF_Example/References/La2O3_206.cif": "4466bcc793656f9b0393375984aabfccc5e03ab5883500fe74495e0d33152c89",
            "PDF_Example/References/La2Zr2O7_227.cif": "8a2b61c5496ab8dcafaa1bff872a5c7b672dfe902394d72c4f1f90985b0812ef",
            "PDF_Example/References/LaOOH_11.cif": "8bfb496a6ac55955ba49de00dc5a6ba30219b26ec3eb4aa752652a8f35d7b329",
            "PDF_Example/References/Li2CO3_15.cif": "bb2db1e1b080ef3959b4a4b1614a727fd9c653a024514f2116a00f4c5fd160bd",
            "PDF_Example/References/Li2O2_194.cif": "9e9bbfcb52ae7a8fc7c712d0ef5ba184dd6c61afe8c3054b4d154ea617476dd9",
            "PDF_Example/References/Li2O_225.cif": "21bafc5fd1a91e3bf2fffdbe4f9a3ef53aa00c4585fa2a8a5f1d84fee0a78066",
            "PDF_Example/References/Li2ZrO3_15.cif": "21463b5dcc221f758c69d099779fe6b07c8846303d43b9cd3ea118e70f766cc9",
            "PDF_Example/References/Li4Zr3O8_141.cif": "aaf30c3203fd7548268e9a9c3d19fd2cb9636778ae91f724b458d66394f5d862",
            "PDF_Example/References/Li6Zr2O7_15.cif": "14581324567f914a2072ee6e82f1c07d68fa4303f6bfafad059c97454477ff43",
            "PDF_Example/References/Li7La3Zr2O12_142.cif": "59d4f4f20a6cbc3e1c0ea8bb4ba22b45c4a9e03589ab7d72a517d79cf4f8cc7b",
            "PDF_Example/References/Li7La3Zr2O12_230.cif": "fff39502ab9f3c082e6fa307ad5c4aa7584fb15c74d581302870739c6a08e226",
            "PDF_Example/References/LiLaO2_14.cif": "f201f1424638be101ad0b90f339147fec46593e1a46fd75b2ae2d270eb39c2ea",
            "PDF_Example/References/LiO2_58.cif": "0026c31973ad7552f9233a14f7bb21d40ba948316225809160f3078bf312fb22",
            "PDF_Example/References/LiOH-H2O_12.cif": "761e9d30ceb022c6d4e0850189c599aabd71db6d53f9906bf04284b0db692dbb",
            "PDF_Example/References/LiOH_129.cif": "68e889e484e45ce21d7f8dea702d0b5e44f718fb0420314dd9fffd2057c6b1e3",
            "PDF_Example/References/Zr2O_224.cif": "d34d4d905625e95655c39ce89795b4fe1e6c0cc7eecaa98a58e142343dcbe851",
            "PDF_Example/References/Zr3O_167.cif": "6baf7444b9888ac7fe9248a2fa84af052d81a04cb5bbe9bc118eef116a5fc868",
            "PDF_Example/References/Zr3O_182.cif": "1135195517458a95385f72e7eb11d4cdb7c8b2f9d2a43062e6142401f503f05c",
            "PDF_Example/References/ZrO2_137.cif": "4106d67fde2a5f3cbd105e81c57c6d9220da92e2e1b65c13b06c5c9784d12556",
            "PDF_Example/References/ZrO2_14.cif": "4565ccd070e6f9c772826be442055004f80d193056909d09dfd5142f5b2e841b",
            "PDF_Example/References/ZrO2_19.cif": "8510fc83c1000963b1b4aa38d200b9a36ffa5fa97cc3d3fdd106fdddd34943e9",
            "PDF_Example/References/ZrO2_225.cif": "1f2b636993174b1b2fde2d86ea6230fdd311836afaa003b509fca45659186f84",
            "PDF_Example/References/ZrO2_61.cif": "163407e86b35109e63aab04fc9c6b161a84e424cd60598bd037b3f3bad42cd46",
            "PDF_Example/References/ZrO2_62.cif": "9ad9a94e1c8ab3f74953ab7d378ffccd2597ecb8fcc439e063db8edc48ef8867",
            "PDF_Example/References/ZrO_189.cif": "4b45800000413753c6e22174640e55a0cff3fa5635f2f58987d0bae75f1f5069",
            "PDF_Example/References/ZrO_225.cif": "9f2c125d2ceaee63cd3047edce7af734edac366423de7cc37d1e7c899b252b0e",
            "PDF_Example/Spectra/Li2CO3-ZrO2.xy": "2fa8518fbf6b2c57908f154555e85a396eed1311cafdddfd46e63eea0acda8e5",
            "all_spectra_incl_history/Example__Li2MnO3+MnO+TiO2.xy": "f79ae2cb342b68bc0375d90e929fa6de3b7a99f7e4469603110ed878de3b3199",
            "all_spectra_incl_history/Example__Li2MnO3.xy": "65cb6b559d8dd243b1a751e472ef05b6b38993808883766f72437c8722afd808",
            "all_spectra_incl_history/Example__Li2TiO3+MnF2+LiMn2O4.xy": "ef5136ee74e785a6d8f97be48f86f47fd562d53f136dcae77f68aab5639d1788",
            "all_spectra_incl_history/Example__Li2TiO3.xy": "20b6b58f34f8d68651e9fe9c07e27bde1f5f06f9ca27ddc9875ed4721868894e",
            "all_spectra_incl_history/Example__LiF.xy": "9f02fe2b64538eb60506f5c93bfe67b1c7dfd159ae2f71ddc13d9c7f065ea692",
            "all_spectra_incl_history/Example__LiMn2O4+LiF+Li2MnO3.xy": "4e1d3b3b06370b586d897482e51690f0e02d9e93375afa8762b353deb543c87a",
            "all_spectra_incl_history/Example__LiMn2O4.xy": "33bee2dd4cf40b852849037a49285dd5dfbc20a38bffa8aead3bfcf43fe726c5",
            "all_spectra_incl_history/Example__LiMnO2+Li2MnO3.xy": "b9625cbfec3dffa88109d08ff3ca781afbfd4dc9c47340017f5e691c6858f732",
            "all_spectra_incl_history/Example__LiMnO2.xy": "a7fd38668a1c342ce6fd6e123d4715a72b18196f86ad266d09042008f42b0da6",
            "all_spectra_incl_history/Example__Mn2O3+Li2TiO3+TiO2.xy": "7af688ccda0ec87c1cc86507156acdcf65e66764170a24f04c7dbc9941e9fa90",
            "all_spectra_incl_history/Example__Mn2O3+LiF.xy": "e4b1c1dce8f2ed3a3b339102f26b00a8c6a6b9acfac839d2b4cf4771f4fa4df9",
            "all_spectra_incl_history/Example__Mn2O3.xy": "9ef40dc8b60abdf2e2ccfaebdab989952f6c2bc88969d4c7f0a1cf57a23ff11e",
            "all_spectra_incl_history/Example__MnF2+TiO2.xy": "ae59a7d5292a9e0f5288a346c17271d641d90d48fae15ba1e59e4679b9ffca2e",
            "all_spectra_incl_history/Example__MnF2.xy": "3d1a14c4438b77c94dfc9618a020859e3975dd1ba3dd3805d9ab933f8a594203",
            "all_spectra_incl_history/Example__MnO.xy": "bc5c7c2e7a6e3e95ab76e50a7ca761ff93c428abb9ccd92dfb41b9d6e49c9e12",
            "all_spectra_incl_history/Example__MnO2.xy": "e89229becf1e4ac7fbe554701e16f6ee5927e080a9d9d88c7aee398eac932a73",
            "all_spectra_incl_history/Example__TiO2+MnO.xy": "796ebeab4c157a8080d93bc39019f735b3dcc6aff27d4fb57ca7e3cb809927ef",
            "all_spectra_incl_history/Example__TiO2.xy": "996c0828f8e0feeeb155141c190741f01f488147a27266341be2c3529f2acda6",
            "all_spectra_incl_history/PDF_Example__Li2CO3-ZrO2.xy": "2fa8518fbf6b2c57908f154555e85a396eed1311cafdddfd46e63eea0acda8e5",
            "all_spectra_incl_history/PDF_Example__Li2O+ZrO2.xy": "a4b343d2940e680717c5551100724712b5c617fc088725bdf9e8bfe80130a29b",
            "all_spectra_incl_history/Pre-Trained_Li-Mn-Ti-O-F_Including_Non-Stoich__Li2TiO3.xy": "d7151377f7da9c4d89eb62c8689533264db9f853796e4ea5c29d3a066f5ad8b9",
            "all_spectra_incl_history/Tutorial__LiF+MnO.xy": "0ac37266060862aaa319d75c32d87c961355b6095e5ec56a9bb5556aaf6148a4",
        }),
    DataSource(
        name="xrd_dara_experimental", version="621e38a7", repository="CederGroupHub/dara", snapshot="621e38a700cb94fa3fbc232c0a424b8b6b711d39",
        licence="MIT",
        description="Measured powder patterns (xrdml, Cu K-alpha) of weighed precursor mixtures, mass fractions in the file names",
        credit="Fei et al., Chem. Mater. (2025), Dara",
        homes={"": "621e38a700cb94fa3fbc232c0a424b8b6b711d39/dataset"},
        files={
            "README.md": "6227b16105793a615d88766de51519ddea050a13423da016f4cecf501ec49f6e",
            "precursor_mixture/In2O3_0p3022-La(OH)3_0p5014-TiO2_0p2004--2min.xrdml": "f517dc48381d081901d9b0f46fa692ae4a9b8ecfc2724fe9d0a64a8b81a5f931",
            "precursor_mixture/In2O3_0p3022-La(OH)3_0p5014-TiO2_0p2004--8min.xrdml": "825dabce09b09de5db60b554a6ca661880cfe852bd646c246f2f66c845253a6f",
            "precursor_mixture/Li2CO3_0p9001-ZrO2_0p1000--2min.xrdml": "f45868fe5c1948772d7906d49b910989b819fc31abe56b39318b65b31b3952f7",
            "precursor_mixture/Li2CO3_0p9001-ZrO2_0p1000--8min.xrdml": "00d67ff4591af7c5d3b040fd69ac2c13d5882715a4c0bb466b3ea93ebf391258",
            "precursor_mixture/NiO_0p1031-La(OH)3_0p2025-TiO2_0p7014--2min.xrdml": "b03852b1ca71e1f4be4cff89193d29361c26a4b09e85ea115459d97c81ab3594",
            "precursor_mixture/NiO_0p1031-La(OH)3_0p2025-TiO2_0p7014--8min.xrdml": "55d854a2d0fe10d76acbc6a59c493ad25c9b9712d1323c5c40be93f5a35be61f",
            "precursor_mixture/NiO_0p7028-La(OH)3_0p1010-ZnO_0p2000--2min.xrdml": "6e715a8fa94954927a18c69a4ba41745029c4df524a807169be270188dfc264f",
            "precursor_mixture/NiO_0p7028-La(OH)3_0p1010-ZnO_0p2000--8min.xrdml": "7b211df7703f3471933ec1ce5e5c3dab097d26cf0077883c78431e97c8617b73",
            "precursor_mixture/V2O5_0p2012-La(OH)3_0p5004-MnCO3_0p3013--2min.xrdml": "44eb1f6978c0c5c1d8a65ad4949526122161032efc7c3656a374914a8be5bd82",
            "precursor_mixture/V2O5_0p2012-La(OH)3_0p5004-MnCO3_0p3013--8min.xrdml": "ef5084e704d36afbb857464ed00f6a7dc66fbf180a17395b2e5e77f24b296853",
            "precursor_mixture/V2O5_0p3015-TiO2_0p6998--2min.xrdml": "d8d78b25e11c639640332342213a45750dd47caa2754d7df916d89c7b638b263",
            "precursor_mixture/V2O5_0p3015-TiO2_0p6998--8min.xrdml": "a520cd156fa3848bafe8ee19ad29d20b85f9fe0fdd0549544ef972ad8f423190",
            "precursor_mixture/V2O5_0p4013-In2O3_0p4021-La(OH)3_0p2014--2min.xrdml": "43aec43e0081206506911254d2ed469425352d940622bc7bdea2677dcfd21047",
            "precursor_mixture/V2O5_0p4013-In2O3_0p4021-La(OH)3_0p2014--8min.xrdml": "abad0459da5df8e161df43edce510c71ab87a7a7df33e2a5f7375c95254ff502",
            "precursor_mixture/V2O5_0p6008-ZnO_0p4010--2min.xrdml": "d383c0493883000a464d7895d5ab4f54813e20fcdf42bbbd88aed840d843b13c",
            "precursor_mixture/V2O5_0p6008-ZnO_0p4010--8min.xrdml": "e48ea3e6ae56a924e930bffa1dfd412bda0de8ac8e89da07c6d66c91d8773143",
            "precursor_mixture/V2O5_0p7006-MnCO3_0p3001--2min.xrdml": "2d2741b1ddf2effbb85475c0d5066d92c33fe3f08df1073b01de9d621db68dcb",
            "precursor_mixture/V2O5_0p7006-MnCO3_0p3001--8min.xrdml": "91d173e40b63cdaf44c625fbebe98890cf0d482bd4e18bf16f6eee574a173211",
            "precursor_mixture/ZnO_0p4006-In2O3_0p6008--2min.xrdml": "d42e40ecc123f992f87fc1ac93a1a3616c9ae8f22068fedf3cbca981150ddee9",
            "precursor_mixture/ZnO_0p4006-In2O3_0p6008--8min.xrdml": "b83a4086fd0079661b54e28b8a6e7668a242ae71787b206d0930ce41bb11f3f8",
        }),
    DataSource(
        name="zuo_2020", version="292aa095", repository="ACEsuit/ACEData", snapshot="292aa09542d4bc6bdf67c710169bf486df1dd12a",
        licence="none stated; derived from mlearn (BSD-3-Clause)",
        description="Ni, Cu, Li, Mo, Si, Ge: train and test structures with energy (eV per cell) and forces (eV/Å), extxyz, in one archive",
        credit="Zuo et al., J. Phys. Chem. A 124, 731 (2020)",
        homes={"": "292aa09542d4bc6bdf67c710169bf486df1dd12a/minibenchmarks"},
        files={
            "ZuoEtAl2020.tar.gz": "f77a80e2fb00534f42bce2ccf72833dfec316d48f2b756aa333687652dd6c589",
        }),
)
