import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from matterloop.archive.plain import from_json, to_json
from matterloop.base.errors import BadInput

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(leaves, lambda x: st.lists(x) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda k: k != "$float"), x), max_leaves=20)


@given(plain)
def test_plain_content_comes_back_equal(value):
    assert from_json(to_json(value)) == value


def test_infinity_and_nan_are_strict_json():
    text = to_json({"score": math.inf, "low": -math.inf, "x": float("nan")})
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    back = from_json(text)
    assert back["score"] == math.inf and back["low"] == -math.inf and math.isnan(back["x"])


def test_numbers_of_numpy_and_torch_become_plain():
    assert from_json(to_json([np.float64(0.5), np.int32(3), np.bool_(True), np.arange(2), torch.tensor([[1.5]]), (1, 2)])) == [0.5, 3, True, [0, 1], [[1.5]], [1, 2]]


@pytest.mark.parametrize("bad, place", [({"a": {"b": {1, 2}}}, "content.a.b"), ({"a": [object()]}, r"content.a\[0\]"), ({3: 1}, "content"), ({"$float": 1}, "content"),
                                        ("\ud800", "content")])
def test_what_is_not_json_is_named(bad, place):
    with pytest.raises(BadInput, match=f"^{place}: "):
        to_json(bad)


def test_a_loop_in_the_content_is_an_error():
    loop = []
    loop.append(loop)
    with pytest.raises(BadInput, match="nested"):
        to_json(loop)


def test_damaged_text_is_an_error():
    for text in ("{", "[" * 100_000, ""):
        with pytest.raises(BadInput, match="not JSON"):
            from_json(text)
