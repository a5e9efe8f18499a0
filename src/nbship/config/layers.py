"""Lays a pipeline file over `nbship.yaml`, overrides over both, validates it all, and names wrong lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from nbship.config.base import Model
from nbship.config.locations import has, keys_at, line_of
from nbship.config.models import Pipeline
from nbship.config.overrides import concerns, first_keys, from_setting, from_variable, misspelt, variables
from nbship.config.project_file import ProjectFile, under, written_at
from nbship.config.sources import SOURCE_KINDS
from nbship.errors import UsageError, suggestion
from nbship.project import PIPELINES, SETTINGS, pipeline_names
from nbship.values import describe, parse_yaml

M = TypeVar("M", bound=Model)
# What pydantic puts into the place of an error that is in no file.
_NO_KEYS = ("[key]", *SOURCE_KINDS)


def load_pipeline(
    root: Path,
    name: str,
    overrides: Sequence[str] = (),
    override_files: Sequence[Path] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Pipeline:
    """Reads `pipelines/NAME.yaml`, lays everything else that a person said over it, and validates the whole.

    It lies over `nbship.yaml`. Override files are laid over it first, then variables, then settings.

    Args:
        root: The project's folder.
        name: The pipeline.
        overrides: Settings such as `train.C=3` (a parameter of a step) or `steps.train.memory=2Gi`.
        override_files: YAML files that are merged into the pipeline file, mapping by mapping.
        environment: Variables such as `NBSHIP_TRAIN__C`; none where a result must not depend on the machine.

    Raises:
        UsageError: There is no such pipeline, or something in it is not understood.
    """
    return pipeline_of(name, read_layers(root, name, overrides, override_files, environment))


def read_layers(
    root: Path,
    name: str,
    overrides: Sequence[str] = (),
    override_files: Sequence[Path] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> list[Layer]:
    """Reads what `load_pipeline` lays over each other, lowest first; takes the same arguments."""
    path = root / PIPELINES / f"{name}.yaml"
    if not path.is_file():
        raise UsageError(
            f"there is no pipeline '{name}' in {PIPELINES}/", suggestion(name, pipeline_names(root))
        )
    own = _read_layer(path, path.relative_to(root).as_posix())
    layers = [*_shared(root, own.tree), own]
    layers += [_read_layer(file, str(file)) for file in override_files]
    for variable in _variables(root, environment, merged(layers)):
        tree = from_variable(root, variable, environment[variable], merged(layers))
        layers.append(Layer(variable, tree))
    for setting in overrides:
        layers.append(Layer(f"--set {setting}", from_setting(setting, merged(layers))))
    return layers


def pipeline_of(name: str, layers: Sequence[Layer]) -> Pipeline:
    """Validates what layers say together.

    Raises:
        UsageError: Names the first thing that is wrong, and the layer that says it.
    """
    pipeline = _validated(merged(layers), layers, Pipeline)
    if pipeline.name != name:
        raise UsageError(
            f"{_file(layers).origin}: name is '{pipeline.name}'", f"write name: {name}, or rename the file"
        )
    return pipeline


def merged(layers: Iterable[Layer]) -> dict[str, Any]:
    """Returns what layers say together, later ones over earlier ones."""
    return reduce(lambda tree, layer: merge(tree, layer.tree), layers, {})


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lays one tree over another: mappings merge key by key at every depth, anything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def validate(tree: Mapping[str, Any], origin: str, text: str = "") -> Pipeline:
    """Validates the content of a pipeline file.

    Args:
        tree: What the file says.
        origin: How errors call the file.
        text: The file's text, to name the line of an error.

    Raises:
        UsageError: Names the first thing that is wrong, its line, and what is accepted.
    """
    return _validated(tree, [Layer(origin, tree, text)], Pipeline)


def json_schemas() -> dict[str, dict[str, Any]]:
    """Returns the JSON schemas of pipeline files and of `nbship.yaml` by file name, for editors."""
    models: dict[str, type[Model]] = {"schema.json": Pipeline, "project-schema.json": ProjectFile}
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {name: {**dialect, **model.model_json_schema()} for name, model in models.items()}


def read_project(root: Path) -> ProjectFile:
    """Reads `nbship.yaml`; without the file, nothing is shared.

    Raises:
        UsageError: Something in it is not understood.
    """
    path = root / SETTINGS
    layer = _read_layer(path, SETTINGS) if path.is_file() else Layer(SETTINGS, {})
    return _validated(layer.tree, [layer], ProjectFile)


def parse_project(text: str, origin: str) -> ProjectFile:
    """Reads the text of a `nbship.yaml` that is elsewhere, such as on another branch.

    Raises:
        UsageError: Something in it is not understood.
    """
    layer = _parsed(text, origin)
    return _validated(layer.tree, [layer], ProjectFile)


@dataclass(frozen=True)
class Layer:
    """What one file, variable or setting says.

    Attributes:
        origin: How errors call it.
        tree: What it says.
        text: The text of a file.
        at: Where the file says what the tree has at a place.
    """

    origin: str
    tree: Mapping[str, Any]
    text: str = ""
    at: Callable[[Sequence[str]], Sequence[str]] = tuple

    def line(self, location: Sequence[str]) -> int | None:
        """Returns the line that says something; None if it is no file's."""
        return line_of(self.text, self.at(location))


