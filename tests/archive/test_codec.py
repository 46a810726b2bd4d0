import struct
import zlib

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from matterloop.archive.codec import content_key, crystal_keys, decode, encode
from matterloop.base.errors import BadInput
from matterloop.base.quantities import Quantity
from matterloop.crystal.state import Crystals

ROCK_SALT = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]])


def with_fields(crystals):
    n, b = crystals.atoms, len(crystals)
    return crystals.with_fields(
        {"forces": torch.arange(3.0 * n).reshape(n, 3), "tag": torch.arange(n) % 2 == 0, "kind": torch.arange(n, dtype=torch.int16)},
        {"energy": torch.linspace(-1, 1, b, dtype=torch.float64), "stress": torch.full((b, 3, 3), float("nan")), "moment": torch.ones(b, 2, 3, dtype=torch.half)},
        {"tag": Quantity(), "kind": Quantity(), "moment": Quantity(1, -1, True, "µB")})


def assert_same(a, b):
    for name in ("frac", "species", "cell", "offsets", "periodic"):
        assert torch.equal(a.get(name) if name != "offsets" else a.offsets, b.get(name) if name != "offsets" else b.offsets), name
    assert a.site.keys() == b.site.keys() and a.whole.keys() == b.whole.keys() and dict(a.quantities) == dict(b.quantities)
    for name in [*a.site, *a.whole]:
        x, y = a.get(name), b.get(name)
        assert x.dtype == y.dtype and x.shape == y.shape and x.contiguous().numpy().tobytes() == y.numpy().tobytes(), name


def test_bytes_of_rock_salt_are_as_documented():
    (blob,) = encode(ROCK_SALT)
    head = b"MLXC" + struct.pack("<HBBI", 1, 7, 0, 2)
    cell = struct.pack("<9d", 0, 2.8, 2.8, 2.8, 0, 2.8, 2.8, 2.8, 0)
    body = head + cell + struct.pack("<6d", 0, 0, 0, 0.5, 0.5, 0.5) + bytes([11, 17])
    assert blob == body + struct.pack("<I", zlib.crc32(body))
    assert len(blob) == 138


def test_field_bytes_are_as_documented():
    (blob,) = encode(ROCK_SALT.with_fields(whole={"x": torch.tensor([1.5], dtype=torch.float32)}, quantities={"x": Quantity(0, -1, True, "eV")}))
    assert blob[134:-4] == bytes([1, 1, 0, 1]) + b"x" + bytes([1, 0, 255, 1, 2]) + b"eV" + struct.pack("<f", 1.5)


def test_round_trip_keeps_every_bit(make_crystals):
    crystals = with_fields(make_crystals(7))
    assert_same(decode(encode(crystals)), crystals)


def test_periodic_bits_and_molecules_survive():
    slab = Crystals.of([[0, 0, 0], [0.25, 0.5, 0]], [6, 8], torch.eye(3).expand(2, 3, 3) * 9, [1, 1], periodic=[[True, True, False], [False] * 3])
    assert decode(encode(slab)).periodic.tolist() == [[True, True, False], [False, False, False]]


@settings(max_examples=60, deadline=None)
@given(frac=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=3, max_size=30), z=st.integers(0, 118), scale=st.floats(1e-3, 1e3))
def test_any_finite_numbers_survive(frac, z, scale):
    frac = frac[: len(frac) // 3 * 3]
    crystals = Crystals.of(frac, [z] * (len(frac) // 3), torch.eye(3) * scale)
    assert_same(decode(encode(crystals)), crystals)


def test_key_does_not_depend_on_the_batch_or_the_order_of_fields(make_crystals):
    crystals = with_fields(make_crystals(5))
    keys = crystal_keys(crystals)
    assert [crystal_keys(c)[0] for c in crystals] == keys and len(set(keys)) == 5
    turned = Crystals(crystals.frac, crystals.species, crystals.cell, crystals.offsets, crystals.periodic, dict(reversed(crystals.site.items())),
                      dict(reversed(crystals.whole.items())), crystals.quantities)
    assert crystal_keys(turned) == keys
    assert all(content_key(b) == k for b, k in zip(encode(crystals), keys, strict=True))


def test_key_changes_with_the_last_bit_of_a_coordinate():
    moved = ROCK_SALT.put(frac=torch.nextafter(ROCK_SALT.frac, torch.ones_like(ROCK_SALT.frac)))
    assert crystal_keys(moved) != crystal_keys(ROCK_SALT)


def test_every_damaged_byte_is_noticed():
    (blob,) = encode(with_fields(ROCK_SALT))
    for i in range(len(blob)):
        with pytest.raises(BadInput):
            decode([blob[:i] + bytes([blob[i] ^ 0x40]) + blob[i + 1 :]])
        with pytest.raises(BadInput):
            decode([blob[:i]])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_hostile_bytes_with_a_right_checksum_are_refused_or_harmless(data):
    (blob,) = encode(with_fields(ROCK_SALT))
    body = bytearray(blob[:-4])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(body[: data.draw(st.integers(len(body) - 40, len(body)))])
    try:
        crystals = decode([body + struct.pack("<I", zlib.crc32(body))])
    except BadInput:
        return
    assert len(crystals) == 1 and bool(torch.isfinite(crystals.frac).all())


def test_another_version_says_which():
    (blob,) = encode(ROCK_SALT)
    body = blob[:4] + struct.pack("<H", 9) + blob[6:-4]
    with pytest.raises(BadInput, match="format version 9, this matterloop reads version 1"):
        decode([body + struct.pack("<I", zlib.crc32(body))])


def test_different_fields_need_bare():
    blobs = [*encode(ROCK_SALT), *encode(with_fields(ROCK_SALT))]
    with pytest.raises(BadInput, match="crystal 1: it carries the fields"):
        decode(blobs)
    assert decode(blobs, bare=True).atoms == 4


def test_what_cannot_be_kept_is_refused():
    with pytest.raises(BadInput, match="cannot be kept"):
        encode(ROCK_SALT.with_fields(whole={"energy": torch.ones(1, dtype=torch.bfloat16)}))
    with pytest.raises(BadInput, match="not finite"):
        encode(ROCK_SALT.put(frac=ROCK_SALT.frac * float("nan")))
