"""Who added what to an answer: contributions of one crystal as steps, of many as swarms, importances as bars, bonds by length."""

from __future__ import annotations

from collections.abc import Sequence

from .svg import FAINT, GRID, INK, KEPT, OTHER, PAPER, WARN, line, mark, picture, ramp, text, ticks, titled

PAIRS = (KEPT, WARN, "#3b496c", "#a59c74", "#7a3fa0", OTHER)


def steps(base: float, prediction: float, parts: Sequence[tuple[str, float]], unit: str, *, width: float = 560.0, row: float = 24.0) -> str:
    """From the base at the top to the prediction at the bottom, one bar per part in the order given, upwards in green, downwards in orange.

    parts  (name, contribution); what they leave of the way is drawn as "not accounted for"
    """
    shown = list(parts)
    gap = prediction - base - sum(v for _, v in shown)
    if abs(gap) > 5e-3 * max(abs(prediction - base), max((abs(v) for _, v in shown), default=0.0), 1e-12):
        shown.append(("not accounted for", gap))
    left, right, top, bottom = _margin([n for n, _ in shown]), 66.0, 34.0, 44.0
    height = top + bottom + row * len(shown)
    at, edges = base, [base]
    for _, v in shown:
        at += v
        edges.append(at)
    low, high = _padded(min(edges), max(edges), 0.06)
    px = lambda v: left + (v - low) / (high - low) * (width - left - right)
    out = _across(low, high, px, top, height - bottom)
    out += [text(px(base), top - 18, "start", 10.5, "middle", FAINT), text(px(base), top - 6, f"{base:.4g}", 10.5, "middle", FAINT)]
    for i, (name, v) in enumerate(shown):
        y, a, b = top + i * row, edges[i], edges[i + 1]
        colour = FAINT if name == "not accounted for" else KEPT if v >= 0 else WARN
        bar = mark("rect", x=min(px(a), px(b)), y=y + 4, width=max(abs(px(b) - px(a)), 1.0), height=row - 8, fill=colour, rx=1.5)
        out += [text(left - 9, y + row / 2 + 4, name, 11.5, "end"), titled(bar, f"{name}: {v:+.4g} {unit}"),
                text(max(px(a), px(b)) + 5, y + row / 2 + 4, f"{v:+.3g}", 10.5, colour=FAINT),
                line(px(b), y + row - 4, px(b), y + row + 4, FAINT, 0.8)]
    y = height - bottom
    out += [line(px(prediction), y - 4, px(prediction), y + 4, INK, 1.6), text(px(prediction), y + 28, f"answer {prediction:.4g} {unit}".strip(), 11.5, "middle", INK, font_weight="600")]
    return picture(width, height, out, f"from {base:.4g} to {prediction:.4g} {unit}: " + ", ".join(f"{n} {v:+.3g}" for n, v in shown))


