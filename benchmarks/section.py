"""A part of README.md that a benchmark writes: between its two markers, and nothing else."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).with_name("README.md")


def write_section(name: str, text: str, readme: Path = README) -> None:
    """Puts a text between the markers of a benchmark.

    Args:
        name: The module in `benchmarks`, which the markers name.
        text: Markdown.
        readme: The file, which has the markers.
    """
    begin, end = f"<!-- {name}: written by python -m benchmarks.{name} -->", f"<!-- end of {name} -->"
    head, _, rest = readme.read_text(encoding="utf-8").partition(begin)
    _, _, tail = rest.partition(end)
    readme.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}", encoding="utf-8")
