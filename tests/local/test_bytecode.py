"""Bytecode that may be of an earlier source is never loaded; all other bytecode stays."""

import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.errors import NbshipError
from nbship.local.bytecode import discard_stale

HASHED = py_compile.PycInvalidationMode
# Whole seconds, far from now.
OLD = 1_500_000_000


def compiled(source: Path, text: str, **options) -> Path:
    """Writes a module and compiles it, with the times that a program gives them that is done in no time."""
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text)
    os.utime(source, (OLD, OLD))
    return Path(py_compile.compile(str(source), **options))


def loaded(source: Path, **variables: str) -> str:
    """What a new Python finds in a module's STEP."""
    code = f"import sys; sys.path.insert(0, {str(source.parent)!r}); import {source.stem} as m; print(m.STEP)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | variables
    return subprocess.check_output([sys.executable, "-c", code], text=True, env=environment).strip()


def edit(source: Path, text: str) -> None:
    """Writes a module anew, without a sign of it in its size and in the whole second of its time."""
    source.write_text(text)
    os.utime(source, (OLD, OLD + 0.5))


def test_an_edit_within_the_second_is_seen(tmp_path):
    source = tmp_path / "shared.py"
    compiled(source, "STEP = 1")
    edit(source, "STEP = 3")
    assert loaded(source) == "1"  # Python's own way, without which this test would show nothing
    discard_stale([source])
    assert loaded(source) == "3"


def test_bytecode_written_between_two_edits_is_not_trusted_for_its_time(tmp_path):
    source = tmp_path / "shared.py"
    bytecode = compiled(source, "STEP = 1")
    edit(source, "STEP = 3")
    changed = source.stat().st_ctime_ns
    os.utime(bytecode, ns=(changed + 10**8, changed + 10**8))
    discard_stale([source])
    assert not bytecode.exists()


def test_bytecode_of_a_source_that_has_stayed_is_kept(tmp_path):
    source = tmp_path / "shared.py"
    bytecode = compiled(source, "STEP = 1")
    later = source.stat().st_ctime_ns + 2 * 10**9
    os.utime(bytecode, ns=(later, later))
    discard_stale([source, tmp_path / "other.py", tmp_path / "data.csv"])
    assert bytecode.exists()


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_level_of_optimization_is_looked_at(tmp_path, level):
    source = tmp_path / "shared.py"
    bytecode = compiled(source, "STEP = 1", optimize=level)
    discard_stale([source])
    assert not bytecode.exists()


def test_bytecode_kept_elsewhere_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "cache"))
    source = tmp_path / "project/shared.py"
    compiled(source, "STEP = 1")
    edit(source, "STEP = 3")
    assert loaded(source, PYTHONPYCACHEPREFIX=str(tmp_path / "cache")) == "1"
    discard_stale([source])
    assert loaded(source, PYTHONPYCACHEPREFIX=str(tmp_path / "cache")) == "3"


def test_bytecode_that_goes_by_the_hash_of_its_source_is_sure(tmp_path):
    source = tmp_path / "shared.py"
    checked = compiled(source, "STEP = 1", invalidation_mode=HASHED.CHECKED_HASH)
    edit(source, "STEP = 3")
    discard_stale([source])
    assert checked.exists()
    assert loaded(source) == "3"


def test_bytecode_whose_hash_python_never_checks_goes_when_the_source_is_another(tmp_path):
    source = tmp_path / "shared.py"
    unchecked = compiled(source, "STEP = 1", invalidation_mode=HASHED.UNCHECKED_HASH)
    discard_stale([source])
    assert unchecked.exists()
    edit(source, "STEP = 3")
    assert loaded(source) == "1"
    discard_stale([source])
    assert loaded(source) == "3"


def test_the_bytecode_of_other_modules_stays(tmp_path):
    source, other = tmp_path / "shared.py", tmp_path / "shared_too.py"
    compiled(source, "STEP = 1")
    bytecode = compiled(other, "STEP = 1")
    discard_stale([source])
    assert bytecode.exists()
    assert not Path(importlib.util.cache_from_source(source)).exists()


def test_bytecode_that_may_not_be_removed_is_an_error_that_names_it(tmp_path, monkeypatch):
    source = tmp_path / "shared.py"
    bytecode = compiled(source, "STEP = 1")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(NbshipError, match=r"shared\.py: .*Permission denied") as raised:
        discard_stale([source])
    assert bytecode.name in raised.value.hint
    # Python would not take this one, so it does no harm.
    source.write_text("STEP = 33")
    discard_stale([source])


@given(content=st.binary(max_size=24))
def test_any_file_may_lie_there(tmp_path_factory, content):
    source = tmp_path_factory.mktemp("any") / "shared.py"
    bytecode = compiled(source, "STEP = 1")
    bytecode.write_bytes(content)
    discard_stale([source])
