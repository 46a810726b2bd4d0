"""Every check of the contract can fail: each has a planted part with exactly its bug."""

import dataclasses
import os
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from matterloop.archive.records import Reason
from matterloop.base.errors import BadInput
from matterloop.base.seeds import torch_stream
from matterloop.bench import contract, contract_descriptor, contract_encoder, contract_explanation, contract_generator, contract_judge, contract_loop, contract_measure
from matterloop.bench import contract_potential, contract_pretraining, contract_regressor, contract_source, contract_task
from matterloop.bench import examples as ex
from matterloop.bench.contract import checks, run_check
from matterloop.bench.targets_forces import TargetsForces
from matterloop.campaign.loop import Campaign
from matterloop.crystal.compositions import Compositions, sizes
from matterloop.crystal.graph import Nearest, Within
from matterloop.crystal.segments import segment_mean, segment_sum
from matterloop.generate.proposal import load_generator
from matterloop.judge.chemistry_sense import ChemistrySense
from matterloop.judge.sun import Sun
from matterloop.learn.targets import Features, Predictor, Target
from matterloop.measure.hull import Hull
from matterloop.measure.relax import Relaxer
from matterloop.potential.lennard_jones import LennardJones
from matterloop.potential.oracle import Potential
from matterloop.predict.roost import CARD as ROOST
from matterloop.predict.roost import Roost
from matterloop.predict.schnet import CARD as SCHNET
from matterloop.predict.schnet import SchNet
from matterloop.predict.wren import CARD as WREN
from matterloop.predict.wren import Wren
from matterloop.represent.wyckoff_gene import WyckoffGene

from .planted import SHIFTS, all_or_nothing, no_single_atoms, part, start_in_place
from .planted_elasticity import BUGS as ELASTICITY, SOUND as ELASTIC
from .planted_explanations import BUGS as EXPLANATION
from .planted_explanations import SOUND as EXPLAIN
from .planted_pretraining import BUGS as PRETRAINING
from .planted_pretraining import SOUND as PRETRAIN
from .planted_pretraining import SUPERVISED
from .planted_regressors import BUGS as REGRESSOR
from .planted_regressors import SOUND as FOREST

SMALL = dict(SCHNET.small)


# encoders


class Encoder(nn.Module):
    """SchNet with a bug: `bug(features (atoms, width), crystals, self)` gives the features that come out."""

    def __init__(self, bug=None, seed=0, graph=None, extra=None):
        super().__init__()
        self.inner, self.bug = SchNet(**SMALL, seed=seed), bug
        self.width, self.graph = self.inner.width, graph or self.inner.graph
        if extra is not None:
            extra(self, seed)

    def forward(self, crystals, graph):
        site = self.inner(crystals, graph).site
        return Features(site if self.bug is None else self.bug(site, crystals, self))


def encoder(bug=None, **options):
    reference = options.pop("reference", SCHNET.reference)
    return part("encoder", lambda **o: Encoder(bug, **options, **o), ("seed",), reference=reference)


def in_place(site, crystals, _):
    crystals.frac.add_(1.0)
    return site


ENCODER = {name: encoder(lambda s, c, _, f=f: s + f(c)[c.owner][:, None].to(s)) for name, f in SHIFTS.items()} | {
    "batching": encoder(lambda s, c, _: s - s.mean(0)),
    "one_atom": encoder(lambda s, c, _: s.squeeze(0)),
    "inputs_untouched": encoder(in_place),
    "every_parameter": encoder(extra=lambda m, seed: m.register_parameter("unused", nn.Parameter(torch.ones(3)))),
    "geometry": encoder(lambda s, c, m: m.inner.embed(c.species)),
    "save_load": encoder(lambda s, c, m: s * m.secret, extra=lambda m, seed: setattr(m, "secret", 1.0 + seed)),
    "repeatable": encoder(lambda s, c, m: s + m.late(s), extra=lambda m, seed: setattr(m, "late", nn.Linear(16, 16))),
    "float32": encoder(lambda s, c, _: (s + 1e6) - 1e6),
    "reference": encoder(reference=2 * SCHNET.reference),
    "far_atoms": encoder(lambda s, c, _: s * c.counts.to(s).log()[c.owner][:, None]),
    "smooth": encoder(graph=Nearest(12, 7.0, ties=False)),
    "overfits": encoder(lambda s, c, _: s.mean(0).expand_as(s)),
}


