"""Paths in the code: those of one machine, and files that a step reads or writes without declaring them."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from nbship.errors import UsageError
from nbship.linting.branches import elsewhere
from nbship.linting.calls import argument, dotted, full_name, imports, short, text
from nbship.linting.cells import Cell, Source
from nbship.linting.finding import LintFinding
from nbship.project import project_root

# The folders that machines have at their root; `/v1/models` is an address, not a path.
_ROOTS = "|".join(
    [
        *("home", "Users", "root", "var", "mnt", "media", "opt", "srv", "etc", "usr", "private"),
        *("Volumes", "data", "content", "kaggle", "workspace", "workspaces", "dbfs"),
    ]
)
_ABSOLUTE = re.compile(rf"^(~[\w.-]*[/\\]|[A-Za-z]:[/\\](?![/\\]?\s)|\\\\\w|file://|/({_ROOTS})(/|$))")
# Functions that open, read or write a file, by the position and the name of its path.
_OPENED_BY: Mapping[str, tuple[int, str]] = {
    **dict.fromkeys(["open", "io.open", "zipfile.ZipFile", "numpy.memmap"], (0, "file")),
    **dict.fromkeys(["gzip.open", "bz2.open", "lzma.open", "codecs.open"], (0, "filename")),
    **dict.fromkeys(["tarfile.open", "h5py.File"], (0, "name")),
}
_READ_BY: Mapping[str, tuple[int, str]] = {
    "joblib.load": (0, "filename"),
    **dict.fromkeys(["numpy.load", "numpy.fromfile"], (0, "file")),
    **dict.fromkeys(["numpy.loadtxt", "numpy.genfromtxt"], (0, "fname")),
    **dict.fromkeys(["matplotlib.pyplot.imread", "imageio.imread", "skimage.io.imread"], (0, "fname")),
    **dict.fromkeys(["PIL.Image.open", "cv2.imread", "torch.load", "scipy.io.loadmat"], (0, "f")),
    **dict.fromkeys(["urllib.request.urlopen", "urllib.request.urlretrieve", "requests.get"], (0, "url")),
    **dict.fromkeys(
        ["xarray.open_dataset", "xarray.open_zarr", "geopandas.read_file"], (0, "filename_or_obj")
    ),
    **dict.fromkeys(["pyarrow.parquet.read_table", "sqlite3.connect"], (0, "database")),
    "sqlalchemy.create_engine": (0, "url"),
}
_TABLES = re.compile(r"^(pandas|polars)\.(?!read_(sql|gbq|clipboard|database))(read|scan)_\w+$")
_WRITTEN_BY: Mapping[str, tuple[int, str]] = {
    **dict.fromkeys(["numpy.save", "numpy.savez", "numpy.savez_compressed"], (0, "file")),
    **dict.fromkeys(["numpy.savetxt", "matplotlib.pyplot.imsave", "skimage.io.imsave"], (0, "fname")),
    **dict.fromkeys(["cv2.imwrite", "imageio.imwrite", "logging.FileHandler"], (0, "filename")),
    **dict.fromkeys(["pandas.ExcelWriter", "pandas.HDFStore"], (0, "path")),
    "joblib.dump": (1, "filename"),
    "torch.save": (1, "f"),
    **dict.fromkeys(["shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.move"], (1, "dst")),
}
# Methods of tables, figures and models.
_WRITING_METHODS = re.compile(
    r"^(to_(csv|parquet|json|excel|pickle|feather|hdf|html|latex|markdown|stata|xml|orc|netcdf|zarr|file)"
    r"|write_(html|image|csv|parquet|json|excel)|save(fig|_model|_weights|_pretrained)?|tofile)$"
)
_PATH_NAMES = ("path_or_buf", "path", "buf", "fname", "filename", "excel_writer", "file", "filepath", "fp")
_PATH_READS, _PATH_WRITES = {"read_text", "read_bytes"}, {"write_text", "write_bytes"}
# Calls that only ask for a file, or name one.
_ASKS = re.compile(
    r"^(print|display|len|str|os\.|pathlib\.|Path$|glob\.|isfile|exists)|\.(join|exists|is_file|title|info)$"
)
_WORDS = re.compile(r"[^\s'\"|;&<>=]+")
_NO_FILES = {"", "/dev/null", "/dev/stdin", "/dev/stdout", "/dev/stderr", ":memory:", "sqlite://", "-"}


def absolute_paths(notebook: Source) -> Iterator[LintFinding]:
    """Finds paths that only this machine has, each once."""
    told = set(_NO_FILES)
    for cell in notebook.code:
        shown = {id(node.value) for node in cell.nodes if isinstance(node, ast.Expr)}  # such as docstrings
        for node in cell.nodes:
            path = text(node) if isinstance(node, ast.Constant) and id(node) not in shown else ""
            if path not in told and _ABSOLUTE.match(path) and "\n" not in path:
                told.add(path)
                message = f"the path '{short(path)}' is there on this machine only"
                yield LintFinding(notebook.name, cell.number, node.lineno, "absolute-path", message)  # type: ignore[attr-defined]


def undeclared_files(notebook: Source) -> Iterator[LintFinding]:
    """Finds files that a step reads or writes by a name in its code, unknown to cache and Kubeflow."""
    if notebook.parameters is None:
        return
    origins = imports(notebook)
    constants: dict[str, str] = {}
    told = set(_NO_FILES)
    for cell in notebook.code:
        if cell is notebook.parameters:
            continue
        apart = elsewhere(notebook, cell)
        told |= {word for found, _ in cell.magics for word in _WORDS.findall(f"{found.text} {found.body}")}
        for node in calls_and_assignments(cell):
            if isinstance(node, ast.Assign):
                remember_texts(node, constants)
                continue
            name = full_name(node.func, origins)
            written, read = (find(node, name, constants) for find in (written_path, read_path))
            if read and _is_code(notebook, read):
                told.add(read)
            for path, verb, role in ((written, "written", "Output"), (read, "read", "Input")):
                if path not in told and not _ABSOLUTE.match(path) and id(node) not in apart:
                    message = f"'{short(path)}' is {verb}, and no {role} declares it"
                    rule = f"undeclared-{role.lower()}"
                    yield LintFinding(notebook.name, cell.number, node.lineno, rule, message)
                told.add(path)
            if not _ASKS.search(name):  # any other call may make the file: HDFBackend("samples.h5")
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                told |= {path_text(part, constants) for part in given}


def _is_code(notebook: Source, path: str) -> bool:
    """Whether a file that is read counts as the step's own code, which the cache knows and which travels."""
    folder = notebook.path.absolute().parent
    file = Path(os.path.normpath(folder / path))
    try:
        inside = file.relative_to(project_root(folder)).parts
    except (UsageError, ValueError):
        return False
    is_data = file.with_name(f"{file.name}.dvc").exists()
    return file.is_file() and not is_data and not any(part.startswith(".") for part in inside)


