"""What one piece of Python says that it uses: modules, folders to look in, and files by name.

IPython's own syntax comes as the calls that it stands for. Where modules and files are is not decided here.
"""

from __future__ import annotations

import ast
import contextlib
import posixpath
import re
import shlex
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from nbship.notebook import without_magics
from nbship.own_code.paths import Written, dotted, evaluate, last_name

_UNREADABLE = (SyntaxError, ValueError, MemoryError, RecursionError)
_PYTHON_MAGICS = {"time", "timeit", "capture", "prun", "python", "python3"}
_SHELL_MAGICS = {"bash", "sh", "script", "sx", "system", "!", "zsh"}
_SHELL_CALLS = {"system", "getoutput", "popen", "Popen", "run", "call", "check_call", "check_output"}
_SEARCH_PATH = {"sys.path.append", "sys.path.insert", "sys.path.extend", "site.addsitedir"}
_FOLDER_READERS = {"listdir", "scandir", "walk", "FileSystemLoader", "copytree", "glob", "iglob"}
_PACKAGE_DATA = {"files", "get_data", "read_binary", "read_text", "open_binary", "open_text", "PackageLoader"}
_NOTEBOOK_IMPORTERS = {"import_ipynb", "ipynb", "nbimporter", "importnb"}
_WRITERS = {
    *("dump", "imsave", "imwrite", "makedirs", "mkdir", "remove", "rename", "rmtree", "savefig", "savetxt"),
    *("savez", "touch", "unlink", "urlretrieve", "write_bytes", "write_text"),
}
_WRITING = re.compile(r"(save|to|write|export)_\w+|save")
# Their own path is written, what they are given is not.
_WRITTEN_ITSELF = {"mkdir", "open", "rename", "replace", "touch", "unlink", "write_bytes", "write_text"}
_WRITE_OUT = "write the name out"
_SHARED = "move what is shared into a module"
_OPENERS = {"open", "fdopen", "ZipFile", "File"}


class Use(NamedTuple):
    """Something that a line uses: a module's name, or a path relative to the folder the code runs in."""

    text: str
    line: int
    is_path: bool = False


class Obstacle(NamedTuple):
    """Why what a line uses cannot be told or cannot be had elsewhere, and what to do."""

    line: int
    message: str
    hint: str


@dataclass
class Uses:
    """What a piece of code uses.

    Attributes:
        imports: Modules, or names in them: `cars.features.add`.
        whole: Packages of which any module may be imported.
        data: Packages whose files are read as data.
        folders: Where modules are looked for as well; with `is_path`, before anywhere else.
        files: Paths that are read, and texts that may be one.
        scripts: Python files that are run.
        written: Paths that are written.
        obstacles: What cannot be told, or cannot travel.
    """

    imports: list[Use] = field(default_factory=list)
    whole: list[Use] = field(default_factory=list)
    data: list[Use] = field(default_factory=list)
    folders: list[Use] = field(default_factory=list)
    files: list[Use] = field(default_factory=list)
    scripts: list[Use] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    obstacles: list[Obstacle] = field(default_factory=list)


def read(source: str, known: dict[str, Written], package: str = "") -> Uses:
    """Returns what a module or a cell uses; nothing if it is no Python.

    Args:
        source: The code, in which IPython's own syntax may be.
        known: Texts by variable; receives those of this code, for the next cell. `.` is the working folder.
        package: What relative imports start from.
    """
    reader = _Reader(known, package)
    reader.read(source, 0)
    return reader.uses


