"""Ways to run the auto-mpg pipeline: nbship, the same cells as a plain script, and peers (`peers/`)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.results import COMPILE, HELP, NBSHIP, PLAIN, RERUN, Timing
from benchmarks.workspace import CommandError, Workspace, program
from nbship.config import load_pipeline
from nbship.graph import Graph, read_graph

PIPELINE = "auto-mpg"
PLOOMBER = {"ploomber": "0.23.3"}
_NOTEBOOKS = f"notebooks/{PIPELINE}"
_PEERS = Path(__file__).parent / "peers"
_Prepared = tuple[list[str], dict[str, str]]


@dataclass(frozen=True)
class Contestant:
    """A command to measure.

    Attributes:
        name: What it is called in the table.
        command: Its command line.
        folder: Where it runs.
        variables: Environment variables beside the workspace's.
        kernel_per_step: Whether it runs every step in a kernel of its own.
    """

    name: str
    command: Sequence[str]
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    kernel_per_step: bool = False


def pipeline_contestants(space: Workspace, root: Path) -> tuple[list[Contestant], list[Timing]]:
    """Prepares every way to run the pipeline, each in a copy of the project.

    Returns:
        The contestants, and a timing for each that could not be prepared, which says why.
    """
    ways: dict[str, Callable[[Workspace, Path], _Prepared]] = {
        PLAIN: _plain,
        NBSHIP: _nbship,
        "papermill, step by step": _papermill,
        "DVC stages calling papermill": _dvc,
        "kfp.local, notebook components": _kfp,
        "Ploomber": _ploomber,
    }
    ready: list[Contestant] = []
    absent: list[Timing] = []
    for number, (name, prepare) in enumerate(ways.items()):
        folder = space.copy_project(root, f"project-{number}")
        try:
            command, variables = prepare(space, folder)
            ready.append(Contestant(name, command, folder, variables, kernel_per_step=name != PLAIN))
        except CommandError as error:
            absent.append(Timing(name=name, absent=str(error).strip().splitlines()[-1]))
    return ready, absent


def commands(space: Workspace, root: Path) -> list[Contestant]:
    """Prepares the commands that a person waits for; the first call of each fills what it needs."""
    folder = space.copy_project(root, "commands")
    nbship = program("nbship")
    return [
        Contestant(RERUN, [nbship, "run", PIPELINE], folder),
        Contestant(HELP, [nbship, "--help"], folder),
        Contestant(COMPILE, [nbship, "compile", PIPELINE], folder),
    ]


def interleave(
    space: Workspace, contestants: Sequence[Contestant], repetitions: int, report: Callable[[str], None]
) -> list[Timing]:
    """Measures contestants in turn, A B C A B C …, after one round that is not counted.

    So a machine that slows down or speeds up does so for all of them.

    Args:
        space: Where.
        contestants: What to measure.
        repetitions: How often each.
        report: Told in a line what was measured.
    """
    timings = {c.name: Timing(name=c.name, kernel_per_step=c.kernel_per_step) for c in contestants}
    for round_number in range(repetitions + 1):
        for contestant in contestants:
            seconds = space.seconds(contestant.command, contestant.folder, **contestant.variables)
            if round_number:
                timings[contestant.name].seconds.append(round(seconds, 3))
            counted = f"{round_number} of {repetitions}" if round_number else "warm-up"
            report(f"{contestant.name}, {counted}: {seconds:.2f} s")
    return list(timings.values())


def plain_script(graph: Graph) -> str:
    """Returns the code cells of all steps in order, the parameters cells with their defaults included."""
    notebooks = [step.notebook for step in graph.steps.values()]
    return "\n\n".join(source for n in notebooks for source in (n.parameters_source, *n.code)) + "\n"


def _plain(_: Workspace, folder: Path) -> _Prepared:
    graph = read_graph(folder, load_pipeline(folder, PIPELINE))
    # Beside the notebooks, the defaults of their parameters cells are the paths of each other's files.
    start = f"import os\n\nos.chdir({_NOTEBOOKS!r})\n\n"
    (folder / "plain.py").write_text(start + plain_script(graph), encoding="utf-8")
    return [sys.executable, "plain.py"], {"MPLBACKEND": "agg"}


def _nbship(_: Workspace, __: Path) -> _Prepared:
    return [program("nbship"), "run", PIPELINE, "--force"], {}


def _papermill(_: Workspace, __: Path) -> _Prepared:
    return ["sh", str(_PEERS / "papermill.sh")], {}


def _dvc(space: Workspace, folder: Path) -> _Prepared:
    # The copy's data.csv.dvc would be one more stage.
    (folder / "data.csv.dvc").unlink()
    shutil.copyfile(_PEERS / "dvc.yaml", folder / "dvc.yaml")
    space.seconds([program("dvc"), "config", "core.check_update", "false"], folder)
    return [program("dvc"), "repro", "--force"], {}


def _kfp(_: Workspace, __: Path) -> _Prepared:
    return [sys.executable, str(_PEERS / "kfp_local.py")], {}


def _ploomber(space: Workspace, folder: Path) -> _Prepared:
    """Installs Ploomber in an environment of its own that sees the libraries of this one."""
    environment = space.folder / "ploomber"
    space.seconds([sys.executable, "-m", "venv", str(environment)], folder)
    (packages,) = environment.glob("lib/python*/site-packages")
    libraries = sysconfig.get_path("purelib")
    (packages / "libraries.pth").write_text(
        f"import site; site.addsitedir({libraries!r})\n", encoding="utf-8"
    )
    requirements = [f"{name}=={version}" for name, version in PLOOMBER.items()]
    # With the person's own settings, which may say how pip reaches its packages.
    pip = subprocess.run(
        [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", *requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    if pip.returncode != 0:
        raise CommandError(f"pip could not install it: {pip.stderr.strip().splitlines()[-1]}")
    shutil.copyfile(_PEERS / "ploomber.yaml", folder / "pipeline.yaml")
    command = [str(environment / "bin/ploomber"), "build", "--force"]
    space.seconds(command, folder)
    return command, {}