def calls_and_assignments(cell: Cell) -> list[ast.Assign | ast.Call]:
    """Returns a cell's calls and assignments by line; what is assigned is there for the calls of its line."""
    nodes = [node for node in cell.nodes if isinstance(node, ast.Assign | ast.Call)]
    return sorted(nodes, key=lambda node: (node.lineno, isinstance(node, ast.Call)))


def remember_texts(node: ast.Assign, constants: dict[str, str]) -> None:
    """Notes the path that an assignment gives a variable, or that it has none now."""
    for target in node.targets:
        if isinstance(target, ast.Name):
            path = path_text(node.value, constants)
            constants.pop(target.id, None)
            if path:
                constants[target.id] = path


def read_path(call: ast.Call, name: str, constants: Mapping[str, str]) -> str:
    """Returns the path that a call reads, where it is written in the code."""
    place = _READ_BY.get(name) or (None if _writes(call, 1) else _OPENED_BY.get(name))
    if place:
        return path_text(argument(call, *place), constants)
    if _TABLES.match(name):
        return path_text(argument(call, 0, *_PATH_NAMES, "filepath_or_buffer", "io", "source"), constants)
    if isinstance(call.func, ast.Attribute):
        reads = call.func.attr in _PATH_READS or (call.func.attr == "open" and not _writes(call, 0))
        return path_text(call.func.value, constants) if reads else ""
    return ""


def written_path(call: ast.Call, name: str, constants: Mapping[str, str]) -> str:
    """Returns the path that a call writes, where it is written in the code."""
    place = _WRITTEN_BY.get(name) or (_OPENED_BY.get(name) if _writes(call, 1) else None)
    if place:
        return path_text(argument(call, *place), constants)
    if isinstance(call.func, ast.Attribute) and name not in _OPENED_BY:
        if call.func.attr in _PATH_WRITES or (call.func.attr == "open" and _writes(call, 0)):
            return path_text(call.func.value, constants)
        if _WRITING_METHODS.match(call.func.attr):
            return path_text(argument(call, 0, *_PATH_NAMES), constants)
    return ""


def _writes(call: ast.Call, position: int) -> bool:
    """Whether the mode in which a call opens its file makes or changes it."""
    return text(argument(call, position, "mode"))[:1] in {"w", "a", "x"}


def path_text(node: ast.expr | None, constants: Mapping[str, str]) -> str:
    """Returns the text of a path, as far as it is written in the code; empty if it is not."""
    try:
        return _joined(node, constants)
    except RecursionError:  # a sum of hundreds of texts is no path
        return ""


def _joined(node: ast.expr | None, constants: Mapping[str, str]) -> str:
    if isinstance(node, ast.Name):
        return constants.get(node.id, "")
    if isinstance(node, ast.Call):
        name = dotted(node.func).rpartition(".")[2]
        parts = [_joined(part, constants) for part in node.args]
        return "/".join(parts) if name in ("Path", "join") and parts and all(parts) else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Add):
        left, right = _joined(node.left, constants), _joined(node.right, constants)
        slash = "/" if isinstance(node.op, ast.Div) else ""
        return f"{left}{slash}{right}" if left and right else ""
    return text(node)
