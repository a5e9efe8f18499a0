"""Single values laid over a pipeline file: `--set a.b=value`, and variables such as `NBSHIP_A__B`.

Turns each into a tree that is merged like a file. Which of them wins is decided in `layers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nbship.config.locations import has, keys_at
from nbship.config.models import Pipeline
from nbship.errors import NbshipError, UsageError, suggestion
from nbship.notebook import read_notebook
from nbship.values import Text, ValueTypeError, parse_text, split_setting

PREFIX = "NBSHIP_"
_DOT = "__"


def from_setting(setting: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Turns `a.b=value` into a tree; `step.parameter` is short for `steps.step.parameters.parameter`.

    Args:
        setting: What a person typed after `--set`.
        tree: What it is laid over.

    Raises:
        UsageError: It is not of that form, or names nothing that the pipeline file can have.
    """
    keys, text = split_setting(setting)
    known = first_keys(tree)
    if len(keys) == 1 and keys[0] in _steps(tree):
        raise UsageError(
            f"--set {setting}: not of the form step.parameter=value", "for example --set train.folds=3"
        )
    if keys[0] not in known:
        raise UsageError(f"--set {setting}: there is no step or key '{keys[0]}'", suggestion(keys[0], known))
    return _tree(f"--set {setting}", keys, text, tree)


def variables(environment: Mapping[str, str]) -> list[str]:
    """Returns the variables that are overrides: of those that begin with NBSHIP_, those with a `__`."""
    return sorted(name for name in environment if name.startswith(PREFIX) and _DOT in name)


def concerns(name: str, tree: Mapping[str, Any]) -> bool:
    """Returns whether a variable is for a pipeline: it has that step or section, or every pipeline has."""
    first = next((_match(part, first_keys(tree)) for part in _parts(name)), "")
    if first in tree or first in _steps(tree):
        return True
    return bool(first) and Pipeline.model_fields[first].default is not None


def from_variable(root: Path, name: str, text: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Turns a variable such as `NBSHIP_TRAIN__FOLDS` and its text into a tree, as `from_setting` does.

    `__` stands for the dot. A key is found whatever its case, and with `_` for `-`, for shells take no `-`;
    one that is written exactly goes first.

    Args:
        root: The project's folder, for the notebooks that declare the parameters.
        name: The variable.
        text: What it holds.
        tree: What it is laid over.

    Raises:
        UsageError: It names a step alone, or its text cannot be read.
    """
    keys: list[str] = []
    for part in _parts(name):
        known = _known(root, keys, tree)
        keys.append(_match(part, known) or (part.lower() if keys_at(_full(keys, tree)) else part))
    if len(keys) == 1 and keys[0] in _steps(tree):
        raise UsageError(f"{name}: not of the form NBSHIP_STEP__PARAMETER", "for example NBSHIP_TRAIN__FOLDS")
    return _tree(name, keys, text, tree)


def misspelt(name: str, keys: Iterable[str]) -> UsageError:
    """Returns what to tell of a variable that no pipeline of the project has a use for.

    Args:
        name: The variable.
        keys: The steps and keys that there are.
    """
    first = ".".join(_parts(name)[:1]).lower()
    return UsageError(f"{name}: no pipeline has a step or key '{first}'", suggestion(first, keys))


def _parts(name: str) -> list[str]:
    return [part for part in name.removeprefix(PREFIX).lstrip("_").split(_DOT) if part]


def first_keys(tree: Mapping[str, Any]) -> list[str]:
    """Returns what may stand before the first dot: the steps, and the keys of every pipeline file."""
    return [*_steps(tree), *Pipeline.model_fields]


def _steps(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    steps = tree.get("steps")
    return steps if isinstance(steps, Mapping) else {}


def _full(keys: Sequence[str], tree: Mapping[str, Any]) -> list[str]:
    """The whole place: a step's name alone stands for its parameters."""
    return ["steps", keys[0], "parameters", *keys[1:]] if keys and keys[0] in _steps(tree) else list(keys)


def _known(root: Path, keys: Sequence[str], tree: Mapping[str, Any]) -> list[str]:
    """The keys that may follow others: the file's, the schema's, and the parameters of a step's notebook."""
    if not keys:
        return first_keys(tree)
    location = _full(keys, tree)
    held: Any = tree
    for key in location:
        held = held.get(key) if isinstance(held, Mapping) else None
    known = [*(held if isinstance(held, Mapping) else ()), *keys_at(location)]
    if location[0] == "steps" and location[2:] == ["parameters"]:
        known += _declared(root, _steps(tree).get(location[1]))
    return list(dict.fromkeys(map(str, known)))


def _declared(root: Path, step: Any) -> list[str]:
    notebook = step.get("notebook") if isinstance(step, Mapping) else None
    try:
        return list(read_notebook(root / str(notebook)).signature.parameters) if notebook else []
    except NbshipError:  # told where the notebook is needed, with all that is wrong in it
        return []


def _match(part: str, known: Iterable[str]) -> str:
    names = list(known)
    if part in names:
        return part
    near = [name for name in names if _plain(name) == _plain(part)]
    return near[0] if len(near) == 1 else ""


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")


def _tree(origin: str, keys: Sequence[str], text: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    location = _full(keys, tree)
    in_parameters = location[0] == "steps" and location[2:3] == ["parameters"]
    if in_parameters and len(location) > 4 and not has(tree, location[:-1]):
        raise UsageError(
            f"{origin}: the pipeline file has no {'.'.join(location[:-1])} to change",
            f"give the whole value: --set '{location[1]}.{location[3]}={{…}}'",
        )
    try:
        value: Any = Text(text) if in_parameters and len(location) == 4 else parse_text(text)
    except ValueTypeError as error:
        raise UsageError(f"{origin}: the value {error}", "quote it as YAML does") from None
    for key in reversed(location):
        value = {key: value}
    return dict(value)