class OfWhole(nn.Module):
    """An encoder of whole crystals with a bug: `bug(features (crystals, width), crystals, self)` gives the features that come out."""

    def __init__(self, inner, bug=None, seed=0, extra=None):
        super().__init__()
        self.inner, self.bug = inner(seed), bug
        self.width, self.graph = self.inner.width, self.inner.graph
        if extra is not None:
            extra(self, seed)

    def head(self, rng, outputs):
        return self.inner.head(rng, outputs)

    def forward(self, state, graph):
        whole = self.inner(state, graph).whole
        return Features(None, whole=whole if self.bug is None else self.bug(whole, state, self))


def of_whole(card, inner, shifts):
    """(sound twin, {check: planted bug}) of an encoder that does not see atoms."""
    def made(bug=None, reference=card.reference, **options):
        return part("encoder", lambda **o: OfWhole(inner, bug, **options, **o), card.capabilities, reference=reference, waives=card.waives)

    return made(), {name: made(lambda w, c, _, f=f: w + f(c)[:, None].to(w)) for name, f in shifts.items()} | {
        "batching": made(lambda w, c, _: w - w.mean(0)),
        "one_atom": made(lambda w, c, _: w.squeeze(0)),
        "inputs_untouched": made(in_place),
        "every_parameter": made(extra=lambda m, seed: m.register_parameter("unused", nn.Parameter(torch.ones(3)))),
        "save_load": made(lambda w, c, m: w * m.secret, extra=lambda m, seed: setattr(m, "secret", 1.0 + seed)),
        "repeatable": made(lambda w, c, m: w + m.late(w), extra=lambda m, seed: setattr(m, "late", nn.Linear(m.width, m.width))),
        "float32": made(lambda w, c, _: (w + 1e6) - 1e6),
        "reference": made(reference=2 * card.reference),
        "overfits": made(lambda w, c, _: w.mean(0).expand_as(w))}


SETS, SET_BUGS = of_whole(ROOST, lambda seed: Roost(**ROOST.small, seed=seed), SHIFTS | {
    "composition_decides": lambda c: 0.01 * c.volume / c.counts,
    "compositions": lambda c: 0.01 * sizes(c) if isinstance(c, Compositions) else 0.01 * torch.ones(len(c))})
GENES, GENE_BUGS = of_whole(WREN, lambda seed: Wren(**WREN.small, seed=seed), SHIFTS | {"symmetry_decides": lambda c: 0.01 * c.volume / c.counts})


# potentials


class Oracle:
    """Lennard-Jones with a bug: `bug(labels, crystals)` gives the labels that come out."""

    name, energy_scheme = "planted", "lj"

    def __init__(self, bug=None, **options):
        self.inner, self.bug = LennardJones(**{"epsilon": 0.1, "sigma": 2.2, "cutoff": 5.5, "ending": "smooth", **options}), bug

    def label(self, crystals):
        labels = self.inner.label(crystals)
        return labels if self.bug is None else self.bug(labels, crystals)

    def parity(self):
        return [("energy", torch.tensor([1.0]), torch.tensor([1.0]), 1e-6)]


def potential(bug=None, capabilities=("energy", "forces", "stress", "parity"), made=Oracle, **options):
    return part("potential", lambda **o: made(bug, **options, **o), capabilities, reference=-0.13200553297927464)


class Net(Potential):
    """A trainable potential on top of SchNet."""

    name, energy_scheme = "planted", "toy"

    def __init__(self, bug=None, seed=0):
        super().__init__()
        self.model = Predictor(Encoder(bug, seed=seed), [Target("energy", extensive=True)], hidden=16, seed=seed)

    def energy(self, crystals):
        return self.model(crystals)["energy"]


class DeadNet(Net):
    def __init__(self, bug=None, seed=0):
        super().__init__(bug, seed)
        self.unused = nn.Parameter(torch.ones(2))


class SecretNet(Net):
    def __init__(self, bug=None, seed=0):
        super().__init__(bug, seed)
        self.secret = 1.0 + seed

    def energy(self, crystals):
        return self.secret * super().energy(crystals)


class OffParity(Oracle):
    def parity(self):
        return [("energy", torch.tensor([1.0]), torch.tensor([1.01]), 1e-6)]


def shifted(f):
    return lambda l, c: l._replace(energy=l.energy + f(c) * c.counts)


def scaled(l, factor):
    return l._replace(energy=l.energy * factor, forces=l.forces * factor, stress=l.stress * factor)


def moved(l, c):
    c.frac.add_(1.0)
    return l


