"""Compiles pipelines for Kubeflow, and the schema with which editors complete pipeline files; or checks both.

What is generated is committed, so that a reviewer sees what will run; the check keeps it current.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbship import config, files
from nbship.errors import UsageError
from nbship.graph import CHAMPION, Graph, read_graph, with_champion
from nbship.own_code import require_portable, step_code
from nbship.project import PIPELINES
from nbship.versions import dvc, git
from nbship.workflow.image import image_reference, with_image

COMPILED = Path(PIPELINES, "compiled")
RESOURCES = Path("kubernetes", "kubeflow")


@dataclass(frozen=True)
class Generated:
    """A generated file.

    Attributes:
        path: The file.
        text: What it holds when it is current.
        stale: Why what is there is not current; empty if it is.
        command: What a person types to renew it.
    """

    path: Path
    text: str
    stale: tuple[str, ...]
    command: str

    def write(self) -> None:
        """Makes the file current; one that is current keeps its time of change."""
        if self.stale:
            files.write_text(self.path, self.text)


def compile_pipeline(
    root: Path,
    name: str,
    output: Path | None = None,
    overrides: Sequence[str] = (),
    override_files: Sequence[Path] = (),
) -> Generated:
    """Compiles a pipeline and compares it with the file that is there; writes nothing.

    No variable of the environment goes in, so the same files give the same text everywhere. With the
    notebooks go the project's modules and files that they use. The project's image has no tag in the file
    that is committed, since `submit` puts it in; in a file elsewhere, which is for other clients, it has.

    Args:
        root: The project's folder.
        name: The pipeline.
        output: The file, if it is not `pipelines/compiled/NAME.yaml`.
        overrides: Settings laid over the pipeline file, as `nbship run --set` takes them.
        override_files: YAML files laid over it before.

    Raises:
        UsageError: The pipeline file, a notebook or the wiring is wrong, or Kubeflow cannot take it, or
            something that a notebook uses cannot go with it.
    """
    from nbship.kubeflow.compare import differences
    from nbship.kubeflow.compile import compile_graph

    pipeline = config.load_pipeline(root, name, overrides, override_files)
    if output:
        pipeline = pipeline.model_copy(update={"image": image_reference(root, pipeline.image)})
    graph = read_graph(root, pipeline)
    tracked = {key: dvc.read(root / data.path) for key, data in graph.pipeline.data.items()}
    code = own_files(root, with_champion(graph, Path(CHAMPION)))
    text = compile_graph(graph, {key: found.md5 for key, found in tracked.items() if found}, code)
    path = output or root / COMPILED / f"{name}.yaml"
    old = _read(path)
    stale = ["it is missing"] if old is None else differences(old, text)
    return Generated(path, text, tuple(stale), f"nbship compile {name}")


def generate_resources(
    root: Path, name: str, overrides: Sequence[str] = (), override_files: Sequence[Path] = ()
) -> list[Generated]:
    """Generates a pipeline's Kubernetes resources and compares them with the files that are there.

    They name the image with its tag, which nobody puts in later: not nbship applies them. The pipeline and
    its version are apart, because Kubeflow takes a version only once the pipeline is there.

    Args:
        root: The project's folder.
        name: The pipeline.
        overrides: Settings laid over the pipeline file, as `nbship run --set` takes them.
        override_files: YAML files laid over it before.

    Raises:
        UsageError: As `compile_pipeline`.
    """
    from nbship.kubeflow.resources import pipeline_resource, version_resource

    pipeline = config.load_pipeline(root, name, overrides, override_files)
    compiled = compile_pipeline(root, name, None, overrides, override_files).text
    text, _ = with_image(compiled, pipeline.image, image_reference(root, pipeline.image))
    namespace = pipeline.kubeflow.namespace or ""
    written = {
        "pipelines": pipeline_resource(text, namespace),
        "versions": version_resource(text, namespace),
    }
    found = []
    for folder, content in written.items():
        path = root / RESOURCES / folder / f"{name}.yaml"
        old = _read(path)
        stale = "it is missing" if old is None else "it is of another version" if old != content else ""
        found.append(
            Generated(path, content, (stale,) if stale else (), f"nbship compile {name} --kubernetes")
        )
    return found


def own_files(root: Path, graph: Graph) -> dict[str, dict[str, bytes]]:
    """Reads what of the project goes with each notebook: content by path, by step.

    Raises:
        UsageError: Something that a notebook uses cannot go with it; names the cell and the line.
    """
    codes = {step.name: step_code(root, graph, step) for step in graph.steps.values()}
    for code in codes.values():
        require_portable(code)
    used = {path: where for code in codes.values() for path, where in code.files.items()}
    for path in git.ignored(root, list(used)):
        raise UsageError(
            f"{used[path]}: uses {path.relative_to(root.absolute())}, which Git ignores",
            "commit it, or take it as an input that another step or DVC provides",
        )
    contents = {path: path.read_bytes() for path in used}
    return {
        name: {path.relative_to(root.absolute()).as_posix(): contents[path] for path in code.files}
        for name, code in codes.items()
    }


def generate_schemas(root: Path) -> list[Generated]:
    """Generates the JSON schemas of the project's files and compares them with the files that are there."""
    return [
        _generate_schema(root / PIPELINES / name, schema) for name, schema in config.json_schemas().items()
    ]


def _generate_schema(path: Path, schema: Mapping[str, Any]) -> Generated:
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    old = _read(path)
    stale = "it is missing" if old is None else "nbship understands other keys" if old != text else ""
    return Generated(path, text, (stale,) if stale else (), "nbship schema")


def _read(path: Path) -> str | None:
    """The text of a file, with bytes that are no text replaced: then it is merely different."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise files.disk_error(error, path) from None