class _Reader(ast.NodeVisitor):
    def __init__(self, known: dict[str, Written], package: str) -> None:
        self.uses = Uses()
        self._known, self._package = known, package
        self._offset, self._writing = 0, False

    def read(self, source: str, offset: int) -> None:
        """Reads code that starts after some lines."""
        before, self._offset = self._offset, offset
        with contextlib.suppress(*_UNREADABLE):
            tree, blank = _parsed(source)
            self._offset += blank
            self.visit(tree)
        self._offset = before

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self._package.split(".")
            if not self._package or node.level > len(parts):
                return
            base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
        self._import(base, node)
        for alias in node.names:
            self._import(f"{base}.{alias.name}", node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(dotted(target) == "sys.path" for target in node.targets):
            self._search(node.value, node)
            return
        if any(isinstance(t, ast.Subscript) and dotted(t.value) == "sys.path" for t in node.targets):
            self._search(node.value, node)
            return
        self._assign(node.targets, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign([node.target], node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if dotted(node.target) == "sys.path":
            self._search(node.value, node)
        else:
            self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.visit(node.value)

    def visit_List(self, node: ast.List | ast.Tuple) -> None:
        texts = [evaluate(item, self._known) for item in node.elts]
        self._modules_of_command([text.text if text else "" for text in texts], node)
        self.generic_visit(node)

    def visit_Tuple(self, node: ast.Tuple) -> None:
        self.visit_List(node)

    def visit_Call(self, node: ast.Call) -> None:
        name, function = last_name(node.func), dotted(node.func)
        if self._note(node):
            return
        if function in _SEARCH_PATH:
            self._search(node.args[-1] if node.args else node, node, function == "sys.path.insert")
        elif name in ("import_module", "__import__"):
            self._import_by_name(node)
        elif isinstance(node.func, ast.Attribute) and dotted_call(node.func.value) == "get_ipython":
            self._ipython(name, [text.text for a in node.args if (text := evaluate(a, self._known))], node)
        elif function in ("os.chdir", "chdir") and node.args:
            self._change_folder(evaluate(node.args[0], self._known), node)
        else:
            self._visit_parts(node, name)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name) or not isinstance(node, ast.expr) or not self._note(node):
            super().generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        text = self._known.get(node.id) if isinstance(node.ctx, ast.Load) else None
        if text is not None:
            self._path(text, node)

    def visit_Constant(self, node: ast.Constant) -> None:
        self._note(node)

    def _note(self, node: ast.expr) -> bool:
        """Notes the path that an expression is; says whether it is one, so that its parts are none."""
        text = evaluate(node, self._known)
        if text is not None:
            self._path(text, node)
        return text is not None

    def _path(self, text: Written, node: ast.expr, is_path: bool = False) -> None:
        path = self._from_here(text.text)
        if self._writing:
            self.uses.written.add(path)
        else:
            self.uses.files.append(Use(path, self._line(node), is_path or text.is_path))

    def _assign(self, targets: Iterable[ast.expr], value: ast.expr) -> None:
        text = evaluate(value, self._known)
        for target in targets:
            if isinstance(target, ast.Name):
                self._known.pop(target.id, None)
                if text is not None:
                    self._known[target.id] = text
            else:
                self.visit(target)
        # A folder that is given a name counts where the name is used.
        if text is None:
            self.visit(value)
        else:
            self.uses.files.append(Use(self._from_here(text.text), self._line(value), False))

    def _visit_parts(self, node: ast.Call, name: str) -> None:
        """Visits what a call is made of, knowing which of it is written."""
        first = evaluate(node.args[0], self._known) if node.args else None
        if name in _PACKAGE_DATA and first:
            self.uses.data.append(Use(first.text, self._line(node)))
        if name in _SHELL_CALLS and first and (" " in first.text or name in ("system", "getoutput")):
            self._shell(first.text, node)
        if name in _FOLDER_READERS and first:
            self._path(first, node, True)
        before = self._writing
        writes = name in _WRITERS or bool(_WRITING.fullmatch(name)) or _opens_to_write(node, name)
        # `path.open("w")`, and not `gzip.open(path, "w")`.
        itself = name in _WRITTEN_ITSELF and isinstance(node.func, ast.Attribute)
        itself = itself and (name != "open" or bool(node.args and _is_mode(node.args[0])))
        reads = name in _OPENERS or name.startswith(("read_", "load"))
        self._writing = (writes and itself) or (before and not reads)
        self.visit(node.func)
        self._writing = (writes and not itself) or (before and not reads and not writes)
        for part in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.visit(part)
        self._writing = before

    def _import(self, name: str, node: ast.stmt | ast.expr) -> None:
        if name.partition(".")[0] in _NOTEBOOK_IMPORTERS:
            self._obstacle(node, f"{name} imports a notebook", _SHARED)
        self.uses.imports.append(Use(name, self._line(node)))

    def _import_by_name(self, node: ast.Call) -> None:
        argument = node.args[0] if node.args else None
        text = evaluate(argument, self._known) if argument else None
        if text is not None and text.text.startswith("."):
            text = Written(f"{self._package}{text.text}") if self._package else None
        if text is not None:
            self._import(text.text, node)
            return
        prefix = ""
        if isinstance(argument, ast.JoinedStr) and isinstance(argument.values[0], ast.Constant):
            prefix = str(argument.values[0].value).rpartition(".")[0]
        if prefix:
            self.uses.whole.append(Use(prefix, self._line(node)))
        else:
            hint = 'write the name out, or begin it with its package: f"cars.models.{name}"'
            self._obstacle(node, "imports a module whose name is known only when it runs", hint)

    def _search(self, value: ast.expr, node: ast.stmt | ast.expr, first: bool = False) -> None:
        """A change of `sys.path`, in front or at the end."""
        if isinstance(value, ast.BinOp) and evaluate(value, self._known) is None:
            for side in (value.left, value.right):
                self._search(side, node, first)
            return
        if dotted(value) == "sys.path" or (isinstance(value, ast.Starred) and dotted(value.value)):
            return
        if isinstance(value, ast.List | ast.Tuple):
            for item in value.elts:
                self._search(item, node, first)
            return
        text = evaluate(value, self._known)
        if text is None:
            hint = 'write the folder out: sys.path.insert(0, "../lib"); src/ needs no such line'
            self._obstacle(node, "adds a folder to sys.path that is known only when it runs", hint)
        else:
            self.uses.folders.append(Use(self._from_here(text.text), self._line(node), first))

    def _ipython(self, name: str, given: list[str], node: ast.Call) -> None:
        """A magic or a shell command."""
        if name in ("system", "getoutput"):
            self._shell(" ".join(given), node)
        elif name == "run_line_magic" and len(given) == 2:
            self._line_magic(given[0], given[1], node)
        elif name == "run_cell_magic" and len(given) == 3:
            magic, line, body = given
            if magic in _PYTHON_MAGICS:
                self.read(body, self._line(node))
            elif magic in _SHELL_MAGICS:
                for command in body.splitlines():
                    self._shell(command, node)
            elif magic in ("writefile", "file"):
                self.uses.written |= {self._from_here(word) for word in _words(line)[-1:]}

    def _line_magic(self, magic: str, argument: str, node: ast.Call) -> None:
        words = _words(argument)
        if magic == "run":
            self._run(words, node)
        elif magic in ("load_ext", "reload_ext", "aimport"):
            for word in words:
                self._import(word.lstrip("-").rstrip(","), node)
        elif magic == "cd" and words:
            self._change_folder(Written(words[0]), node)
        elif magic in _PYTHON_MAGICS:
            self.read(argument, self._line(node) - 1)
        elif magic in _SHELL_MAGICS:
            self._shell(argument, node)

    def _run(self, words: list[str], node: ast.Call) -> None:
        """`%run tool.py` or `%run -m cars.tool`."""
        self._modules_of_command(words, node)
        name = next((word for word in words if not word.startswith("-")), "")
        if name and "-m" not in words:
            if name.endswith(".ipynb"):
                self._obstacle(node, f"%run {name} runs another notebook", _SHARED)
            elif set(name) & set("{$"):
                self._obstacle(node, f"%run {name} runs a file that is known only when it runs", _WRITE_OUT)
            else:
                path = self._from_here(name if name.endswith(".py") else f"{name}.py")
                self.uses.scripts.append(Use(path, self._line(node), True))
        for word in words[1:]:
            self._path(Written(word), node)

    def _shell(self, line: str, node: ast.expr) -> None:
        words = _words(re.sub(r"[;|&()]", " ", line))
        self._modules_of_command(words, node)
        for before, word in zip(["", *words], words, strict=False):
            if before in (">", ">>"):
                self.uses.written.add(self._from_here(word))
            else:
                self._path(Written(word.lstrip("<")), node)

    def _modules_of_command(self, words: list[str], node: ast.expr) -> None:
        """`python -m cars.tool`."""
        for option, name in pairwise(words):
            if option == "-m" and re.fullmatch(r"\w+(\.\w+)*", name):
                self._import(name, node)
                self._import(f"{name}.__main__", node)

    def _change_folder(self, text: Written | None, node: ast.expr) -> None:
        if text is not None:
            here = self._from_here(text.text)
            self._known["."] = Written(here, True)
            self.uses.folders.append(Use(here, self._line(node), True))

    def _from_here(self, text: str) -> str:
        here = self._known.get(".")
        return posixpath.join(here.text, text) if here else text

    def _obstacle(self, node: ast.stmt | ast.expr, message: str, hint: str) -> None:
        self.uses.obstacles.append(Obstacle(self._line(node), message, hint))

    def _line(self, node: ast.stmt | ast.expr) -> int:
        return self._offset + node.lineno


def dotted_call(node: ast.expr) -> str:
    """Returns `a.b` of a call `a.b()`; empty if it is anything else."""
    return dotted(node.func) if isinstance(node, ast.Call) else ""


@lru_cache(maxsize=256)  # steps share notebooks, and notebooks modules
def _parsed(source: str) -> tuple[ast.Module, int]:
    """The tree of a cell, and how many blank lines at its head are not in it."""
    try:
        return _parse(source), 0
    except SyntaxError:
        blank = len(source) - len(source.lstrip("\n"))
        return _parse(without_magics(source)), blank


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings(action="ignore"):
        tree: ast.Module = compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return tree


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _opens_to_write(node: ast.Call, name: str) -> bool:
    modes = [*node.args[:2], *(k.value for k in node.keywords if k.arg == "mode")]
    return name in _OPENERS and any(_is_mode(mode) for mode in modes)


def _is_mode(node: ast.expr) -> bool:
    """Whether it is a mode of `open` that writes."""
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and bool(re.fullmatch(r"[rbt+]*[wax][bt+]*", text))
