"""Hidden state: what a kernel remembers and the notebook does not say."""

import builtins
import contextlib
import io
import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.linting.notebooks import findings, rules


def test_a_name_from_a_cell_below(tmp_path):
    (finding,) = findings(tmp_path, "print(1)", "a = 1\nb = rate * a", "rate = 2")
    assert (finding.rule, finding.cell, finding.line) == ("hidden-state", 2, 2)
    assert finding.message == "'rate' is used here, only cell 3 below defines it"


def test_a_name_from_nowhere_is_told_once(tmp_path):
    (finding,) = findings(tmp_path, "x = gone + gone", "gone")
    assert finding.message == "'gone' is used here, no cell defines it"


CLEAN = [
    "x = 1\nx += 1",
    "import a.b as c, d.e\nc, d",
    "from m import *\nanything",
    "def f(n):\n    return f(n - 1) + later\nlater = 1",
    "for i, (a, *b) in []:\n    pass\nelse:\n    print(i, a, b)",
    "with open('a') as f, f as (g, h):\n    f, g, h",
    "try:\n    import t\nexcept ImportError as e:\n    print(e)\n    t = None\nt",
    "[q for p in [] for q in p if (w := q)]\nw",
    "match 1:\n    case {'a': [b, *c], **d} if b:\n        b, c, d\n    case e:\n        e",
    "class A:\n    n = 1\n    m = n\n    def g(self) -> 'A':\n        return A, __class__\nA",
    "def f():\n    global made\n    made = 1\nf()\nmade",
    "(lambda z: z + w)\nw = 1",
    "%matplotlib inline\nfiles = !ls\nfiles, display, get_ipython(), _",
    "%%time\nx = 1\nx",
    "%run other.py\nfrom_other",
    "value: int = 1\nvalue",
    "await f() if (f := None) else 1",
    "async with open('a') as f:\n    [x async for x in f]",
    "x, y = 1, 2\ndel x\ny, __name__, __doc__",
    "import numpy as np\n@np.vectorize\ndef g(a, b=np.pi, *c, d: int = 2, **e):\n    return a, b, c, d, e",
]


@pytest.mark.parametrize("source", CLEAN)
def test_no_false_alarm(tmp_path, source):
    assert rules(tmp_path, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "x = x + 1",
        "total += 1",
        "def f(a=missing):\n    return a",
        "@missing\ndef f():\n    pass",
        "class A(missing):\n    pass",
        "for i in missing:\n    pass",
        "with missing() as m:\n    pass",
        "[missing for i in range(3)]",
        "def f():\n    return missing",
        "a = [b for b in range(3)]\nb",
        "print(f'{missing:>{3}}')",
    ],
)
def test_found(tmp_path, source):
    assert rules(tmp_path, source) == ["hidden-state"]


NAMES = st.sampled_from(["a", "b", "c", "d"])
STATEMENTS = st.one_of(
    st.builds("{} = 1".format, NAMES),
    st.builds("{} = {}".format, NAMES, NAMES),
    st.builds("[{} for {} in range(2)]".format, NAMES, NAMES),
    st.builds("for {} in range(2): {}".format, NAMES, NAMES),
    st.builds("def {}(): return 1".format, NAMES),
    st.builds("({} := 1)".format, NAMES),
)


@given(cells=st.lists(st.lists(STATEMENTS, min_size=1, max_size=4), min_size=1, max_size=4))
def test_it_says_what_running_top_to_bottom_says(tmp_path_factory, cells):
    """What runs from a fresh kernel has no finding; what stops at a missing name has one there."""
    sources = ["\n".join(cell) for cell in cells]
    found = findings(tmp_path_factory.mktemp("notebooks"), *sources)
    space: dict[str, object] = {}
    for number, source in enumerate(sources, start=1):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(source, space)  # noqa: S102 (made of the statements above)
        except NameError as error:
            assert any(f.rule == "hidden-state" and f.cell == number for f in found), (error, found)
            return
    assert found == []


def test_builtins_and_keywords_are_known(tmp_path):
    source = "\n".join(name for name in dir(builtins) if not keyword.iskeyword(name))
    assert rules(tmp_path, source) == []
