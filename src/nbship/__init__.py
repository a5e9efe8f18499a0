"""nbship ships notebooks to production: one graph of step notebooks, run here or on Kubeflow.

In a cell or a script the commands are functions: `nbship.run("auto-mpg")`. What they need is imported when
the first of them is used. `%load_ext nbship` gives the command line itself as `%nbship`.
"""

from importlib import import_module as _import_module

__version__ = "0.1.0"
# Where each command is.
_COMMANDS = {
    "compare": "commands",
    "compile": "commands",
    "lint": "commands",
    "load_model": "models",
    "models": "models",
    "open": "commands",
    "publish": "models",
    "run": "commands",
    "runs": "commands",
    "show": "commands",
    "split": "commands",
    "submit": "models",
    "sweep": "commands",
}
# `compile` and `open` are left to Python where a star brings all names.
__all__ = ["Run", *(name for name in _COMMANDS if name not in ("compile", "open"))]


# What these return is told to editors and type checkers by `__init__.pyi`.
def __getattr__(name):  # type: ignore[no-untyped-def]
    if name == "Run":
        return _import_module("nbship.jupyter.run").Run
    if name in _COMMANDS:
        return getattr(_import_module(f"nbship.jupyter.{_COMMANDS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():  # type: ignore[no-untyped-def]
    return sorted({*globals(), *_COMMANDS, "Run"})


def load_ipython_extension(shell):  # type: ignore[no-untyped-def]
    """Gives IPython the magic `%nbship`: what `%load_ext nbship` calls."""
    _import_module("nbship.cli.magic").register(shell)
