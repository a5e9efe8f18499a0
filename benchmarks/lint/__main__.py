"""`python -m benchmarks.lint`: lints public notebooks and says how many findings of each rule are true.

Fetches the packages that notebooks.json lists, prints each finding that was not judged yet or that was judged
false, and writes the table of README.md. `--all` prints every finding with its line of code.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lint.corpus import as_step, fetch
from benchmarks.lint.judgements import precision, read_judgements, table, update
from nbship.linting import LintFinding, check_notebook

README = Path(__file__).parents[1] / "README.md"
# Rules that look at a notebook as it ran; a step has no outputs.
_OF_EXPERIMENTS = {"execution-order", "large-output"}


def main(cache: Path, show_all: bool) -> None:
    """Lints, prints and writes."""
    judged = read_judgements()
    findings: list[LintFinding] = []
    for name, content in ((public.name, content) for public, content in fetch(cache)):
        sources = ["".join(cell["source"]).splitlines() for cell in json.loads(content)["cells"]]
        for finding in _lint(name, content):
            findings.append(finding)
            verdict = judged.get((name, finding.cell, finding.line, finding.rule))
            if show_all or not verdict:
                what = {None: "not judged", True: "true", False: "false"}[verdict]
                code = sources[finding.cell - 1][max(finding.line - 1, 0)] if finding.line else ""
                where = f"{name}, cell {finding.cell}, line {finding.line}"
                print(
                    f"{what}: {where}: {finding.rule}: {finding.message}",
                    f"    {code.strip()[:160]}",
                    sep="\n",
                )
    found = precision(findings, judged)
    print(table(found))
    README.write_text(update(README.read_text(encoding="utf-8"), found), encoding="utf-8")


def _lint(name: str, content: bytes) -> Iterator[LintFinding]:
    with tempfile.TemporaryDirectory() as folder:
        step, experiment = Path(folder, "step.ipynb"), Path(folder, "experiment.ipynb")
        step.write_text(as_step(content), encoding="utf-8")
        experiment.write_bytes(content)
        yield from check_notebook(step, name)
        yield from (f for f in check_notebook(experiment, name) if f.rule in _OF_EXPERIMENTS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lint", description=__doc__)
    parser.add_argument("--all", action="store_true", help="print true findings as well")
    parser.add_argument(
        "--cache", type=Path, default=Path(".nbship/benchmarks/lint"), help="where packages are kept"
    )
    arguments = parser.parse_args()
    main(arguments.cache, arguments.all)
