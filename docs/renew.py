"""Renews what the product itself makes in these pages: pictures, terminal output, tables of keys.

Follows the README's tour in a fresh copy of the project, so that a page shows what a reader would see. Not
for the words between, which are written by people.

usage: python -m docs.renew
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docs import comments
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tests.browser import PROGRAM, Browser, open_browser
from tests.test_floors import FLOORS, MODULES, imported_rooms, room

from nbship import config
from nbship.errors import ExitCode
from nbship.serving.server import free_port

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
REFERENCE = ROOT / "docs" / "pipeline-file.md"
# In the order in which their commands are run.
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# A tour shows what works, a mistake, and a rejection.
EXPECTED = (ExitCode.DONE, ExitCode.USAGE, ExitCode.REJECTED)
# Heading of each model of the pipeline file in its reference.
SECTIONS = {
    "Pipeline": "the-file",
    "Data": "data",
    "PackageSource": "source",
    "UrlSource": "source",
    "FileSource": "source",
    "SqlSource": "source",
    "StepSettings": "steps",
    "Gate": "gate",
    "Threshold": "thresholds",
    "Publish": "publish",
    "ColumnSettings": "columns",
    "Kubeflow": "kubeflow",
    "Vertex": "vertex",
    "Deploy": "deploy",
    "Stage": "stages",
    "Toleration": "tolerations",
    "Monitor": "monitor",
    "Label": "label",
    "Mlflow": "mlflow",
    "Retrain": "retrain",
}
_CONSOLE = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"(<!-- keys of (?P<model>\w+) -->\n\n).*?(?=\n\n)", re.DOTALL)
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_IDENTITY = ("-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.org")
# What the page of a served model says once it has asked the model for everything.
_PREDICTED = (
    "document.querySelector('#answer[aria-busy=false] .figure:not(.none)') && "
    "document.querySelector('#curves polyline')"
)
_COLORS = 160


def main() -> None:
    """Renews everything; takes some minutes."""
    if PROGRAM is None:
        raise SystemExit("install Chromium: it photographs the pages")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "cars")
        copy_project(project)
        pages = {page: page.read_text("utf-8") for page in PAGES}
        texts = {page: renewed(text, project) for page, text in pages.items() if _CONSOLE.search(text)}
        run_id = compared_run(project)
        draw_graph(project)
        draw_run(project, run_id)
        draw_rooms()
        take_plots(project / "runs" / "auto-mpg" / run_id / "notebooks" / "evaluate.ipynb")
        photograph_pages(project, run_id)
        photograph_comments(Path(folder))
    for page, text in texts.items():
        page.write_text(text, "utf-8")
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


def renewed(text: str, project: Path) -> str:
    """Returns the text of a page with the console blocks as they look now."""
    return _CONSOLE.sub(lambda block: run_again(block[0], project), text)


def run_again(block: str, project: Path) -> str:
    """Runs the commands of a console block, and returns it with what they print."""
    shown = []
    for command in re.findall(r"^\$ (.+)$", block, re.MULTILINE):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=project,
            env=environment(project),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode not in EXPECTED:
            raise SystemExit(f"$ {command}\n{done.stdout}\nfailed with {done.returncode}; nothing is renewed")
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
    from nbship.pages.drawing import graph_svg

    graph = read_graph(project, config.load_pipeline(project, "auto-mpg"))
    (PICTURES / "graph.svg").write_text(graph_svg(graph) + "\n", "utf-8")


def draw_run(project: Path, run_id: str) -> None:
    """Draws a run: the candidate and the champion before the gate."""
    from nbship.pages.drawing import run_svg
    from nbship.record import find_run

    record, _ = find_run(project, "auto-mpg", run_id)
    (PICTURES / "run.svg").write_text(run_svg(record) + "\n", "utf-8")


def draw_rooms() -> None:
    """Draws which room of the package imports which, without the arrows that follow from others."""
    from nbship.pages.drawing import Edge, Node, draw

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
    outputs = (output.get("data", {}) for cell in cells for output in cell.get("outputs", ()))
    plot = next(data["image/png"] for data in outputs if "image/png" in data)
    save_small(base64.b64decode(plot), PICTURES / "plots.png")


def photograph_pages(project: Path, run_id: str) -> None:
    """Photographs the page of a run, and that of the champion, also on a phone in the dark, and a sweep's."""
    port = free_port("127.0.0.1")
    with tempfile.TemporaryDirectory() as home, open_browser(Path(home)) as browser, serving(project, port):
        photograph(browser, (project / "runs" / "auto-mpg" / run_id / "index.html").as_uri(), "run-page")
        address = f"http://127.0.0.1:{port}/"
        photograph(browser, address, "client-page", height=950, until=_PREDICTED)
        photograph(browser, address, "client-phone", 390, 844, dark=True, until=_PREDICTED)
        sweep = max(project.glob("runs/auto-mpg/sweeps/*/index.html"))
        photograph(browser, sweep.as_uri(), "sweep", height=640)