def _shared(root: Path, pipeline: Mapping[str, Any]) -> list[Layer]:
    """What `nbship.yaml` says of a pipeline, if there is one."""
    path = root / SETTINGS
    if not path.is_file():
        return []
    layer = _read_layer(path, SETTINGS)
    _validated(layer.tree, [layer], ProjectFile)
    return [Layer(SETTINGS, under(layer.tree, pipeline), layer.text, written_at)]


def _file(layers: Sequence[Layer]) -> Layer:
    """The pipeline file, which answers for what is missing."""
    return next((layer for layer in layers if layer.origin != SETTINGS), layers[0])


def _read_layer(path: Path, origin: str) -> Layer:
    try:
        return _parsed(path.read_text(encoding="utf-8"), origin)
    except OSError as error:
        raise UsageError(f"{origin}: {error.strerror}", "check the path") from None
    except UnicodeDecodeError:
        raise UsageError(f"{origin}: not UTF-8 text", "save it as UTF-8") from None


def _parsed(text: str, origin: str) -> Layer:
    try:
        tree = parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{origin}{line}: {error.problem}", "correct the YAML") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{origin}: {error}", "correct the YAML") from None
    if tree is None and origin.startswith(SETTINGS):  # all of it is comments
        tree = {}
    if not isinstance(tree, dict):
        raise UsageError(f"{origin}: not a mapping of keys to values", "start with 'name: …'")
    return Layer(origin, tree, text)


def _variables(root: Path, environment: Mapping[str, str], tree: Mapping[str, Any]) -> list[str]:
    """The variables that are for this pipeline; one that is for none of the project's is misspelt."""
    given = variables(environment)
    others = [name for name in given if not concerns(name, tree)]
    if others:
        files = [root / PIPELINES / f"{name}.yaml" for name in pipeline_names(root)]
        trees = [_read_layer(file, file.relative_to(root).as_posix()).tree for file in files]
        for name in others:
            if not any(concerns(name, each) for each in trees):
                raise misspelt(name, {key for each in trees for key in first_keys(each)})
    return [name for name in given if name not in others]


def _validated(tree: Mapping[str, Any], layers: Sequence[Layer], model: type[M]) -> M:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise _explained(error, layers, model) from None


def _explained(error: ValidationError, layers: Sequence[Layer], model: type[Model]) -> UsageError:
    """Tells of the first thing that is wrong: where it is written, and what is accepted there."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"] if part not in _NO_KEYS]
    layer = next(
        (layer for layer in reversed(layers) if location and has(layer.tree, location)), _file(layers)
    )
    line = layer.line(location)
    where = f"{layer.origin}{f', line {line}' if line else ''}"
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = keys_at(location[:-1], model)
        return UsageError(f"{where}: unknown key '{key}'", suggestion(location[-1], known))
    if first["type"] == "missing":
        return UsageError(f"{where}: '{key}' is missing", f"add {location[-1]}: …")
    given = "" if first["type"] == "value_error" else f" (given: {describe(first['input'])})"
    message = str(first["msg"]).removeprefix("Value error, ")
    return UsageError(f"{where}: {key + ': ' if key else ''}{message}{given}", "see docs/pipeline-file.md")
