"""Prediction against label: each row a dot, coloured by whether the model knows its kind, the diagonal where both agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .svg import FAINT, GRID, INK, KEPT, OTHER, PAPER, WARN, line, mark, picture, text, ticks

MOST = 3000  # dots drawn


def parity(truth: Sequence[float], guess: Sequence[float], deviation: Sequence[float], known: Sequence[str], what: str, width: float = 520.0) -> str:
    """One dot per row; of more than 3,000 rows every so manyth is drawn, which the picture says.

    deviation  drawn as a bar where there are at most 200 rows; `what` is the target with its unit
    """
    truth, guess, deviation, known = (np.asarray(x) for x in (truth, guess, deviation, known))
    every = -(-len(truth) // MOST)
    note = f"every {every}th of {len(truth)} rows" if every > 1 else f"{len(truth)} rows"
    order = np.argsort(np.char.not_equal(known.astype(str), "known"), kind="stable")[::every]
    left, right, top, bottom = 64.0, 20.0, 30.0, 50.0
    height = width - left - right + top + bottom
    ends = np.concatenate([truth, guess])
    low, high = float(ends.min()), float(ends.max())
    margin = 0.04 * ((high - low) or 1.0)
    low, high = low - margin, high + margin
    px = lambda v: left + (v - low) / (high - low) * (width - left - right)
    py = lambda v: top + (high - v) / (high - low) * (height - top - bottom)
    parts = [mark("rect", x=0.0, y=0.0, width=width, height=height, fill=PAPER)]
    for t in ticks(low, high):
        parts += [line(left, py(t), width - right, py(t), GRID), text(left - 7, py(t) + 4, f"{t:g}", 10.5, "end", FAINT),
                  line(px(t), top, px(t), height - bottom, GRID), text(px(t), height - bottom + 15, f"{t:g}", 10.5, "middle", FAINT)]
    parts.append(line(px(low), py(low), px(high), py(high), FAINT, 1.0, stroke_dasharray="4 4"))
    colours = {"known": KEPT, "edge": OTHER, "unknown": WARN}
    for i in order:
        colour = colours.get(str(known[i]), KEPT)
        if len(truth) <= 200 and np.isfinite(deviation[i]):
            parts.append(line(px(truth[i]), py(max(guess[i] - deviation[i], low)), px(truth[i]), py(min(guess[i] + deviation[i], high)), colour, 0.8, opacity=0.5))
        parts.append(mark("circle", cx=float(px(truth[i])), cy=float(py(guess[i])), r=2.6, fill=colour, opacity=0.75))
    at = left
    for word, colour in colours.items():
        if (known == word).any():
            parts += [mark("circle", cx=at + 5, cy=14.0, r=4.0, fill=colour), text(at + 14, 18, word, 11.0, colour=INK)]
            at += 30 + 7.0 * len(word)
    middle = (top + height - bottom) / 2
    parts += [text(width - right, 18, note, 10.5, "end", FAINT), text((left + width - right) / 2, height - 14, f"label: {what}", 11.5, "middle", FAINT),
              mark("text", "prediction", x=14.0, y=middle, font_size=11.5, fill=FAINT, text_anchor="middle", transform=f"rotate(-90 14 {middle:g})")]
    return picture(width, height, parts, f"prediction against label of {what}, {note}")
