"""Writes results as tables, and into README.md between two markers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.results import PLAIN, Results, Timing, bars, named, overhead

BEGIN = "<!-- results: written by make bench -->"
END = "<!-- end of results -->"


def update(readme: str, results: Results) -> str:
    """Returns the text of README.md with the results between the markers."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{markdown(results)}\n{END}{tail}"


def markdown(results: Results) -> str:
    """Returns the results as Markdown tables."""
    return "\n".join(
        [
            f"Measured on {results.measured:%d %B %Y} with Python {results.python}: {results.processor}, "
            f"{results.cores} cores, {results.memory_gib} GiB, {results.system}; "
            f"load {results.load:.1f} when it began.\n",
            "### Bars\n",
            *table(["", "measured", "at most", ""], _bar_rows(results)),
            "\n### The auto-mpg pipeline, three notebooks, from a cold start\n",
            *table(
                ["", "median", "spread", "÷ plain", "overhead", "a kernel per step"], _pipeline_rows(results)
            ),
            "\n### Commands\n",
            *table(["", "median", "spread"], ([t.name, *_timing(t)] for t in results.commands)),
            "\n### The engine's own share: trivial steps\n",
            *table(["", "steps", "total", "per step"], _engine_rows(results)),
            "\n### Memory\n",
            *table(["", "resident", "proportional", "unique"], _memory_rows(results)),
            "\n### Versions\n",
            ", ".join(f"{name} {version}" for name, version in results.versions.items()) + "\n",
        ]
    )


def _bar_rows(results: Results) -> Iterable[Sequence[str]]:
    for bar in bars(results):
        yield (
            bar.name,
            f"{bar.value:.2f}{bar.unit}",
            f"{bar.limit:.2g}{bar.unit}",
            "met" if bar.met else "**missed**",
        )


def _pipeline_rows(results: Results) -> Iterable[Sequence[str]]:
    plain = named(results.pipeline, PLAIN).median
    measured = [timing for timing in results.pipeline if timing.seconds]
    for timing in sorted(measured, key=lambda t: t.median):
        yield (
            timing.name,
            *_timing(timing),
            f"{timing.median / plain:.2f}×",
            f"{overhead(timing, results):.2f} s",
            "yes" if timing.kernel_per_step else "no",
        )
    for timing in results.pipeline:
        if timing.absent:
            yield timing.name, f"not measured: {timing.absent}", "", "", "", ""


def _engine_rows(results: Results) -> Iterable[Sequence[str]]:
    for share in results.engine:
        per_step = 1000 * share.seconds / share.steps
        yield share.name, str(share.steps), f"{share.seconds:.1f} s", f"{per_step:.0f} ms"


def _memory_rows(results: Results) -> Iterable[Sequence[str]]:
    for memory in results.memory:
        sizes = (memory.resident, memory.proportional, memory.unique)
        yield memory.name, *(f"{size / 2**20:.0f} MiB" for size in sizes)


def _timing(timing: Timing) -> tuple[str, str]:
    low, high = min(timing.seconds), max(timing.seconds)
    return f"{timing.median:.2f} s", f"{low:.2f}–{high:.2f} s of {len(timing.seconds)}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """Yields the lines of a Markdown table; columns but the first are numbers."""
    yield f"| {' | '.join(header)} |"
    yield f"|---{'|--:' * (len(header) - 1)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
