"""What was measured, as a table for the terminal, as benches/results.md, and as charts beside it."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from console import detail, say, step
from workspace import shown

import charts
from contestants import LIBRARIES, Contestants

HERE = Path(__file__).resolve().parent
PAGE = HERE / "results.md"
WIDE_SPREAD = 0.15
"""Above this the machine was too busy for the figure to be relied on."""
BUSY = 0.05
"""Above this share of its processor time, somebody else is using the machine."""
LOOK_SECONDS = 2.0
MB = 1_000_000


class Machine(NamedTuple):
    """Where and with what."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    versions: str
    date: str
    busy: float
    """Share of the processor time that others used just before the run."""


class Figure(NamedTuple):
    """A median, and how far apart the middle half of the measurements is, in parts of it."""

    median: float
    spread: float
    count: int


class Goal(NamedTuple):
    """A promise, and what became of it."""

    what: str
    goal: str
    measured: str
    is_held: bool


@dataclass(frozen=True)
class Measured:
    """Everything of one run."""

    machine: Machine
    contestants: Contestants
    compared: dict[str, list[dict[str, Any]]]
    requests: dict[int, dict[str, list[float]]]
    growth: list[dict[str, Any]]
    instructions: dict[str, int]


def machine(contestants: Contestants) -> Machine:
    """This machine, before it is put to work."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = (line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rustc = subprocess.run(
        ["rustc", "--version"], capture_output=True, check=False, text=True
    ).stdout.split()
    packages = [
        line
        for line in LIBRARIES.requirements.read_text(encoding="utf-8").splitlines()
        if "==" in line
    ]
    return Machine(
        processor=next(names, platform.machine()),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=memory / 2**30,
        system=f"Linux {platform.release().split('-')[0]}, {' '.join(platform.libc_ver())}",
        versions=", ".join([
            f"Rust {rustc[1] if len(rustc) > 1 else '?'}",
            f"Python {platform.python_version()}",
            *(line.replace("==", " ") for line in packages),
        ]),
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        busy=busy(),
    )  # fmt: skip


def busy() -> float:
    """How much of the machine's processor time is used, by a look at it for a moment."""

    def ticks() -> tuple[int, int]:
        first = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
        spent = [int(field) for field in first.split()[1:9]]
        return sum(spent), spent[3] + spent[4]  # idle, and waiting for a disk

    all_before, idle_before = ticks()
    time.sleep(LOOK_SECONDS)
    all_after, idle_after = ticks()
    return 1 - (idle_after - idle_before) / max(all_after - all_before, 1)


def figure(values: Iterable[float]) -> Figure:
    """Median and spread of measurements."""
    values = sorted(values)
    median = statistics.median(values)
    if len(values) < 3 or not median:
        return Figure(median, 0.0, len(values))
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Figure(median, (high - low) / median, len(values))


class Row(NamedTuple):
    """One line of the comparison."""

    what: str
    figures: dict[str, Figure]
    show: Callable[[float], str]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"


def megabytes(size: float) -> str:
    return f"{size / MB:.2f} MB"


def comparison(measured: Measured) -> list[Row]:
    """Every contestant, measured every way."""

    def each(pick: Callable[[dict[str, Any]], Iterable[float]]) -> dict[str, Figure]:
        return {
            name: figure(value for round_ in rounds for value in pick(round_))
            for name, rounds in measured.compared.items()
        }

    def sizes(size: Callable[[str], int]) -> dict[str, Figure]:
        return {name: Figure(size(name), 0.0, 1) for name in measured.compared}

    return [
        Row("cold init", each(lambda one: [one["cold_init"]]), milliseconds),
        Row("its CPU", each(lambda one: [one["cold_init_cpu"]]), milliseconds),
        Row("cold start", each(lambda one: [one["cold_start"]]), milliseconds),
        Row("its CPU", each(lambda one: [one["cold_start_cpu"]]), milliseconds),
        Row("warm harvest", each(lambda one: one["warm_wall"]), milliseconds),
        Row("its CPU", each(lambda one: one["warm_cpu"]), milliseconds),
        Row("peak memory", each(lambda one: [one["peak_memory"]]), megabytes),
        Row("program", sizes(measured.contestants.bytes), megabytes),
        Row("zip", sizes(measured.contestants.zip_bytes), megabytes),
    ]


def growth_figures(measured: Measured) -> dict[str, dict[int, dict[str, Figure]]]:
    """By state and number of sources: wall, cpu and peak_memory."""
    table: dict[str, dict[int, dict[str, Figure]]] = {}
    for state in ("due", "fresh"):
        counts = sorted({one["sources"] for one in measured.growth})
        for count in counts:
            runs = [
                one for one in measured.growth if (one["sources"], one["state"]) == (count, state)
            ]
            table.setdefault(state, {})[count] = {
                what: figure(one[what] for one in runs) for what in ("wall", "cpu", "peak_memory")
            }
    return table


