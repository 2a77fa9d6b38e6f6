"""Charts as SVG, drawn by hand: one file for light pages, one for dark."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple


class Theme(NamedTuple):
    """Colours."""

    text: str
    faint: str
    series: tuple[str, str, str]


THEMES = {
    "light": Theme("#1f2328", "#d0d7de", ("#8c959f", "#0969da", "#bc4c00")),
    "dark": Theme("#e6edf3", "#3d444d", ("#8b949e", "#4493f8", "#f0883e")),
}
FONT = "font-family='-apple-system,Segoe UI,Helvetica,Arial,sans-serif' font-size='12'"
WIDTH = 720


def picture(name: str, words: str) -> str:
    """A chart in Markdown, in the page's own theme."""
    return (
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="{name}-dark.svg">\n'
        f'  <img alt="{words}" src="{name}-light.svg">\n</picture>'
    )


def svg(height: int, parts: list[str]) -> str:
    body = "\n".join(parts)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' "
        f"height='{height}' {FONT}>\n{body}\n</svg>\n"
    )


def text(x: float, y: float, words: str, colour: str, anchor: str = "start") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' fill='{colour}' text-anchor='{anchor}'>{words}</text>"


def comparison(theme: str, medians: Mapping[str, Mapping[str, float]]) -> str:
    """A bar for each contestant, in a group for each thing measured; the longest bar fills the width."""
    colours = THEMES[theme]
    parts = []
    y = 8.0
    for what, values in medians.items():
        y += 14
        parts.append(f"<g font-weight='600'>{text(0, y, what, colours.text)}</g>")
        y += 8
        longest = max(values.values())
        for (name, value), colour in zip(values.items(), colours.series, strict=True):
            length = max(value / longest * (WIDTH - 200), 1)
            parts.append(text(72, y + 13, name, colours.text, "end"))
            parts.append(
                f"<rect x='80' y='{y:.1f}' width='{length:.1f}' height='16' rx='2' fill='{colour}'/>"
            )
            shown = f"{value / 1e6:.1f} MB" if what.endswith("memory") else f"{value * 1e3:.1f} ms"
            parts.append(text(88 + length, y + 13, shown, colours.text))
            y += 20
        y += 8
    return svg(int(y + 4), parts)


def growth(
    theme: str,
    seconds: Mapping[str, Mapping[int, float]],
    memory: Mapping[str, Mapping[int, float]],
) -> str:
    """Two charts beside each other, both axes logarithmic."""
    megabytes = {
        state: {count: value / 1e6 for count, value in by_count.items()}
        for state, by_count in memory.items()
    }
    left = _lines(THEMES[theme], 0, "time", "s", seconds)
    right = _lines(THEMES[theme], WIDTH // 2, "peak memory", "MB", megabytes)
    return svg(270, left + right)


def _lines(
    colours: Theme, left: int, title: str, unit: str, series: Mapping[str, Mapping[int, float]]
) -> list[str]:
    counts = sorted({count for values in series.values() for count in values})
    found = [value for values in series.values() for value in values.values()]
    low, high = math.floor(math.log10(min(found))), math.ceil(math.log10(max(found)))
    first, last = math.log10(counts[0]), math.log10(counts[-1])

    def x(count: float) -> float:
        return left + 60 + (math.log10(count) - first) / (last - first) * 230

    def y(value: float) -> float:
        return 220 - (math.log10(value) - low) / (high - low) * 180

    parts = [f"<g font-weight='600'>{text(left + 60, 18, f'{title}, {unit}', colours.text)}</g>"]
    for power in range(low, high + 1):
        line = y(10.0**power)
        parts.append(
            f"<line x1='{left + 60}' x2='{left + 290}' y1='{line:.1f}' y2='{line:.1f}' "
            f"stroke='{colours.faint}'/>"
        )
        parts.append(text(left + 52, line + 4, f"{10.0**power:,g}", colours.text, "end"))
    for count in counts:
        parts.append(text(x(count), 238, f"{count:,}", colours.text, "middle"))
    parts.append(text(left + 175, 260, "sources", colours.text, "middle"))
    for (state, values), colour in zip(series.items(), colours.series[1:], strict=True):
        points = " ".join(f"{x(count):.1f},{y(value):.1f}" for count, value in values.items())
        parts.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'/>"
        )
        parts.extend(
            f"<circle cx='{x(count):.1f}' cy='{y(value):.1f}' r='3' fill='{colour}'/>"
            for count, value in values.items()
        )
        parts.append(text(left + 296, y(values[counts[-1]]) + 4, state, colour))
    return parts
