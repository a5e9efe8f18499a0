"""Whatever a notebook does, its steps do the same: small programs, cut anywhere, run both ways."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from nbship.linting.cells import read_source
from nbship.notebook import read_signature
from nbship.splitting.proposal import propose, read
from nbship.splitting.wishes import Wishes, numbers, ranges
from nbship.splitting.writing import write as write_plan
from tests.splitting.notebooks import write

NAMES = ("a", "b", "c")
LISTS = ("p", "q")
NAME, LIST = st.sampled_from(NAMES), st.sampled_from(LISTS)
BEGIN = "a = b = c = len('x')\np = list('x')\nq = list('y')\n"
STATEMENT = st.one_of(
    st.builds("{} = {} + 2 * {}".format, NAME, NAME, NAME),
    st.builds("{} += {}".format, NAME, NAME),
    st.builds("{}.append({})".format, LIST, NAME),
    st.builds("{} = {} + [{}]".format, LIST, LIST, NAME),
    st.builds("{}[0] = {}".format, LIST, NAME),
    st.builds("for {} in range(3):\n    {} = {}".format, NAME, NAME, NAME),
    st.builds("if {} > 3:\n    {} = {}".format, NAME, NAME, NAME),
    st.builds("try:\n    {} = {} + 1\nexcept Exception:\n    pass".format, NAME, NAME),
    st.builds("def f(x, y=2):\n    return x + y + {}".format, NAME),
    st.builds("def f(x):\n    {}.append(x)\n    return len({})".format, LIST, LIST),
    st.builds("def g():\n    return f({})".format, NAME),
    st.builds("h = lambda x: x * {}".format, NAME),
    st.builds("{} = f({})".format, NAME, NAME),
    st.builds("{} = g() + h({})".format, NAME, NAME),
    st.builds("{} = [z + {} for z in range({} % 5)]".format, LIST, NAME, NAME),
    st.builds("print({}, {}, f(1))".format, NAME, LIST),
)
FUNCTIONS = "def f(x):\n    return x\ndef g():\n    return 1\nh = lambda x: x\n"
PROGRAM = st.lists(st.lists(STATEMENT, min_size=1, max_size=4), min_size=2, max_size=4)


def shown(sources: list[str], names: dict[str, Any]) -> str:
    """What code prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for source in sources:
            exec(source, names)  # noqa: S102
    return printed.getvalue()


def run_steps(files: dict[str, str], name: str, folder: Path) -> str:
    """What the steps print, run one after another as the pipeline file wires them."""
    steps = yaml.safe_load(files[f"pipelines/{name}.yaml"])["steps"]
    given: dict[str, Any] = {}
    printed = ""
    for module in (path for path in files if path.endswith(".py")):
        (folder / Path(module).name).write_text(files[module])
    for step, settings_of_step in steps.items():
        cells = [
            c for c in json.loads(files[settings_of_step["notebook"]])["cells"] if c["cell_type"] == "code"
        ]
        sources = ["".join(cell["source"]) for cell in cells]
        signature = read_signature(sources[0])
        wires = settings_of_step.get("inputs", {})
        values = {key: given[origin] for key, origin in wires.items()}
        for key in signature.inputs.keys() - wires.keys():
            (values[key],) = (value for origin, value in given.items() if origin.endswith(f".{key}"))
        values |= {key: str(folder / f"{step}-{key}") for key in signature.outputs}
        names: dict[str, Any] = {}
        exec(sources[0], names)  # noqa: S102
        names |= values
        printed += shown(sources[1:], names)
        given |= {f"{step}.{key}": values[key] for key in signature.outputs}
        given |= {f"{step}.{key}": names[key] for key in signature.results}
    return printed


# Shrinking such a program takes minutes, and a failing one is small enough to be read.
@settings(max_examples=40, phases=(Phase.explicit, Phase.reuse, Phase.generate), report_multiple_bugs=False)
@given(PROGRAM)
def test_steps_do_what_the_notebook_does(tmp_path_factory, program):
    folder = tmp_path_factory.mktemp("flow")
    end = "print(a, b, c, p, q, f(a), h(b))"
    parts = [[FUNCTIONS, BEGIN], *program, [end]]
    text = "".join(f"# %% step:s{i}\n" + "\n".join(part) + "\n" for i, part in enumerate(parts))
    source = read_source(write(folder / "program.ipynb", text), "program.ipynb")
    notebook = read(source, Wishes())
    plan = propose(notebook, "program", Wishes(), {})
    assert plan.problems == (), text
    expected = shown(["\n".join(part) for part in parts], {})
    sys.path.insert(0, os.fspath(folder))
    try:
        assert run_steps(write_plan(plan, notebook, {}), "program", folder) == expected, text
    finally:
        sys.path.remove(os.fspath(folder))
        sys.modules.pop("program_functions", None)


@given(st.sets(st.integers(1, 300)))
def test_ranges_are_read_as_they_are_written(cells):
    assert list(numbers(ranges(cells))) == sorted(cells)