def swarm(rows: Sequence[tuple[str, Sequence[tuple[float, float, str]]]], across: str, colour: str, *, width: float = 600.0, row: float = 30.0) -> str:
    """One line of dots per name; where dots would lie on each other they move apart.

    rows    (name, dots), a dot is (contribution, shade from 0 to 1 or NaN, what the pointer shows)
    colour  what the shade stands for
    """
    left, right, top, bottom = _margin([n for n, _ in rows]), 20.0, 30.0, 44.0
    height = top + bottom + row * len(rows)
    values = [v for _, dots in rows for v, _, _ in dots] + [0.0]
    low, high = _padded(min(values), max(values), 0.05)
    px = lambda v: left + (v - low) / (high - low) * (width - left - right)
    out = _across(low, high, px, top, height - bottom)
    out.append(line(px(0.0), top, px(0.0), height - bottom, FAINT, 1.0))
    for i, (name, dots) in enumerate(rows):
        y, r = top + (i + 0.5) * row, 2.7
        out.append(text(left - 9, y + 4, name, 11.0, "end"))
        places: dict[int, int] = {}
        for v, shade, words in sorted(dots, key=lambda d: d[0]):
            column = round(px(v) / (1.9 * r))
            k = places[column] = places.get(column, -1) + 1
            rise = (-1) ** k * ((k + 1) // 2) * 1.7 * r
            rise = max(-row / 2 + r, min(row / 2 - r, rise))
            fill = ramp(shade) if shade == shade else OTHER
            out.append(titled(mark("circle", cx=px(v), cy=y + rise, r=r, fill=fill, stroke=PAPER, stroke_width=0.35), f"{name}: {words}"))
    for i in range(50):
        out.append(mark("rect", x=width - right - 100 + i * 2.0, y=8.0, width=2.2, height=8.0, fill=ramp(i / 49)))
    out += [text(width - right - 106, 16, f"{colour}, low to high", 10.5, "end", FAINT),
            text((left + width - right) / 2, height - 10, across, 11.5, "middle", FAINT)]
    return picture(width, height, out, f"{across}: " + ", ".join(n for n, _ in rows))


def bars(rows: Sequence[tuple[str, float, float, float]], across: str, *, width: float = 560.0, row: float = 22.0) -> str:
    """Horizontal bars with intervals.

    rows  (name, value, low, high); low and high NaN where there is no interval
    """
    left, right, top, bottom = _margin([r[0] for r in rows]), 24.0, 12.0, 44.0
    height = top + bottom + row * len(rows)
    values = [v for r in rows for v in r[1:] if v == v] + [0.0]
    low, high = _padded(min(values), max(values), 0.05)
    low = 0.0 if min(values) >= 0 else low
    px = lambda v: left + (v - low) / (high - low) * (width - left - right)
    out = _across(low, high, px, top, height - bottom)
    for i, (name, v, a, b) in enumerate(rows):
        y = top + i * row
        clear = not a <= 0 <= b
        bar = mark("rect", x=min(px(0.0), px(v)), y=y + 4, width=max(abs(px(v) - px(0.0)), 0.8), height=row - 8, fill=KEPT if clear else OTHER, rx=1.5)
        words = f"{name}: {v:.4g}" + (f" ({a:.4g} to {b:.4g})" if a == a else "")
        if a == a:
            bar += line(px(a), y + row / 2, px(b), y + row / 2, INK, 1.3)
        out += [text(left - 9, y + row / 2 + 4, name, 11.0, "end"), titled(bar, words)]
    out += [line(px(0.0), top, px(0.0), height - bottom, FAINT, 1.0), text((left + width - right) / 2, height - 10, across, 11.5, "middle", FAINT)]
    return picture(width, height, out, f"{across}: " + ", ".join(f"{n} {v:.3g}" for n, v, _, _ in rows))


def bonds(shells: Sequence[tuple[str, float, float, str]], up: str, *, width: float = 560.0, height: float = 330.0) -> str:
    """A stem per shell of edges at its length.

    shells  (pair of elements, length in Å, contribution, what the pointer shows); the five commonest pairs have colours of their own
    """
    left, right, top, bottom = 64.0, 20.0, 34.0, 48.0
    common = sorted({s[0] for s in shells}, key=lambda p: (-sum(s[0] == p for s in shells), p))
    colours = {p: PAIRS[min(i, 5)] for i, p in enumerate(common)}
    x0, x1 = _padded(min(s[1] for s in shells), max(s[1] for s in shells), 0.05)
    y0, y1 = _padded(min(0.0, *(s[2] for s in shells)), max(0.0, *(s[2] for s in shells)), 0.06)
    px = lambda v: left + (v - x0) / (x1 - x0) * (width - left - right)
    py = lambda v: top + (y1 - v) / (y1 - y0) * (height - top - bottom)
    out = _across(x0, x1, px, top, height - bottom)
    for t in ticks(y0, y1):
        out += [line(left, py(t), width - right, py(t), GRID), text(left - 7, py(t) + 4, f"{t:g}", 10.5, "end", FAINT)]
    out.append(line(left, py(0.0), width - right, py(0.0), FAINT, 1.0))
    for pair, length, value, words in shells:
        stem = line(px(length), py(0.0), px(length), py(value), colours[pair], 1.3, opacity=0.55)
        out.append(titled(stem + mark("circle", cx=px(length), cy=py(value), r=3.4, fill=colours[pair], stroke=PAPER, stroke_width=0.6), words))
    at = left
    for i, pair in enumerate(common[:6]):
        name = pair if i < 5 else "others"
        out += [mark("circle", cx=at + 4, cy=14.0, r=4.0, fill=colours[pair]), text(at + 12, 18, name, 11.0)]
        at += 26 + 6.6 * len(name)
    middle = (top + height - bottom) / 2
    out += [text((left + width - right) / 2, height - 12, "length of the bonds, Å", 11.5, "middle", FAINT),
            mark("text", up, x=14.0, y=middle, font_size=11.5, fill=FAINT, text_anchor="middle", transform=f"rotate(-90 14 {middle:g})")]
    return picture(width, height, out, f"{up} by length of bonds: " + ", ".join(common[:6]))


def _margin(names: Sequence[str]) -> float:
    return max(60.0, min(280.0, 18 + 6.7 * max((len(n) for n in names), default=0)))


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    span = high - low or max(abs(high), 1e-9)
    return low - share * span, high + share * span


def _across(low: float, high: float, px, top: float, bottom: float) -> list[str]:
    out = []
    for t in ticks(low, high):
        out += [line(px(t), top, px(t), bottom, GRID), text(px(t), bottom + 15, f"{t:g}", 10.5, "middle", FAINT)]
    return out
