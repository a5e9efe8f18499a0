"""Reads a pipeline file, lays overrides over it, validates the whole, and names the line of what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from nbship.config.models import Pipeline
from nbship.errors import UsageError, suggestion
from nbship.project import PIPELINES, pipeline_names
from nbship.values import Text, ValueTypeError, describe, parse_text, parse_yaml


def load_pipeline(
    root: Path, name: str, overrides: Sequence[str] = (), override_files: Sequence[Path] = ()
) -> Pipeline:
    """Reads `pipelines/NAME.yaml`, lays override files and then `a.b=value` settings over it, and validates.

    Args:
        root: The project's folder.
        name: The pipeline.
        overrides: Settings such as `train.C=3` (a parameter of a step) or `steps.train.memory=2Gi`.
        override_files: YAML files that are merged into the pipeline file, mapping by mapping.

    Raises:
        UsageError: There is no such pipeline, or something in it is not understood.
    """
    path = root / PIPELINES / f"{name}.yaml"
    if not path.is_file():
        raise UsageError(
            f"there is no pipeline '{name}' in {PIPELINES}/", suggestion(name, pipeline_names(root))
        )
    origin = path.relative_to(root).as_posix()
    layers = [_read_layer(path, origin), *(_read_layer(file, str(file)) for file in override_files)]
    tree: dict[str, Any] = {}
    for layer in layers:
        tree = merge(tree, layer.tree)
    for setting in overrides:
        layers.append(_Layer(f"--set {setting}", _setting(setting, tree)))
        tree = merge(tree, layers[-1].tree)
    pipeline = _validated(tree, layers)
    if pipeline.name != name:
        raise UsageError(f"{origin}: name is '{pipeline.name}'", f"write name: {name}, or rename the file")
    return pipeline


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
    return _validated(tree, [_Layer(origin, tree, text)])


def json_schema() -> dict[str, Any]:
    """Returns the JSON schema of a pipeline file, from which editors complete."""
    schema = Pipeline.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@dataclass(frozen=True)
class _Layer:
    """What one file or setting says; later layers lie over earlier ones."""

    origin: str
    tree: Mapping[str, Any]
    text: str = ""


def _read_layer(path: Path, origin: str) -> _Layer:
    try:
        text = path.read_text(encoding="utf-8")
        tree = parse_yaml(text)
    except OSError as error:
        raise UsageError(f"{origin}: {error.strerror}", "check the path") from None
    except UnicodeDecodeError:
        raise UsageError(f"{origin}: not UTF-8 text", "save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{origin}{line}: {error.problem}", "correct the YAML") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{origin}: {error}", "correct the YAML") from None
    if not isinstance(tree, dict):
        raise UsageError(f"{origin}: not a mapping of keys to values", "start with 'name: …'")
    return _Layer(origin, tree, text)


def _validated(tree: Mapping[str, Any], layers: Sequence[_Layer]) -> Pipeline:
    try:
        return Pipeline.model_validate(tree)
    except ValidationError as error:
        raise _explained(error, layers) from None


def _explained(error: ValidationError, layers: Sequence[_Layer]) -> UsageError:
    """Tells of the first thing that is wrong: where it is written, and what is accepted there."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"] if part != "[key]"]
    layer = next((layer for layer in reversed(layers) if location and _has(layer.tree, location)), layers[0])
    line = _line(layer.text, location)
    where = f"{layer.origin}{f', line {line}' if line else ''}"
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        return UsageError(f"{where}: unknown key '{key}'", suggestion(location[-1], known))
    if first["type"] == "missing":
        return UsageError(f"{where}: '{key}' is missing", f"add {location[-1]}: …")
    given = "" if first["type"] == "value_error" else f" (given: {describe(first['input'])})"
    message = str(first["msg"]).removeprefix("Value error, ")
    return UsageError(f"{where}: {key + ': ' if key else ''}{message}{given}", "see docs/pipeline-file.md")


def _setting(setting: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Turns `a.b=value` into a tree; `step.parameter` is short for `steps.step.parameters.parameter`."""
    steps = tree.get("steps")
    steps = steps if isinstance(steps, Mapping) else {}
    path, equals, text = setting.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys) or (len(keys) == 1 and keys[0] in steps):
        raise UsageError(
            f"--set {setting}: not of the form step.parameter=value", "for example --set train.folds=3"
        )
    if keys[0] in steps:
        keys = ["steps", keys[0], "parameters", *keys[1:]]
    elif keys[0] not in Pipeline.model_fields:
        known = [*steps, *Pipeline.model_fields]
        raise UsageError(f"--set {setting}: there is no step or key '{keys[0]}'", suggestion(keys[0], known))
    in_parameters = keys[0] == "steps" and keys[2:3] == ["parameters"]
    if in_parameters and len(keys) > 4 and not _has(tree, keys[:-1]):
        raise UsageError(
            f"--set {setting}: the pipeline file has no {'.'.join(keys[:-1])} to change",
            f"give the whole value: --set '{keys[1]}.{keys[3]}={{…}}'",
        )
    try:
        value: Any = Text(text) if in_parameters and len(keys) == 4 else parse_text(text)
    except ValueTypeError as error:
        raise UsageError(f"--set {setting}: the value {error}", "quote it as YAML does") from None
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _has(tree: Any, location: Iterable[str]) -> bool:
    for part in location:
        if isinstance(tree, list):
            return True
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True


def _keys_at(location: Iterable[str]) -> list[str]:
    """The keys that the schema knows at a location of the pipeline file."""
    schema = Pipeline.model_json_schema()
    node: dict[str, Any] = schema
    for part in location:
        node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        if not isinstance(node, dict):
            return []
        references = [node, *node.get("anyOf", [])]
        name = next((r["$ref"].rpartition("/")[2] for r in references if "$ref" in r), None)
        node = schema["$defs"][name] if name else node
        if "patternProperties" in node and "properties" not in node:
            node = {**node, "additionalProperties": next(iter(node["patternProperties"].values()))}
    return list(node.get("properties", {}))


def _line(text: str, location: Iterable[str]) -> int | None:
    """The line of the deepest part of a location that the file's text has."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader) if text else None
    except yaml.YAMLError:
        return None
    line = None
    for part in location:
        if not isinstance(node, yaml.MappingNode):
            break
        pair = next(((key, value) for key, value in node.value if key.value == part), None)
        if pair is None:
            break
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line