LEARNS = ("energy", "forces", "stress", "learns", "seed")
POTENTIAL = {name: potential(shifted(f)) for name, f in SHIFTS.items()} | {
    "answers": potential(lambda l, c: l._replace(stress=None)),
    "batching": potential(lambda l, c: l._replace(energy=l.energy - l.energy.mean())),
    "one_atom": potential(lambda l, c: l._replace(energy=l.energy.squeeze())),
    "inputs_untouched": potential(moved),
    "repeatable": potential(lambda l, c: l._replace(energy=l.energy + 1e-9 * torch.rand(len(c)))),
    "float32": potential(lambda l, c: scaled(l, 1.01 if c.frac.dtype == torch.float32 else 1.0)),
    "geometry": potential(lambda l, c: l._replace(energy=c.counts.to(torch.float64), forces=0 * l.forces, stress=0 * l.stress)),
    "far_atoms": potential(lambda l, c: l._replace(energy=l.energy + 1e-3 * c.counts**2)),
    "reference": potential(lambda l, c: scaled(l, 2.0)),
    "smooth": potential(ending="none"),
    "forces": potential(lambda l, c: l._replace(forces=1.01 * l.forces)),
    "stress": potential(lambda l, c: l._replace(stress=-l.stress)),
    "net_force": potential(lambda l, c: l._replace(forces=l.forces + 1e-3)),
    "short_distances": potential(lambda l, c: scaled(l, -1.0)),
    "parity": potential(made=OffParity),
    "every_parameter": potential(made=DeadNet, capabilities=LEARNS),
    "save_load": potential(made=SecretNet, capabilities=LEARNS),
    "overfits": potential(lambda s, c, _: s.mean(0).expand_as(s), made=Net, capabilities=LEARNS),
}


# descriptors


class Descriptor:
    """Mean over atoms of Gaussians of the distances, with a bug that changes what comes out."""

    def __init__(self, bug=None):
        self.bug = bug

    def __call__(self, crystals):
        graph = Within(5.0)(crystals)
        length = graph.vectors(crystals).norm(dim=-1)
        bins = torch.exp(-(length[:, None] - torch.linspace(1, 5, 9).to(length)) ** 2) * (5.0 - length)[:, None] ** 2
        vector = segment_mean(segment_sum(bins * crystals.species[graph.senders][:, None], graph.receivers, crystals.atoms), crystals.owner, len(crystals))
        return vector if self.bug is None else self.bug(vector, crystals)


class Keys(WyckoffGene):
    @staticmethod
    def encode(gene):
        return gene.key.upper()


class Gullible(WyckoffGene):
    @staticmethod
    def decode(text):
        return text

    @staticmethod
    def encode(text):
        return text


def descriptor(bug=None, reference=None):
    return part("descriptor", lambda **o: Descriptor(bug), ("vector",), reference=reference)


def descriptor_in_place(v, c):
    c.frac.add_(1.0)
    return v


def only_crystals(v, c):
    if not bool(c.periodic.all()):
        raise RuntimeError("no cell")
    return v


NORM = float(Descriptor()(ex.low_symmetry()).norm())
DESCRIPTOR = {name: descriptor(lambda v, c, f=f: v + f(c)[:, None]) for name, f in SHIFTS.items()} | {
    "answers": descriptor(lambda v, c: v * torch.nan),
    "batching": descriptor(lambda v, c: v - v.mean(0)),
    "one_atom": descriptor(lambda v, c: v.squeeze(0)),
    "inputs_untouched": descriptor(descriptor_in_place),
    "repeatable": descriptor(lambda v, c: v + 1e-9 * np.random.random()),
    "geometry": descriptor(lambda v, c: segment_mean(c.species[:, None].to(v), c.owner, len(c))),
    "not_periodic": descriptor(only_crystals),
    "reference": descriptor(lambda v, c: 2 * v, reference=NORM),
    "round_trip": part("descriptor", lambda **o: Keys(), ("key", "round_trip")),
}


# generators


class Generator:
    """Substitution with a bug: `ask`, `candidates` and `seed` may be changed on the way."""

    name = "planted"

    def __init__(self, ask=lambda a: a, after=lambda found, count: found, seed=lambda s, count: s, heard=lambda self, verdicts: None, learns=False):
        self.inner, self.ask, self.after, self.seed, self.heard, self.learns, self.turn = load_generator("substitution", templates="built_in"), ask, after, seed, heard, learns, 0

    def propose(self, ask, count, seed):
        found = self.inner.propose(self.ask(ask), count, self.seed(seed, count) + self.turn)
        return self.after([replace(c, key=f"{self.name}-{seed}-{i}", source=self.name, seed=seed) for i, c in enumerate(found)], count)

    def observe(self, verdicts):
        self.heard(self, verdicts)
        if self.learns:
            self.turn += len(verdicts)


