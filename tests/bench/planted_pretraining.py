"""A method of pre-training with one bug at a time, for the tests that show that every check of such methods can fail."""

import torch
from torch import nn

from matterloop.base.seeds import torch_stream
from matterloop.crystal.compositions import atom_mean
from matterloop.layers.parts import linear

from .planted import SHIFTS, part

REFERENCE = 3.2022627101718615
WITH_LABELS = 20.981132151340894


class Task(nn.Module):
    """The volume of an atom is learnt from the mean of the features, or the labels are; `bug(loss, crystals, task, rng)` gives the loss that comes out."""

    def __init__(self, encoder, method, seed):
        super().__init__()
        self.encoder, self.method, self.read = encoder, method, linear(torch_stream(seed, "planted"), encoder.width, 1)

    def loss(self, batch, rng):
        crystals = batch.crystals
        site = self.encoder(crystals, batch.graph).site
        if self.method.blind:
            site = site.detach()
        wanted = crystals.get(self.method.targets[0]) if self.method.targets and not self.method.deaf else (crystals.volume / crystals.counts).log()
        known = ~wanted.isnan()
        loss = (self.read(atom_mean(site, crystals))[:, 0] - wanted)[known].square().mean().sqrt()
        return self.method.bug(loss, batch, self, rng), {"all": loss}


class Method:
    def __init__(self, targets=(), bug=lambda loss, batch, task, rng: loss, blind=False, deaf=False, idle=False):
        self.targets, self.bug, self.blind, self.deaf, self.idle = targets, bug, blind, deaf, idle

    def task(self, encoder, inputs, seed):
        return Task(encoder, self, seed)

    def transfer(self, start, encoder, model, options):
        if not self.idle:
            start.same(model, options)
            encoder.load_state_dict(start.weights)


def method(bug=None, capabilities=("transfer",), **options):
    reference = options.pop("reference", REFERENCE)
    return part("pretraining", lambda **o: Method(**({"bug": bug} if bug else {}), **options, **o), capabilities, reference=reference)


def in_place(loss, batch, task, rng):
    batch.crystals.frac.add_(1.0)
    return loss


SOUND = method()
SUPERVISED = method(capabilities=("supervised", "labels_only", "directions"), reference=WITH_LABELS)
BUGS = {name: method(lambda loss, batch, task, rng, f=f: loss + f(batch.crystals).sum()) for name, f in SHIFTS.items()} | {
    "learns": method(lambda loss, batch, task, rng: loss + 100),
    "moves": method(blind=True),
    "labels_unread": method(lambda loss, batch, task, rng: loss + len(batch.crystals.whole)),
    "labels_read": method(capabilities=("supervised", "labels_only", "directions"), deaf=True),
    "one_atom": method(lambda loss, batch, task, rng: loss + 0 * (batch.crystals.counts - 1).log().sum()),
    "inputs_untouched": method(in_place),
    "repeatable": method(lambda loss, batch, task, rng: loss + torch.rand(())),
    "other_encoders": method(lambda loss, batch, task, rng: loss + 0 * batch.graph.edge["length"].sum()),
    "reference": method(reference=2 * REFERENCE),
    "transfer": method(idle=True),
}
