"""Renews what the product itself makes in these pages: pictures, terminal output, and the pipeline file's tables.

Follows the README's tour in a fresh copy of the project, so a page cannot show what a reader would not see. The
words between are written by people.

usage: python -m docs.renew
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nbship import config
from tests.test_floors import FLOORS, MODULES, imported_rooms, room

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
REFERENCE = ROOT / "docs" / "pipeline-file.md"
# In the order in which their commands are run.
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MODELS = (
    config.Pipeline,
    config.Data,
    config.Source,
    config.Step,
    config.Gate,
    config.Threshold,
    config.Publish,
)
_CONSOLE = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"(?<=<!-- keys of {} -->\n\n).*?(?=\n\n)".replace("{}", r"(?P<model>\w+)"), re.DOTALL)
_IDENTITY = ("-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.org")
_PAGE_SIZE = (1120, 1240)
_COLORS = 160


def main() -> None:
    """Renews everything; takes about a minute."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "cars")
        copy_project(project)
        for page in PAGES:
            page.write_text(
                _CONSOLE.sub(lambda block: run_again(block[0], project), page.read_text("utf-8")), "utf-8"
            )
        run_id = compared_run(project)
        draw_graph(project)
        draw_rooms()
        take_plots(project / "runs" / "auto-mpg" / run_id / "notebooks" / "evaluate.ipynb")
        photograph(project / "runs" / "auto-mpg" / run_id / "index.html")
    renew_tables()


def copy_project(folder: Path) -> None:
    """Makes a fresh clone of the project as it is on disk, with everything in one commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "Begin"]):
        subprocess.run(["git", *_IDENTITY, *command], cwd=folder, check=True)


def run_again(block: str, project: Path) -> str:
    """Runs the commands of a console block, and returns it with what they print now."""
    shown = []
    for command in re.findall(r"^\$ (.+)$", block, re.MULTILINE):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=project,
            env=environment(project),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        lines = [line.rstrip() for line in done.stdout.replace(str(project), "cars").splitlines()]
        shown.append("\n".join([f"$ {command}", *lines]).rstrip())
    return "\n\n".join(shown) + "\n"


def environment(project: Path) -> Mapping[str, str]:
    """The environment of a user whose settings nothing else reaches."""
    git = {"GIT_AUTHOR_NAME": "Ada Lovelace", "GIT_AUTHOR_EMAIL": "ada@example.org"}
    git |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in git.items()}
    dvc = {"DVC_SITE_CACHE_DIR": str(project.parent / "dvc")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **git, **dvc, "PATH": path, "COLUMNS": "100"}


def compared_run(project: Path) -> str:
    """Returns the newest run whose model passed the gate in a comparison with a champion."""
    for record in sorted(project.glob("runs/auto-mpg/*/run.json"), reverse=True):
        verdict = json.loads(record.read_text("utf-8")).get("verdict") or {}
        if verdict.get("passed") and verdict.get("comparison"):
            return record.parent.name
    raise SystemExit("the README's tour no longer has a run that passes against a champion")


def draw_graph(project: Path) -> None:
    """Draws the pipeline as it is wired."""
    from nbship.graph import read_graph
    from nbship.local.drawing import graph_svg

    graph = read_graph(project, config.load_pipeline(project, "auto-mpg"))
    (PICTURES / "graph.svg").write_text(graph_svg(graph) + "\n", "utf-8")


def draw_rooms() -> None:
    """Draws which room of the package imports which, without the arrows that follow from others."""
    from nbship.local.drawing import Edge, Node, draw

    uses: dict[str, set[str]] = {name: set() for name in FLOORS}
    for path in MODULES:
        if room(path) in uses:
            uses[room(path)].update(imported_rooms(path))
    for name, used in uses.items():
        used.discard(name)

    def reached(name: str) -> set[str]:
        return uses[name].union(*map(reached, uses[name]))

    edges = [
        Edge(name, other)
        for name, used in uses.items()
        for other in sorted(used)
        if not any(other in reached(nearer) for nearer in used)
    ]
    nodes = [Node(name, name, note=f"floor {floor}") for name, floor in FLOORS.items()]
    (PICTURES / "rooms.svg").write_text(draw(nodes, edges, "The rooms of nbship", "down") + "\n", "utf-8")


def take_plots(notebook: Path) -> None:
    """Takes the first plot out of an executed notebook."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    plots = (output["data"]["image/png"] for cell in cells for output in cell.get("outputs", ()) if _is_plot(output))
    save_small(base64.b64decode(next(plots)), PICTURES / "plots.png")


def photograph(page: Path) -> None:
    """Photographs the upper part of a run page."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("install Chromium: it photographs the run page")
    with tempfile.TemporaryDirectory() as home:
        picture = Path(home, "page.png")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={home}", "--window-size={},{}".format(*_PAGE_SIZE)]
        subprocess.run(
            [*command, f"--screenshot={picture}", page.as_uri()],
            check=True,
            capture_output=True,
            env={**os.environ, "HOME": home},
        )
        save_small(picture.read_bytes(), PICTURES / "run-page.png")


def save_small(png: bytes, path: Path) -> None:
    """Writes a picture with few colours, which suits plots and pages."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def renew_tables() -> None:
    """Writes the tables of keys into the reference of the pipeline file."""
    models = {model.__name__: model for model in MODELS}
    text = REFERENCE.read_text("utf-8")
    REFERENCE.write_text(_TABLE.sub(lambda match: table(models[match["model"]]), text), "utf-8")


def table(model: type[BaseModel]) -> str:
    """Returns the keys of one of the pipeline file's models as a Markdown table."""
    rows = [
        f"| `{name}` | {type_text(field)} | {default_text(field)} | {field.description} |"
        for name, field in model.model_fields.items()
    ]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def type_text(field: FieldInfo) -> str:
    """Returns what a key holds, in words."""
    schema = config.Pipeline.model_json_schema()["$defs"]
    by_title = {name: entry.get("title", name) for name, entry in schema.items()}
    return " or ".join(_kinds(field.annotation, by_title))


def default_text(field: FieldInfo) -> str:
    """Returns a key's default as YAML writes it."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "none" if default in (None, "", [], {}) else f"`{json.dumps(default)}`"


def _is_plot(output: Mapping[str, object]) -> bool:
    data = output.get("data")
    return isinstance(data, dict) and "image/png" in data


def _kinds(annotation: object, titles: Mapping[str, str]) -> Iterator[str]:
    raise NotImplementedError


if __name__ == "__main__":
    main()