HONOURS = ("elements", "formula", "anonymous", "atoms", "space_group", "prototype")


def generator(capabilities=HONOURS, **options):
    return part("generator", lambda **o: Generator(**options), capabilities)


class Trained(Generator, nn.Module):
    def __init__(self, dead=False):
        nn.Module.__init__(self)
        Generator.__init__(self)
        self.weight = nn.Parameter(torch.ones(()))
        if dead:
            self.unused = nn.Parameter(torch.ones(()))

    def loss(self, crystals, rng):
        return (self.weight * crystals.frac).square().sum(), {}


class Noise:
    """Variance-preserving noise; `end` is the share of noise at time 1."""

    def __init__(self, end=1.0):
        self.end = end

    def prior(self, shape, rng):
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    def corrupt(self, x, t, rng):
        return (1 - self.end * t) * x + self.end * t * torch.randn(x.shape, generator=rng, dtype=torch.float64)


def noisy(end):
    made = Generator()
    made.processes = {"frac": Noise(end)}
    return made


def collapsed(found, count):
    return [replace(c, crystal=c.crystal.put(frac=0 * c.crystal.frac)) for c in found]


def empty_for_impossible(self, ask, count, seed):
    try:
        return Generator.propose(self, ask, count, seed)
    except BadInput:
        return []


def strict(self, verdicts):
    if any(not v.key.startswith(self.name) for v in verdicts):
        raise KeyError("unknown key")


WIDE = {
    "honours_elements": lambda a: replace(a, required=frozenset({9}), any_of=(), excluded=frozenset()) if a.required else a,
    "honours_formula": lambda a: replace(a, formula=None), "honours_anonymous": lambda a: replace(a, anonymous=""),
    "honours_atoms": lambda a: replace(a, atoms=(5, 40)), "honours_space_group": lambda a: replace(a, space_groups=frozenset({62})),
    "honours_prototype": lambda a: replace(a, prototypes=())}
GENERATOR = {name: generator(ask=f) for name, f in WIDE.items()} | {
    "keys": generator(after=lambda found, count: [replace(c, key=c.key.replace("-", "_")) for c in found]),
    "repeatable": generator(seed=lambda s, count: s + random.randrange(1000)),
    "finite": generator(after=collapsed),
    "impossible": part("generator", lambda **o: type("Silent", (Generator,), {"propose": empty_for_impossible})(), HONOURS),
    "observes": generator(heard=strict),
    "longer_begins_with_shorter": generator(seed=lambda s, count: s + count),
    "every_parameter": part("generator", lambda **o: Trained(dead=True), (*HONOURS, "trained")),
    "process_limits": part("generator", lambda **o: noisy(0.5), (*HONOURS, "process")),
}


# measurements


class Relaxing:
    """The relaxation with a bug: `shift(crystals)` eV per atom on every energy, `start(crystals)` in place of the crystals, options dropped."""

    def __init__(self, shift=None, start=None, dropped=(), fixed=None, **options):
        self.shift, self.start = shift, start
        self.inner = Relaxer(**{k: v for k, v in {"fmax": 0.001, "smax": 2e-5, **options, **(fixed or {})}.items() if k not in dropped})

    def __call__(self, crystals, oracle):
        found = self.inner(crystals if self.start is None else self.start(crystals), oracle)
        if self.shift is None:
            return found
        by = self.shift(crystals) * crystals.counts
        return dataclasses.replace(found, results=tuple(dataclasses.replace(r, energy=r.energy + float(e)) for r, e in zip(found.results, by, strict=True)))


def relaxing(shift=None, start=None, dropped=(), fixed=None):
    return part("measure", lambda **o: Relaxing(shift, start, dropped, fixed, **o), ("relaxes", "pressure", "keeps_symmetry"), tolerance=1e-6,
                tolerance_reason="end points of an iteration")


