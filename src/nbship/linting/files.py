"""Paths in the code, and the signature against the code: undeclared files, outputs never written."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nbship.errors import UsageError
from nbship.linting.cells import Cell, Source
from nbship.linting.finding import Finding
from nbship.notebook import Role, Signature, read_signature

# The folders that machines have at their root; `/v1/models` is an address, not a path.
_ROOTS = "|".join(
    [
        *("home", "Users", "root", "tmp", "var", "mnt", "media", "opt", "srv", "etc", "usr", "private"),
        *("Volumes", "data", "content", "kaggle", "workspace", "workspaces", "dbfs"),
    ]
)
_ABSOLUTE = re.compile(rf"^(~[\w.-]*[/\\]|[A-Za-z]:[/\\]|\\\\\w|file://|/({_ROOTS})(/|$))")
_READERS = re.compile(r"^(pd|pandas|pl|polars)\.(read_\w+|scan_\w+)$")
_READ_CALLS = {
    *(
        "open",
        "io.open",
        "joblib.load",
        "np.load",
        "numpy.load",
        "np.loadtxt",
        "np.genfromtxt",
        "numpy.loadtxt",
    ),
    *("plt.imread", "Image.open", "PIL.Image.open", "torch.load", "urlopen", "urllib.request.urlopen"),
    *("requests.get", "xr.open_dataset", "cv2.imread", "h5py.File", "pickle.load"),
}
_PATH_READS = {"open", "read_text", "read_bytes"}
_IGNORED_TARGETS = {"/dev/null", "/dev/stdin", "/dev/stdout", "/dev/stderr"}


def absolute_paths(notebook: Source) -> Iterator[Finding]:
    """Finds paths that only this machine has."""
    for cell in notebook.code:
        documentation = {id(node) for node in _docstrings(cell.tree)}
        for node in ast.walk(cell.tree):
            if (
                not isinstance(node, ast.Constant)
                or not isinstance(node.value, str)
                or id(node) in documentation
            ):
                continue
            if _ABSOLUTE.match(node.value) and node.value not in _IGNORED_TARGETS:
                message = f"the path '{_short(node.value)}' is there on this machine only"
                yield Finding(notebook.name, cell.number, node.lineno, "absolute-path", message)


def undeclared_inputs(notebook: Source) -> Iterator[Finding]:
    """Finds files that a step reads by a name in its code; neither the cache nor Kubeflow knows of them."""
    if notebook.parameters is None:
        return
    constants: dict[str, str] = {}
    for cell in notebook.code:
        if cell is notebook.parameters:
            continue
        for node in ast.walk(cell.tree):
            if (
                isinstance(node, ast.Assign)
                and len(node.targets) == 1
                and isinstance(node.targets[0], ast.Name)
            ):
                text = _path_text(node.value, constants)
                if text is not None:
                    constants[node.targets[0].id] = text
        for node in ast.walk(cell.tree):
            path = _read_path(node, constants) if isinstance(node, ast.Call) else None
            if path:
                message = f"'{_short(path)}' is read, and no Input declares it"
                yield Finding(notebook.name, cell.number, node.lineno, "undeclared-input", message)  # type: ignore[attr-defined]


def unused_variables(notebook: Source) -> Iterator[Finding]:
    """Finds variables of the parameters cell that the code never uses, and results that it never sets."""
    signature = _signature(notebook)
    if signature is None or notebook.parameters is None:
        return
    others = [cell for cell in notebook.code if cell is not notebook.parameters]
    loaded, stored = set[str](), set[str]()
    for cell in others:
        for node in ast.walk(cell.tree):
            if isinstance(node, ast.Name):
                (loaded if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        if cell.has_magics:  # `!cp a {model}` uses it too
            loaded |= set(re.findall(r"\w+", cell.source))
    lines = _lines(notebook.parameters)
    rules = {Role.INPUT: "unused-input", Role.PARAMETER: "unused-parameter"}
    for name, variable in ((v.name, v) for v in signature.variables):
        result = variable.role is Role.RESULT
        if name in (stored if result else loaded):
            continue
        rule = rules.get(variable.role, "unused-output")
        what = "nothing sets it" if result else "no cell uses it"
        message = f"{name}: {variable.declaration} is declared, and {what}"
        yield Finding(notebook.name, notebook.parameters.number, lines.get(name, 0), rule, message)


def dotted(node: ast.expr) -> str:
    """Returns `a.b.c` of an expression; empty if it is anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def _signature(notebook: Source) -> Signature | None:
    try:
        return read_signature(notebook.parameters.source) if notebook.parameters else None
    except UsageError:  # told when the pipeline is read
        return None


def _lines(parameters: Cell) -> dict[str, int]:
    targets = ((node, getattr(node, "target", None) or node.targets[0]) for node in parameters.tree.body)  # type: ignore[attr-defined]
    return {target.id: node.lineno for node, target in targets if isinstance(target, ast.Name)}


def _read_path(call: ast.Call, constants: dict[str, str]) -> str | None:
    """The path that a call reads, where it is written in the code."""
    name = dotted(call.func)
    if isinstance(call.func, ast.Attribute) and call.func.attr in _PATH_READS and not _writes(call, 0):
        inner = call.func.value
        if isinstance(inner, ast.Call) and dotted(inner.func).rpartition(".")[2] == "Path":
            return _first_text(inner, constants)
        if isinstance(inner, ast.Name) and name not in _READ_CALLS:
            return constants.get(inner.id)
    if (name in _READ_CALLS and not _writes(call, 1)) or _READERS.match(name):
        return _first_text(call, constants)
    return None


def _writes(call: ast.Call, position: int) -> bool:
    modes = [*call.args[position : position + 1], *(k.value for k in call.keywords if k.arg == "mode")]
    texts = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
    return any(set(text) & set("wax") and len(text) <= 3 for text in texts)


def _first_text(call: ast.Call, constants: dict[str, str]) -> str | None:
    return _path_text(call.args[0], constants) if call.args else None


def _path_text(node: ast.expr, constants: dict[str, str]) -> str | None:
    """The text of a path, as far as it is written in the code."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value or None
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == "Path" and len(node.args) == 1:
        return _path_text(node.args[0], constants)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        left, right = _path_text(node.left, constants), _path_text(node.right, constants)
        return f"{left}/{right}" if left and right else None
    return None


def _docstrings(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"
