"""Hidden state: what a kernel remembers and the notebook does not say."""

import builtins
import contextlib
import io
import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.linting.magics import parse
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
    "import os.path as c, xml.dom\nc, xml",
    "from math import *\nanything",
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
    "%store -r kept\nkept",
    "value: int = 1\nvalue",
    "await f() if (f := None) else 1",
    "async with open('a') as f:\n    [x async for x in f]",
    "x, y = 1, 2\ndel x\ny, __name__, __doc__",
    "%time x = 1\nx",
    "%%capture out\nx = 1\nout, x",
    "%%capture --no-stderr\nx = 1\nx",
    "\n%%time\n%time x = 1\n!ls {x}\nx",
    "%%timeit -n 10 y = 2\ny + 1",
    "%timeit -n 10 -r 3 sum([1])",
    "%prun -s cumtime x = 1\nx",
    "best = %timeit -o sum([1])\nbest",
    "%%somebodys_magic\nselect 1",
    "%pylab inline\nplot(linspace(0, 1))",
    "%%bash --out listed\nls\n",
    "files = !ls\nfiles?\nfiles.s??\n?files",
    "get_ipython().run_line_magic('run', 'other.py')\nfrom_other",
    "get_ipython().push({'a': 1})\na",
    "In, Out, _, __, _i, _ih, _oh, _1, _i2, display, exit, quit",
    "exec('a = 1')\na",
    "globals()['a'] = 1\na",
    "globals().update(a=1)\na",
    "def f():\n    return a\nfrom math import *",
    "try:\n    a\nexcept NameError:\n    a = 1\na",
    "try:\n    print(a)\nexcept Exception:\n    pass",
    "if 'a' in globals():\n    del a",
    "if 'a' not in dir():\n    a = 1\na",
    "for i in range(3):\n    x = i\n    del x\nx = 1",
    "def f():\n    a = 1\n    del a",
    "def f():\n    return a\na = 1\nf()\ndel a",
    "[[a for a in b] for b in []], {a: b for a, b in []}, [a for a in [] if (lambda: a)()]",
    "pwd",
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
        "%time x = missing",
        "%%time\nmissing",
        "%timeit missing",
        "%%capture out\nmissing",
        "a = 1\ndel a\na",
        "del a",
        "try:\n    a\nexcept ValueError:\n    pass",
        "try:\n    x = 1\nexcept Exception:\n    print(missing)",
        "if 'a' in globals():\n    pass\nelse:\n    a",
        "__file__",
        "if 'b' in globals():\n    a",
    ],
)
def test_found(tmp_path, source):
    assert rules(tmp_path, source) == ["hidden-state"]


def test_the_line_is_the_cells_own(tmp_path):
    (finding,) = findings(tmp_path, "%%time\nx = 1\nmissing")
    assert finding.line == 3
    assert [node.lineno for node in parse("\n\n%%time\nx\n%time y").body] == [4, 5]


def test_a_name_that_was_deleted_above(tmp_path):
    (finding,) = findings(tmp_path, "a = 1", "del a", "a")
    assert (finding.cell, finding.message) == (3, "'a' is used here, it is deleted above")


def test_a_cell_that_cannot_be_read_may_define_anything(tmp_path):
    assert rules(tmp_path, "a = 1\nprint a", "a, b") == ["syntax"]


def test_programs_in_other_languages_define_nothing(tmp_path):
    assert rules(tmp_path, "%%bash\na=1", "a") == ["hidden-state"]


NAMES = st.sampled_from(["a", "b", "c", "d"])
STATEMENTS = st.one_of(
    st.builds("{} = 1".format, NAMES),
    st.builds("{} = {}".format, NAMES, NAMES),
    st.builds("[{} for {} in range(2)]".format, NAMES, NAMES),
    st.builds("for {} in range(2): {}".format, NAMES, NAMES),
    st.builds("def {}(): return 1".format, NAMES),
    st.builds("({} := 1)".format, NAMES),
    st.builds("del {}".format, NAMES),
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