RELAXING = {name: relaxing(f) for name, f in SHIFTS.items()} | {
    "answers": relaxing(lambda c: torch.full((len(c),), 0.1)),
    "batching": relaxing(lambda c: 0.01 * torch.arange(len(c))),
    "one_atom": relaxing(start=no_single_atoms),
    "inputs_untouched": relaxing(start=start_in_place),
    "repeatable": relaxing(lambda c: 1e-9 * torch.rand(len(c))),
    "lowers_energy": relaxing(fixed={"steps": 1}),
    "explosions": relaxing(start=all_or_nothing),
    "pressure": relaxing(dropped=("pressure",)),
    "keeps_symmetry": relaxing(start=lambda c: c.put(frac=c.frac + 0.03 * torch.randn(c.frac.shape, generator=torch_stream(0, "jolt"), dtype=torch.float64)),
                               dropped=("keep_symmetry",)),
}


class Hulling(Hull):
    """The hull with a bug: `bug(above, compositions, self)` gives the distances that come out."""

    bug = staticmethod(lambda above, compositions, hull: above)

    def energy_above(self, compositions, energies, scheme=None, **options):
        found = super().energy_above(compositions, energies, scheme, **options)
        return dataclasses.replace(found, above=self.bug(found.above, compositions, self))


def hulling(bug=None, **methods):
    made = type("Planted", (Hulling,), ({"bug": staticmethod(bug)} if bug else {}) | methods)
    return part("measure", lambda **o: made(**o), ("energy_above_hull", "decomposition", "formation_energy", "plot_data"))


def any_scheme(self, compositions, energies, scheme=None, **options):
    return Hulling.energy_above(self, compositions, energies, None, **options)


def zero_if_missing(self, compositions, energies, scheme=None, **options):
    found = Hull.energy_above(self, compositions, energies, scheme, missing="report")
    return dataclasses.replace(found, above=np.nan_to_num(found.above))


def first_phase_only(self, compositions, energies, scheme=None, **options):
    found = Hull.energy_above(self, compositions, energies, scheme, **options)
    return dataclasses.replace(found, decompositions=tuple((("Li", 1.0),) for _ in found.decompositions))


HULLING = {
    "permutation": hulling(lambda above, c, hull: above + 0.01 * len(hull.names[0])),
    "supercell": hulling(lambda above, c, hull: above * np.array([sum(x.values()) for x in c])),
    "answers": hulling(lambda above, c, hull: 1.01 * above),
    "batching": hulling(lambda above, c, hull: above - above.mean()),
    "repeatable": hulling(lambda above, c, hull: above + 1e-9 * np.random.random()),
    "schemes": hulling(energy_above=any_scheme),
    "missing_elements": hulling(energy_above=zero_if_missing),
    "decomposition": hulling(energy_above=first_phase_only),
    "formation_energy": hulling(formation_energy=lambda self, compositions, energies: np.asarray(energies)),
}


# judges


class Judge:
    """A judge with a bug: `bug(reasons of all crystals, crystals)` gives the reasons that come out."""

    def __init__(self, inner, bug=None):
        self.inner, self.bug = inner, bug

    def judge(self, crystals):
        found = self.inner.judge(crystals)
        return found if self.bug is None else self.bug(found, crystals)


def judge(bug=None):
    return part("judge", lambda **o: Judge(ChemistrySense(), bug), ("structure", "composition"))


def by(f):
    """Every value of a crystal shifted by f(crystals)."""
    return lambda found, c: [tuple(replace(r, value=r.value + float(x)) for r in reasons) for reasons, x in zip(found, f(c), strict=True)]


def every(**values):
    return lambda found, c: [tuple(replace(r, **values) for r in reasons) for reasons in found]


def judge_in_place(found, c):
    c.frac.add_(1.0)
    return found


JUDGE = {name: judge(by(f)) for name, f in SHIFTS.items()} | {
    "answers": judge(every(value=True)),
    "batching": judge(by(lambda c: 0.01 * torch.arange(len(c)))),
    "one_atom": judge(lambda found, c: [] if c.atoms == 1 else found),
    "inputs_untouched": judge(judge_in_place),
    "repeatable": judge(by(lambda c: 1e-9 * torch.rand(len(c)))),
    "overlapping_atoms": judge(lambda found, c: [tuple(replace(r, passed=True) if r.check != "charge_balance" else r for r in reasons) for reasons in found]),
    "charge_balance": judge(lambda found, c: [tuple(replace(r, passed=True) if r.check == "charge_balance" else r for r in reasons) for reasons in found]),
    "duplicates": part("judge", lambda **o: Judge(Sun(), every(passed=True)), ("unique", "novel")),
}


# loops


class Forgetful(Campaign):
    """Counts its proposals outside of the log."""

    def run(self, *args, **kwargs):
        state = super().run(*args, **kwargs)
        state.failed["somebody"] = {"reason": "known to this object only"}
        return state


