"""`make bench`: measures, writes results.json, serving.json and the tables of README.md, and prints them."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console
from rich.markdown import Markdown

from benchmarks import contestants, engine, report
from benchmarks.results import NBSHIP, PLAIN, Memory, Results
from benchmarks.serving import __main__ as serving
from benchmarks.workspace import Workspace, workspace

HERE = Path(__file__).parent
ROOT = HERE.parent
_LIBRARIES = (
    "nbship papermill nbclient jupyter-client ipykernel ipython nbconvert kfp dvc scikit-learn pandas numpy "
    "matplotlib"
)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repetition, 20 steps; writes no file")
    quick = parser.parse_args().quick
    with workspace() as space:
        results = _measure(space, quick)
    Console().print(Markdown(report.markdown(results)))
    if not quick:
        (HERE / "results.json").write_text(results.model_dump_json(indent=2) + "\n", encoding="utf-8")
        readme = HERE / "README.md"
        text = readme.read_text(encoding="utf-8")
        readme.write_text(report.update(text, results), encoding="utf-8")
    serving.main(quick)


def _measure(space: Workspace, quick: bool) -> Results:
    load = os.getloadavg()[0]
    ready, absent = contestants.pipeline_contestants(space, ROOT)
    # The two that are close take turns more often: their ratio has the narrower bar.
    close = [each for each in ready if each.name in (PLAIN, NBSHIP)]
    others = [each for each in ready if each not in close]
    pipeline = contestants.interleave(space, close, 1 if quick else 15, _say)
    pipeline += contestants.interleave(space, others, 1 if quick else 3, _say)
    short = contestants.commands(space, ROOT)
    commands = contestants.interleave(space, short, 3 if quick else 10, _say)
    steps, sample = (20, 5) if quick else (200, 20)
    return Results(
        measured=datetime.now(UTC).date(),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        load=round(load, 2),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={name: version(name) for name in _LIBRARIES.split()} | contestants.PLOOMBER,
        pipeline=pipeline + absent,
        commands=commands,
        engine=engine.measure(space, steps, sample, _say),
        memory=_memory(space, short[0].folder),
    )


def _memory(space: Workspace, folder: Path) -> list[Memory]:
    """Measured by a process of its own, for the fork server belongs to the process that starts it."""
    space.seconds(
        [sys.executable, "-m", "benchmarks.memory", contestants.PIPELINE], folder, PYTHONPATH=str(ROOT)
    )
    return TypeAdapter(list[Memory]).validate_json((folder / "memory.json").read_bytes())


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