def photograph_comments(folder: Path) -> None:
    """Photographs a merge request that is worked by comments."""
    comments.write(folder / "comments.html")
    with tempfile.TemporaryDirectory() as home, open_browser(Path(home)) as browser:
        photograph(browser, (folder / "comments.html").as_uri(), "comments", 960, 1180)


@contextlib.contextmanager
def serving(project: Path, port: int) -> Iterator[None]:
    """Serves the champion of the tour while the block runs; the browser waits until it answers."""
    with subprocess.Popen(
        ["nbship", "serve", "auto-mpg", "--port", str(port)],
        cwd=project,
        env=environment(project),
        stdout=subprocess.DEVNULL,
    ) as server:
        try:
            wait_until_served(port)
            yield
        finally:
            server.terminate()


def wait_until_served(port: int) -> None:
    """Waits until something listens on a port of this machine."""
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise SystemExit("the champion is not served within a minute")


def photograph(
    browser: Browser,
    address: str,
    name: str,
    width: int = 1120,
    height: int = 1100,
    dark: bool = False,
    until: str = "document.readyState === 'complete'",
) -> None:
    """Takes a picture of the upper part of a page, in pixels of CSS, once a script gives something true."""
    browser.look(width, height, dark)
    browser.open(address)
    browser.wait(f"location.href !== 'about:blank' && {until}")
    taken = PICTURES / f"{name}.png"
    browser.photograph(taken)
    save_small(taken.read_bytes(), taken)


def save_small(png: bytes, path: Path) -> None:
    """Writes a picture with few colours, which suits plots and pages."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def renew_tables() -> None:
    """Writes the tables of keys into the reference of the pipeline file."""
    text = REFERENCE.read_text("utf-8")
    REFERENCE.write_text(
        _TABLE.sub(lambda found: found[1] + table(getattr(config, found["model"])), text), "utf-8"
    )


def table(model: type[BaseModel]) -> str:
    """Returns the keys of one of the pipeline file's models as a Markdown table."""
    schemas = model.model_json_schema()["properties"]
    rows = [
        f"| `{name}` | {type_text(schemas[name])} | {default_text(field)} | {field.description} |"
        for name, field in model.model_fields.items()
    ]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def type_text(schema: Mapping[str, Any]) -> str:
    """Returns in words what the JSON schema of a key accepts."""
    if kinds := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(type_text(kind) for kind in kinds if kind.get("type") != "null"))
    if "$ref" in schema:
        return "[mapping](#{})".format(SECTIONS[schema["$ref"].rpartition("/")[2]])
    if "enum" in schema:
        return " or ".join(f"`{word}`" for word in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "type" not in schema:
        return "value"
    if schema["type"] == "array":
        return f"list: {type_text(schema['items'])}"
    if schema["type"] == "object":
        patterns = schema.get("patternProperties", {})
        values = next(iter(patterns.values()), None) or schema.get("additionalProperties")
        return f"name: {type_text(values)}" if isinstance(values, dict) else "name: value"
    if schema.get("pattern") == config.NAME_PATTERN:
        return "name"
    bounds = "".join(f" {sign} {schema[key]:g}" for key, sign in _BOUNDS.items() if key in schema)
    return f"{_TYPES[schema['type']]}{bounds}"


def default_text(field: FieldInfo) -> str:
    """Returns a key's default as YAML writes it."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, dict) and any(isinstance(value, BaseModel) for value in default.values()):
        return ", ".join(f"`{name}`" for name in default)
    return (
        "none"
        if default in (None, "", [], {}) or isinstance(default, BaseModel)
        else f"`{json.dumps(default)}`"
    )


if __name__ == "__main__":
    main()