class Restarting(Campaign):
    """Begins anew with another seed when it finds a log."""

    def __init__(self, archive, ask, settings, **options):
        super().__init__(archive, ask, replace(settings, seed=settings.seed + len(archive.events("discover"))), **options)


class Unseeded(Campaign):
    def __init__(self, archive, ask, settings, **options):
        super().__init__(archive, ask, replace(settings, seed=int.from_bytes(os.urandom(3))), **options)


class Greedy(Campaign):
    def __init__(self, archive, ask, settings, **options):
        super().__init__(archive, ask, replace(settings, count=2 * settings.count), **options)


def loop(made=Campaign):
    return part("loop", lambda **o: made(**o), ("log", "resumes", "count"))


LOOP = {"repeatable": loop(Unseeded), "replay": loop(Forgetful), "resumed": loop(Restarting), "counts": loop(Greedy)}


# tasks


class Task(TargetsForces):
    """The task with a bug: `bug(scores, crystals)` gives the scores that come out, `before(crystals)` the crystals that are scored."""

    bug = staticmethod(lambda scores, crystals: scores)

    def score(self, oracle, crystals, scheme=""):
        return self.bug(super().score(oracle, crystals, scheme), crystals)


def task(bug=None, **methods):
    made = type("Planted", (Task,), ({"bug": staticmethod(bug)} if bug else {}) | methods)
    return part("task", lambda **o: made(resamples=50), ("potential",))


def value(f):
    """Every value shifted by the mean of f(crystals)."""
    return lambda scores, c: [replace(s, value=s.value + float(f(c).mean())) for s in scores]


def task_in_place(scores, c):
    c.frac.add_(1.0)
    return scores


def any_labels(self, oracle, crystals, scheme=""):
    return TargetsForces.score(self, oracle, crystals)


TASK = {name: task(value(SHIFTS[name])) for name in ("rotation", "reflection", "permutation")} | {
    "answers": task(lambda scores, c: [replace(s, low=s.high + 1) for s in scores]),
    "inputs_untouched": task(task_in_place),
    "repeatable": task(lambda scores, c: [replace(s, high=s.high + 1e-9 * random.random()) for s in scores]),
    "perfect": task(lambda scores, c: [replace(s, value=s.value + 0.01) for s in scores]),
    "known_errors": task(lambda scores, c: [replace(s, value=2 * s.value) for s in scores]),
    "not_measured": task(lambda scores, c: [replace(s, count=len(c)) for s in scores]),
    "order": task(lambda scores, c: [replace(s, low=s.low + 0.01 * float(c.frac[0, 0])) for s in scores]),
    "schemes": task(score=any_labels),
}


# sources


class Source:
    """Distorted rock salt with energies, and a bug."""

    name, version, licence, credit = "toy", "1", "MIT", "made here"

    def __init__(self, bug=lambda crystals, count: crystals):
        self.bug = bug

    def read(self, count):
        crystals = ex.displaced(count)
        return self.bug(crystals.with_fields(whole={"energy": crystals.volume}), count)


def source(bug=None, made=Source):
    return part("source", lambda **o: made(bug) if bug else made(), ("labels",))


SOURCE = {
    "described": source(made=type("Nameless", (Source,), {"licence": ""})),
    "reads": source(lambda c, count: c[: count - 1]),
    "repeatable": source(lambda c, count: c.put(energy=c.whole["energy"] + torch.rand(len(c)))),
    "labels": source(lambda c, count: c.put(energy=c.whole["energy"] * torch.nan)),
}

FULL_SET = {  # a card that claims every capability of its kind -> its bugs
    "encoder": (encoder(), ENCODER), "encoder of compositions": (SETS, SET_BUGS), "encoder of symmetry": (GENES, GENE_BUGS),
    "potential": (potential(), POTENTIAL), "potential that learns": (potential(made=Net, capabilities=LEARNS), POTENTIAL),
    "descriptor": (descriptor(reference=NORM), DESCRIPTOR), "descriptor of keys": (part("descriptor", lambda **o: WyckoffGene(), ("key", "round_trip")), DESCRIPTOR),
    "generator": (part("generator", lambda **o: Trained(), (*HONOURS, "trained")), GENERATOR),
    "generator by noise": (part("generator", lambda **o: noisy(1.0), (*HONOURS, "process")), GENERATOR),
    "generator that learns": (part("search", lambda **o: Generator(learns=True), (*HONOURS, "learns")), GENERATOR),
    "relaxation": (relaxing(), RELAXING), "elasticity": (ELASTIC, ELASTICITY), "hull": (hulling(), HULLING), "judge": (judge(), JUDGE),
    "judge of batches": (part("judge", lambda **o: Judge(Sun()), ("unique", "novel")), JUDGE),
    "loop": (loop(), LOOP), "task": (task(), TASK), "source": (source(), SOURCE), "regressor": (FOREST, REGRESSOR), "explanation": (EXPLAIN, EXPLANATION),
    "pretraining": (PRETRAIN, PRETRAINING), "pretraining with labels": (SUPERVISED, PRETRAINING)}


