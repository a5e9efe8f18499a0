"""A year goes by: a model of cars up to 1976 meets those of 1977 and later, is found out, and learns.

Everything is what a user has: the commands, the model server, Prometheus with the project's rules. Nothing
decides beforehand how it ends: what the monitor and the gate say is what they find. Without a forge, the
merge request is a branch, which is merged here as a person would.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from demos.watching import Watching, eventually, missing, watching
from nbship.config import load_pipeline
from nbship.serving.server import free_port
from nbship.versions import dvc
from nbship.workflow.data import ensure

ROOT = Path(__file__).parent.parent
NAME = "auto-mpg"
LAST_YEAR = 76
# An hour of the rules is twelve seconds here.
FACTOR = 300
FILES = (
    *("notebooks/auto-mpg/prepare.ipynb", "notebooks/auto-mpg/train.ipynb"),
    *("notebooks/shared/evaluate-regression.ipynb", "notebooks/shared/compare-recipes.ipynb"),
    *("pipelines/auto-mpg.yaml", "requirements.lock"),
    *(".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"),
)
INPUTS = ("cyl", "displ", "hp", "weight", "accel", "yr", "origin")
_ME = ("-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.org")
Row = Mapping[str, str]


@dataclass
class Story:
    """Where it takes place.

    Attributes:
        folder: All of it.
        port: The model server's.
        later: The cars that nobody has seen yet.
        environment: What commands get beside this process's own.
        quiet: Whether nothing is printed.
        begun: When, by a clock that only rises.
    """

    folder: Path
    port: int
    later: list[Row] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    quiet: bool = False
    begun: float = field(default_factory=time.monotonic)

    @property
    def root(self) -> Path:
        """The project."""
        return self.folder / "cars"

    def tell(self, line: str) -> None:
        """Says what happens next."""
        if not self.quiet:
            print(f"\n\033[1m[{time.monotonic() - self.begun:3.0f} s] {line}\033[0m", flush=True)

    def nbship(self, *arguments: str, expected: int | None = 0) -> str:
        """Runs a command whose exit code is known, or None if any is right; returns what it prints."""
        return self._run([str(Path(sys.executable).with_name("nbship")), *arguments], expected)

    def git(self, *arguments: str) -> str:
        """Runs Git in the project; returns what it prints."""
        return self._run(["git", *_ME, *arguments], 0, shown=arguments[0] == "merge")

    def _run(self, command: Sequence[str], expected: int | None, shown: bool = True) -> str:
        names = {"GIT_AUTHOR_NAME": "Ada Lovelace", "GIT_AUTHOR_EMAIL": "ada@example.org"}
        names |= {"GIT_COMMITTER_NAME": "Ada Lovelace", "GIT_COMMITTER_EMAIL": "ada@example.org"}
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, **names, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        told = done.stdout + done.stderr
        if shown and not self.quiet:
            print("$", Path(command[0]).name, *command[5 if command[0] == "git" else 1 :])
            print(told.rstrip(), flush=True)
        assert expected in (done.returncode, None), f"{command}: {done.returncode}\n{told}"
        return told

    @property
    def address(self) -> str:
        """Of the model server."""
        return f"http://127.0.0.1:{self.port}"


def begin(story: Story) -> None:
    """Makes a project with the cars up to 1976, and keeps the later ones back."""
    for name in FILES:
        (story.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, story.root / name)
    (story.root / "nbship.yaml").write_text("monitor:\n  store: ../records\n  seconds: 1\n", encoding="utf-8")
    table = ensure(ROOT, load_pipeline(ROOT, NAME))["table"]
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    story.later = [row for row in rows if int(row["yr"]) > LAST_YEAR]
    with (story.root / "data.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in rows if int(row["yr"]) <= LAST_YEAR)
    story.git("init", "--quiet", "--initial-branch=main")
    path = story.root / "data.csv"
    dvc.tracking_file(path).write_text(dvc.tracking_text(path, dvc.store(story.root, path)))
    story.git("add", "--all")
    story.git("commit", "--quiet", "--message", f"Begin with the cars up to 19{LAST_YEAR}")


def train(story: Story) -> None:
    """Trains, judges and publishes."""
    story.nbship("run", NAME)
    story.nbship("publish", NAME, "--commit")


@contextlib.contextmanager
def serving(story: Story) -> Iterator[None]:
    """Serves the champion, and keeps what it is asked."""
    program = str(Path(sys.executable).with_name("nbship"))
    command = [program, "serve", NAME, "--port", str(story.port), "--log", str(story.folder / "records")]
    log = story.folder / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=story.root, stdout=output, stderr=output, env={**os.environ, **story.environment}
        )
    try:
        eventually(lambda: _answers(story, process), "the server answers")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _answers(story: Story, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, (story.folder / "server.log").read_text()
    ready = f"{story.address}/v2/health/ready"
    with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=10) as answer:
        return bool(answer.status == 200)
    return False


def ask(story: Story, rows: Sequence[Row]) -> list[str]:
    """Asks about cars, one after the other; returns the identifiers of the records that are kept of it."""
    identifiers = []
    for row in rows:
        instance = {name: float(row[name]) if row[name] else None for name in INPUTS}
        request = urllib.request.Request(
            f"{story.address}/v1/models/{NAME}:predict",
            json.dumps({"instances": [instance]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            identifiers.append(answer.headers["nbship-record"])
    return identifiers


def label(story: Story, rows: Sequence[Row], identifiers: Sequence[str]) -> str:
    """Tells what the cars really took."""
    file = story.folder / "measured.csv"
    with file.open("w", newline="", encoding="utf-8") as output:
        writer = csv.writer(output)
        writer.writerow(("id", "value"))
        writer.writerows(zip(identifiers, (row["mpg"] for row in rows), strict=True))
    # The server writes what it was asked once a second.
    return str(eventually(lambda: _added(story, file), "every label has its record"))


def _added(story: Story, file: Path) -> str:
    told = story.nbship("labels", "add", NAME, str(file))
    return "" if "unknown" in told else told


def monitor(story: Story, expected: int) -> str:
    """Asks whether the model is still right; 3 is the exit code of *act*."""
    return story.nbship("monitor", NAME, expected=expected)


def retrain(story: Story) -> str:
    """Takes the labelled cars into the data; returns the branch."""
    told = story.nbship("retrain", NAME, "--if-act")
    found = re.search(r"retrain/\S+", told)
    assert found, told
    return found[0]


def merge(story: Story, branch: str) -> None:
    """Merges the branch, as a person who has read the merge request would."""
    story.git("merge", "--no-ff", "--quiet", "--message", f"Merge {branch}", branch)


@contextlib.contextmanager
def traffic(story: Story, rows: Sequence[Row]) -> Iterator[None]:
    """Has clients ask about cars all the while, a few a second."""
    over = threading.Event()

    def go() -> None:
        for row in itertools.cycle(rows):
            if over.wait(0.3):
                return
            ask(story, [row])

    with ThreadPoolExecutor(1) as clients:
        asking = clients.submit(go)
        try:
            yield
        finally:
            over.set()
            asking.result()


def tell_all(folder: Path) -> None:
    """Tells the story on a terminal."""
    story = Story(folder, free_port("127.0.0.1"))
    absent = missing()
    with contextlib.ExitStack() as stack:
        story.tell(f"A project with the cars up to 19{LAST_YEAR}: train, judge, publish")
        begin(story)
        train(story)
        watch = None
        if absent:
            story.tell(f"{' and '.join(absent)} not installed: no alerts are shown")
        else:
            target = (f"127.0.0.1:{story.port}", {"namespace": "production", "version": "here"})
            watch = stack.enter_context(watching(folder, [target], FACTOR))
        # Every other later car comes now, the rest once the model has learnt from these.
        first, second = story.later[::2], story.later[1::2]
        with serving(story):
            story.tell(f"It serves, and cars from 19{LAST_YEAR + 1} on are asked about")
            asked = ask(story, first)
            with traffic(story, first):
                await_alert(story, watch)
                story.tell("Is it still right?")
                monitor(story, expected=3)
                story.tell("Labels arrive: what these cars really took")
                label(story, first, asked)
                story.tell("The way back: they become data, and the gate judges what is learnt from them")
                branch = retrain(story)
                story.tell("The branch is merged; the new model is trained there, judged and published")
                merge(story, branch)
                train(story)
        with serving(story):
            story.tell(f"It serves in its place, and {len(second)} cars that nobody has seen are asked about")
            asked = ask(story, second)
            with traffic(story, second):
                await_end(story, watch)
        story.tell("Is what it promised kept? And would it begin again?")
        label(story, second, asked)
        story.nbship("monitor", NAME, expected=None)
        story.nbship("retrain", NAME, "--if-act")
    story.tell("Done. The pages, for a browser:")
    for page in sorted(story.root.glob("runs/*/*/index.html")):
        print(f"  {page}")


def await_alert(story: Story, watch: Watching | None) -> None:
    """Waits until Prometheus has told the Alertmanager that records are unlike those in training."""
    if watch is not None:
        (alert, *_) = eventually(lambda: watch.firing("NbshipFlagged"), "the alert")
        what = f"{alert['field']} is out of the {alert['reason']} of training"
        story.tell(f"Prometheus alerts: NbshipFlagged, {what}")


def await_end(story: Story, watch: Watching | None) -> None:
    """Waits until that is over, although clients go on asking."""
    if watch is not None:
        eventually(lambda: not watch.firing("NbshipFlagged"), "the alert's end")
        asked = eventually(lambda: watch.value("sum(nbship:requests:rate5m)"), "requests are counted")
        story.tell(f"The alert has ended, at {asked:.1f} requests a second")


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="nbship-drift-"))
    place.mkdir(parents=True, exist_ok=True)
    tell_all(place)
