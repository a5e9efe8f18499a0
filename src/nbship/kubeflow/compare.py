"""Says in a few words how a compiled pipeline differs from another: which step, and what of it.

Not a textual diff: Git shows that.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

_NO_PIPELINE = "it is not a compiled pipeline"
_Tree = Mapping[str, Any]


def differences(old: str, new: str) -> list[str]:
    """Compares two compiled pipelines.

    Args:
        old: The YAML of one, or any text.
        new: The YAML of the other, as `nbship.kubeflow.compile` writes it.

    Returns:
        Short reasons, such as `train: notebook code`; none if the texts are equal.
    """
    if old == new:
        return []
    before, after = (_merged(_read(text)) for text in (old, new))
    if "root" not in before or "deploymentSpec" not in before:
        return [_NO_PIPELINE]
    try:
        found = [*_compiler(before, after), *_parameters(before, after), *_steps(before, after)]
    except (AttributeError, TypeError, KeyError, ValueError):
        # The keys are there, and something else than mappings under them.
        return [_NO_PIPELINE]
    return found or ["another nbship generated it, or a hand edited it"]


def _read(text: str) -> list[_Tree]:
    try:
        trees = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return []
    return [tree for tree in trees if isinstance(tree, dict)]


def _merged(documents: list[_Tree]) -> _Tree:
    """The pipeline, with the platform's settings in it where there are any."""
    tree: dict[str, Any] = {}
    for document in documents:
        tree |= document
    return tree


def _tasks(tree: _Tree) -> dict[str, Any]:
    """The tasks of the pipeline and of all that is nested in it, but for the nests themselves."""
    nests = [tree["root"], *_subtree(tree, "components").values()]
    tasks = {name: task for nest in nests for name, task in _subtree(nest, "dag", "tasks").items()}
    return {
        name: task
        for name, task in tasks.items()
        if "dag" not in _subtree(tree, "components", f"comp-{name}")
    }


def _compiler(before: _Tree, after: _Tree) -> Iterator[str]:
    if before.get("sdkVersion") != after["sdkVersion"]:
        yield f"compiled with {before.get('sdkVersion')}, not {after['sdkVersion']}"
    if before.get("pipelineInfo") != after["pipelineInfo"]:
        yield "the pipeline's name or description"


def _parameters(before: _Tree, after: _Tree) -> Iterator[str]:
    old, new = (_subtree(tree, "root", "inputDefinitions", "parameters") for tree in (before, after))
    for name in sorted({*old, *new}):
        was, now = old.get(name), new.get(name)
        if was is None or now is None:
            yield f"parameter {name} is {'new' if was is None else 'gone'}"
        elif was.get("defaultValue") != now.get("defaultValue"):
            values = (json.dumps(side.get("defaultValue"), ensure_ascii=False) for side in (was, now))
            yield f"parameter {name}: {' → '.join(values)}"
        elif was != now:
            yield f"parameter {name}: type or description"


def _steps(before: _Tree, after: _Tree) -> Iterator[str]:
    old, new = _tasks(before), _tasks(after)
    images = {_images(name, before, after) for name in old.keys() & new.keys()}
    everywhere = images.pop() if len(images) == 1 else ("", "")
    yield from _image(*everywhere)
    alike: dict[str, list[str]] = {}
    for name in sorted({*old, *new}):
        if name not in old or name not in new:
            yield f"{name} is {'new' if name not in old else 'gone'}"
        elif changed := dict.fromkeys(
            [*_task(old[name], new[name]), *_component(name, before, after, everywhere)]
        ):
            alike.setdefault(", ".join(changed), []).append(name)
    yield from (f"{', '.join(names)}: {changed}" for changed, names in alike.items())


def _task(old: _Tree, new: _Tree) -> Iterator[str]:
    names = {
        "cachingOptions": "cache",
        "retryPolicy": "retries",
        "inputs": "wiring",
        "dependentTasks": "wiring",
    }
    yield from (name for key, name in names.items() if old.get(key) != new.get(key))


def _images(name: str, *trees: _Tree) -> tuple[str, ...]:
    """The image that a task runs in, in each of the pipelines."""
    containers = (
        _subtree(tree, "deploymentSpec", "executors", f"exec-{name}", "container") for tree in trees
    )
    return tuple(str(container.get("image")) for container in containers)


def _image(old: str, new: str) -> Iterator[str]:
    if old != new:
        yield f"image {old} → {new}"


def _component(name: str, before: _Tree, after: _Tree, told: tuple[str, ...]) -> Iterator[str]:
    """Compares what a task runs; the keys are those that KFP derives from the task's name."""
    old, new = (_subtree(tree, "components", f"comp-{name}") for tree in (before, after))
    interfaces = {"inputDefinitions": "inputs", "outputDefinitions": "outputs"}
    yield from (word for key, word in interfaces.items() if old.get(key) != new.get(key))
    old, new = (
        _subtree(tree, "deploymentSpec", "executors", f"exec-{name}", "container") for tree in (before, after)
    )
    images = _images(name, before, after)
    yield from _image(*images) if images != told else ()
    if old.get("resources") != new.get("resources"):
        yield "cpu, memory or gpu"
    if old.get("env") != new.get("env"):
        yield "env"
    pods = [
        _subtree(tree, "platforms", "kubernetes", "deploymentSpec", "executors", f"exec-{name}")
        for tree in (before, after)
    ]
    names = {"secretAsEnv": "secrets", "nodeSelector": "node_selector", "tolerations": "tolerations"}
    yield from (word for key, word in names.items() if pods[0].get(key) != pods[1].get(key))
    if old.get("command") != new.get("command"):
        yield from _code(str(old.get("command", [""])[-1]), str(new["command"][-1]))


def _code(old: str, new: str) -> Iterator[str]:
    """Compares the arguments of the one call in two components, above all the notebook."""
    was, now = _settings(old), _settings(new)
    before, after = was.pop("notebook", None), now.pop("notebook", None)
    if before != after and isinstance(before, dict) and isinstance(after, dict):
        code = [[c["source"] for c in n["cells"] if c["cell_type"] == "code"] for n in (before, after)]
        yield "notebook code" if code[0] != code[1] else "notebook text"
    elif before and after and before != after:
        yield "notebook code"
    files = [side.pop("files", None) or {} for side in (was, now)]
    yield from (path for path in sorted({*files[0], *files[1]}) if files[0].get(path) != files[1].get(path))
    names = {"variables": "env"}
    yield from (names.get(key, key) for key in sorted({*was, *now}) if was.get(key) != now.get(key))


def _settings(source: str) -> dict[str, Any]:
    """The keyword arguments that a component passes on, as plain data."""
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        settings = {k.arg: ast.literal_eval(k.value) for call in calls for k in call.keywords if k.arg}
        return {k: json.loads(v) if k in ("notebook", "files") else v for k, v in settings.items()}
    except (ValueError, SyntaxError):
        return {}


def _subtree(tree: _Tree, *keys: str) -> dict[str, Any]:
    for key in keys:
        tree = tree.get(key) or {}
    return dict(tree)