def run(planted, name):
    return run_check(planted, next(c for c in checks(planted) if c.name == name))


BUGS = [pytest.param(planted, name, id=f"{kind}-{name}") for kind, bugs in
        (("encoder", ENCODER), ("encoder of compositions", SET_BUGS), ("encoder of symmetry", GENE_BUGS), ("potential", POTENTIAL), ("descriptor", DESCRIPTOR), ("generator", GENERATOR), ("relaxation", RELAXING), ("elasticity", ELASTICITY), ("hull", HULLING),
         ("judge", JUDGE), ("loop", LOOP), ("task", TASK), ("source", SOURCE), ("regressor", REGRESSOR), ("explanation", EXPLANATION), ("pretraining", PRETRAINING)) for name, planted in bugs.items()]
SOUND = [pytest.param(sound, check.name, id=f"{kind}-{check.name}", marks=[pytest.mark.slow] if check.name == "overfits" and "learns" in kind else [])
         for kind, (sound, _) in FULL_SET.items() for check in checks(sound) if check.name != "reference" or "learns" not in kind]


@pytest.mark.parametrize("planted, name", BUGS)
def test_the_check_fails_on_its_planted_bug(planted, name):
    passed, note = run(planted, name)
    assert passed is False and note


@pytest.mark.parametrize("sound, name", SOUND)
def test_the_sound_twin_passes(sound, name):
    assert run(sound, name) == (True, "")


@pytest.mark.parametrize("kind", FULL_SET)
def test_every_check_has_a_planted_bug(kind):
    sound, bugs = FULL_SET[kind]
    names = {c.name for c in checks(sound)} - {"card"}  # the rules of cards are planted below
    assert names <= bugs.keys(), names - bugs.keys()


def test_every_capability_is_claimed_by_a_sound_twin():
    modules = {"encoder": contract_encoder, "potential": contract_potential, "descriptor": contract_descriptor, "generator": contract_generator,
               "measure": contract_measure, "judge": contract_judge, "loop": contract_loop, "task": contract_task, "source": contract_source, "regressor": contract_regressor,
               "explanation": contract_explanation, "pretraining": contract_pretraining}
    claimed = {role: {w for sound, _ in FULL_SET.values() if sound.card.role == role or (role, sound.card.role) == ("generator", "search")
                      for w in sound.card.capabilities} for role in modules}
    silent = {"magmoms", "spread", "pretrained", "dtype", "needs_package", "whole", "site"}  # words that change how a check looks, not which are made
    for role, module in modules.items():
        assert set(module.CAPABILITIES) - claimed[role] <= silent, role


def test_a_hard_cut_among_equals_passes_on_rock_salt_and_fails_on_the_ordered_one():
    model = Predictor(Encoder(graph=Nearest(12, 7.0, ties=False)), [Target("y")]).to(torch.float64)
    orders = [ex.shuffle(ex.rock_salt(), seed) for seed in range(8)]
    spread = lambda crystals: float(torch.stack([model(crystals.shuffled(o))["y"] for o in orders]).std().detach())
    assert spread(ex.rock_salt()) < 1e-12 and spread(ex.ordered_rock_salt()) > 1e-8


def test_claiming_to_learn_without_learning_is_found():
    passed, note = run(part("search", lambda **o: Generator(), (*HONOURS, "learns")), "observes")
    assert passed is False and "says that it learns" in note


def test_a_text_that_decodes_to_anything_is_found():
    passed, note = run(part("descriptor", lambda **o: Gullible(), ("key", "round_trip")), "round_trip")
    assert passed is False and "nonsense" in note