def calls(measured: Measured, state: str, count: int) -> dict[str, int]:
    """AWS calls of a harvest; the same in every round, else the figures would not be comparable."""
    found = [
        one["calls"] for one in measured.growth if (one["sources"], one["state"]) == (count, state)
    ]
    if any(one != found[0] for one in found):
        detail(f"the calls for {count} {state} sources differ between rounds: {found}")
    return found[0]


def request_ratio(measured: Measured, delay_ms: int) -> float:
    found = measured.requests[delay_ms]
    return statistics.median(found["harvests"]) / statistics.median(found["requests"])


def goals(measured: Measured) -> list[Goal]:
    """What was promised, and what was measured."""
    rows = comparison(measured)
    init, _, start, _, _, warm_cpu, memory, _, zip_ = (row.figures for row in rows)
    due = growth_figures(measured)["due"]
    per_source = (due[10_000]["peak_memory"].median - due[1_000]["peak_memory"].median) / 9_000
    times = {
        "init": init["function"].median / init["bare"].median,
        "start": start["peer"].median / start["function"].median,
        "cpu": warm_cpu["peer"].median / warm_cpu["function"].median,
        "memory": memory["peer"].median / memory["function"].median,
    }
    delay_ms = max(measured.requests)
    ratio = request_ratio(measured, delay_ms)
    start_up = measured.instructions["start_up"]
    peak, many = memory["function"].median, due[1_000]["peak_memory"].median
    size = zip_["function"].median
    return [
        Goal("cold init, beside the bare program", "at most 1.6 x", f"{times['init']:.2f} x", times["init"] <= 1.6),
        Goal("instructions before the first event", "at most 3 M", f"{start_up / 1e6:.2f} M", start_up <= 3e6),
        Goal("cold start, the peer's beside it", "at least 15 x", f"{times['start']:.1f} x", times["start"] >= 15),
        Goal("CPU of a warm harvest, the peer's beside it", "at least 4.5 x", f"{times['cpu']:.1f} x", times["cpu"] >= 4.5),
        Goal("peak memory, the peer's beside it", "at least 5 x", f"{times['memory']:.1f} x", times["memory"] >= 5),
        Goal("peak memory for one source", "at most 9 MB", megabytes(peak), peak <= 9 * MB),
        Goal("zip", "at most 3.7 MB", megabytes(size), size <= 3.7 * MB),
        Goal(f"1,000 due sources, beside 1,000 requests ({delay_ms} ms each)", "at most 1.2 x", f"{ratio:.2f} x", ratio <= 1.2),
        Goal("peak memory for 1,000 sources", "at most 60 MB", megabytes(many), many <= 60 * MB),
        Goal("memory for each further source", "under 20 kB", f"{per_source / 1e3:.1f} kB", per_source < 20_000),
    ]  # fmt: skip


