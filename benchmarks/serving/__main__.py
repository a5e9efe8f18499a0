"""`python -m benchmarks.serving`: compares model servers; writes serving.json and the tables of README.md.

Every server gets the same bounded load in turn, several rounds over, on one machine: what counts are ratios.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from benchmarks.serving.compare import compare
from benchmarks.serving.results import markdown, update
from benchmarks.workspace import workspace

FOLDER = Path(__file__).parents[1]


def main(quick: bool) -> None:
    """Measures and prints, and writes unless it was quick."""
    with workspace() as space:
        serving = compare(space, FOLDER.parent, quick, lambda line: print(line, file=sys.stderr, flush=True))
    Console().print(Markdown(markdown(serving)))
    if not quick:
        (FOLDER / "serving.json").write_text(serving.model_dump_json(indent=2) + "\n", encoding="utf-8")
        readme = FOLDER / "README.md"
        readme.write_text(update(readme.read_text(encoding="utf-8"), serving), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round; writes no file")
    main(parser.parse_args().quick)