ALL = ex.INVARIANCES
REASON = "a reason long enough to be one"
CARDS = {
    "neither kept nor waived: supercell": {"keeps": ALL[:-1]},
    "everything is waived": {"keeps": (), "waives": {name: REASON for name in ENCODER}},
    "kept and waived at once: rotation": {"waives": {"rotation": REASON}},
    "rotation is waived without a reason": {"keeps": ALL[1:], "waives": {"rotation": "as cell"}},
    "waives: no check of the role encoder called 'rotations'; did you mean rotation": {"waives": {"rotations": REASON}},
    "waives: no check of the role encoder called 'parity'": {"waives": {"parity": REASON}},
    "keeps: no invariance called 'mirror'": {"keeps": (*ALL, "mirror")},
    "capabilities: no capability of the role encoder called 'sed'; did you mean seed": {"capabilities": ("sed",)},
    "tolerance is 0.001 instead of 1e-08 and tolerance_reason does not say why": {"tolerance": 1e-3},
    "tolerance is 2.0, allowed": {"tolerance": 2.0, "tolerance_reason": REASON},
    "dtype is 'float16'": {"dtype": "float16"},
    "`summary` is empty": {"summary": ""},
    "`paper` is empty": {"paper": " "},
    "the year of the paper is 18": {"year": 18},
    "must be lower case": {"name": "Planted Model"},
}


@pytest.mark.parametrize("text", CARDS)
def test_a_card_that_breaks_a_rule_is_refused(text):
    planted = part("encoder", Encoder, ("seed",), **CARDS[text]) if "capabilities" not in CARDS[text] else part("encoder", Encoder, **CARDS[text])
    passed, note = run(planted, "card")
    assert passed is False and text in note


def test_words_of_ones_own_carry_two_colons():
    assert run(part("encoder", Encoder, ("seed", "mine::fast")), "card") == (True, "")


def test_a_generator_cannot_claim_an_invariance():
    passed, note = run(part("generator", Generator, HONOURS, keeps=("rotation",)), "card")
    assert passed is False and "says nothing for the role" in note


def test_a_preset_that_does_not_build_is_found():
    passed, note = run(part("encoder", lambda **o: Encoder(**o), ("seed",), presets={"wide": {"breadth": 64}}), "presets")
    assert passed is False and "the preset 'wide' does not build" in note


def test_every_role_is_planted():
    assert {sound.card.role for sound, _ in FULL_SET.values()} == set(contract.ROLES)


def test_a_reason_holds_a_number_never_a_bare_boolean():
    passed, note = run(part("judge", lambda **o: Judge(ChemistrySense(), lambda found, c: [(Reason("ok", True, 1.0, "", True),)] * len(c)), ("structure",)), "answers")
    assert passed is False and "wanted a float" in note




def ase_door(**options):
    from ase.calculators.lj import LennardJones as AseLennardJones

    from matterloop.potential.outside import AseOracle

    return AseOracle(lambda: AseLennardJones(epsilon=0.1, sigma=2.2, rc=5.5, ro=0.66 * 5.5, smooth=True), "ase_lj", "lj")


DOOR = part("potential", ase_door, ("energy", "forces", "stress"), reference=-0.13200553297927464)


@pytest.mark.parametrize("check", [pytest.param(c, id=c.name, marks=[pytest.mark.slow] if c.tier == "full" else []) for c in checks(DOOR)])
def test_an_ase_calculator_behind_the_outside_door_keeps_the_contract_of_potentials(check):
    assert run_check(DOOR, check) == (True, "")


def closed(**options):
    from matterloop.base.errors import NeedsPackage

    raise NeedsPackage("nowhere", "the planted potential")


def test_a_missing_package_is_no_failure_only_where_the_card_says_so():
    open_, silent = (part("potential", closed, ("energy", *words)) for words in (("needs_package",), ()))
    assert run(open_, "rotation")[0] is None and "nowhere" in run(open_, "rotation")[1]
    assert run(silent, "rotation")[0] is False
    assert run(open_, "card") == (True, "")


def test_an_idle_waiver_is_named(tmp_path):
    from matterloop.bench.contract import run_contract

    file = tmp_path / "idle.py"
    file.write_text(
        'from matterloop.base.registry import Card\nfrom matterloop.judge.chemistry_sense import ChemistrySense\n\n'
        'CARD = Card(name="idle", build="ChemistrySense", role="judge", paper="none", year=2026, summary="idle waiver",\n'
        '            keeps=("reflection", "translation", "permutation", "cell", "supercell"), waives={"rotation": "nobody has looked at it yet"})\n')
    (row,) = run_contract(str(file), full=True, names=["rotation"])
    assert row["note"] == "waived: nobody has looked at it yet; yet it passes here"