def warnings(measured: Measured) -> list[str]:
    """What makes these figures less than reliable."""
    found = []
    if measured.machine.busy > BUSY:
        found.append(
            f"the machine was busy before the run began: others used {measured.machine.busy:.0%} of it"
        )
    what = ""
    for row in comparison(measured):
        what = f"{what}, its CPU" if row.what == "its CPU" else row.what
        for name, one in row.figures.items():
            if one.spread > WIDE_SPREAD:
                found.append(f"{what} of {name}: the spread is {one.spread:.0%}")
    for state, by_count in growth_figures(measured).items():
        for count, figures in by_count.items():
            if figures["wall"].spread > WIDE_SPREAD:
                spread = figures["wall"].spread
                found.append(f"time for {count:,} {state} sources: the spread is {spread:.0%}")
    return found


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, markdown: bool) -> str:
    """Rows in columns, the first one to the left, the others to the right."""
    rows = [header, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        [cell.ljust(width) if not column else cell.rjust(width)
         for column, (cell, width) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    ]  # fmt: skip
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def comparison_table(measured: Measured, *, markdown: bool) -> str:
    def cell(row: Row, name: str) -> str:
        one = row.figures[name]
        spread = f" ±{one.spread / 2:.0%}" if one.count > 1 else ""
        return f"{row.show(one.median)}{spread}"

    def ratio(row: Row, name: str, other: str) -> str:
        return f"{row.figures[name].median / row.figures[other].median:.2f}"

    rows = [
        (row.what, cell(row, "bare"), cell(row, "function"), cell(row, "peer"),
         ratio(row, "function", "bare"), ratio(row, "peer", "function"))
        for row in comparison(measured)
    ]  # fmt: skip
    header = ("", "bare", "function", "peer", "function / bare", "peer / function")
    return table(header, rows, markdown=markdown)


def goals_table(measured: Measured, *, markdown: bool) -> str:
    rows = [
        (goal.what, goal.goal, goal.measured, "held" if goal.is_held else "missed")
        for goal in goals(measured)
    ]
    return table(("goal", "", "measured", ""), rows, markdown=markdown)


def growth_table(measured: Measured, *, markdown: bool) -> str:
    rows = []
    for state, by_count in growth_figures(measured).items():
        for count, figures in by_count.items():
            counted = calls(measured, state, count)
            names = (
                "BatchGetSecretValue",
                "ListObjectsV2",
                "HeadObject",
                "PutObject",
                "PublishBatch",
            )
            rows.append((
                f"{count:,} {state}",
                f"{figures['wall'].median:.3f} s",
                f"{figures['cpu'].median:.3f} s",
                megabytes(figures["peak_memory"].median),
                *(f"{counted.get(name, 0):,}" for name in names),
            ))  # fmt: skip
    header = (
        "sources",
        "time",
        "CPU",
        "peak memory",
        "BatchGet",
        "List",
        "Head",
        "Put",
        "PublishBatch",
    )
    return table(header, rows, markdown=markdown)


def write(measured: Measured) -> None:
    """Prints the tables, and writes the page and its charts."""
    step("What came of it")
    print(comparison_table(measured, markdown=False))
    print()
    print(growth_table(measured, markdown=False))
    print()
    print(goals_table(measured, markdown=False))
    for warning in warnings(measured):
        say(f"warning: {warning}")
    PAGE.write_text(page(measured), encoding="utf-8")
    rows = {row.what: row.figures for row in comparison(measured) if row.what != "its CPU"}
    medians = {
        what: {name: one.median for name, one in rows[what].items()}
        for what in ("cold init", "cold start", "peak memory")
    }

    def growth(what: str) -> dict[str, dict[int, float]]:
        return {
            state: {count: figures[what].median for count, figures in by_count.items()}
            for state, by_count in growth_figures(measured).items()
        }

    for theme in charts.THEMES:
        (HERE / f"results-{theme}.svg").write_text(charts.comparison(theme, medians))
        (HERE / f"growth-{theme}.svg").write_text(
            charts.growth(theme, growth("wall"), growth("peak_memory"))
        )
    detail(f"written: {shown(PAGE)} and the charts beside it")


def page(measured: Measured) -> str:
    """benches/results.md."""
    where = measured.machine
    found = warnings(measured)
    warned = "\n".join(f"> - {warning}" for warning in found)
    warned = f"> [!WARNING]\n> These figures are less than reliable:\n{warned}\n\n" if found else ""
    requests = "\n".join(
        f"- answered after {delay_ms} ms: the function {statistics.median(of['harvests']):.3f} s, the requests alone "
        f"{statistics.median(of['requests']):.3f} s, {request_ratio(measured, delay_ms):.2f} x"
        for delay_ms, of in measured.requests.items()
    )
    counted = measured.instructions
    rounds = len(measured.compared["function"])
    warm = len(measured.compared["function"][0]["warm_wall"])
    return f"""<!-- Written by `make bench`; what it means is in docs/performance.md. -->
# Measured on {where.date}

{where.processor}, {where.cores} cores, {where.memory_gb:.0f} GiB, {where.system}. {where.versions}.

{warned}One run of `make bench`, everything side by side. Ratios of one run can be compared with those of another, absolute
times can't.

{charts.picture("results", "Cold init, cold start and peak memory of the three contestants")}

{comparison_table(measured, markdown=True)}

Medians of {rounds} cold starts and {rounds * warm} warm harvests, ± half of what the middle half of them spans. `bare` returns its
event and harvests nothing. The peer's program and zip hold its libraries.

## Goals

{goals_table(measured, markdown=True)}

Instructions, counted by callgrind: {counted["start_up"]:,} before the first event, {counted["first_harvest"]:,} for the
first harvest, {counted["warm_harvest"]:,} for a warm one.

## Growth

{charts.picture("growth", "Time and peak memory from 1 to 10,000 sources, due and fresh")}

{growth_table(measured, markdown=True)}

Medians of {len(measured.growth) // 2 // len({one["sources"] for one in measured.growth})} runs, each a cold function's first event, 32 sources at once. The token endpoint takes
{max(measured.requests)} ms over each answer, AWS none.

1,000 due sources beside 1,000 bare requests to the same token endpoint, 32 at once:

{requests}
"""
