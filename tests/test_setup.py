"""scripts/setup, with programs that note what they are asked to do; that it installs, `make run` shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYTHON = """\
#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
*"config list"*) echo "global.cert='x'"; echo "global.index-url='https://index.example.org/simple'";;
*--target*)
    for last; do :; done
    cp "$last" "$CALLS.lock"
    [ "$UV_FAILS" = fetch ] && exit 1
    folder=$(echo "$*" | sed 's/.*--target \\([^ ]*\\).*/\\1/')
    mkdir -p "$folder/bin"
    cp "$UV" "$folder/bin/uv";;
esac
"""
UV = """\
#!/bin/sh
echo "uv $@ from $UV_DEFAULT_INDEX" >> "$CALLS"
echo "Resolved 2 packages" >&2
echo " + papermill==2.7.0" >&2
[ "$UV_FAILS" != install ]
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def setup(root: Path, fails: str = "") -> tuple[str, list[str]]:
    """What it prints, and what was called."""
    for name in ("scripts/setup", "requirements.lock"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    script(root / ".venv/bin/python", PYTHON)
    environment = {
        "PATH": os.environ["PATH"],
        "CALLS": str(root / "calls"),
        "UV": str(script(root / "uv", UV)),
        "UV_FAILS": fails,
    }
    command = [root / "scripts/setup", ".venv", "s3", "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr, (root / "calls").read_text().splitlines()


def test_it_installs_by_uv_what_is_asked_for_as_the_lock_pins_it(tmp_path: Path) -> None:
    printed, calls = setup(tmp_path)
    (uv,) = (call for call in calls if call.startswith("uv "))
    assert "--constraint requirements.lock --build-constraint requirements.lock --editable .[s3,serve]" in uv
    assert "--compile-bytecode" in uv
    assert uv.endswith(" from https://index.example.org/simple")
    assert "Resolved 2 packages\n" in printed
    assert "papermill" not in printed
    assert not [call for call in calls if "--requirement requirements.lock" in call]


def test_uv_itself_is_pinned_by_hash(tmp_path: Path) -> None:
    _, calls = setup(tmp_path)
    assert [call for call in calls if "--require-hashes --target" in call]
    lock = (tmp_path / "calls.lock").read_text()
    assert re.fullmatch(r"uv==\S+ \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+", lock)


@pytest.mark.parametrize("fails", ["fetch", "install"])
def test_it_goes_on_with_pip_and_the_whole_lock(tmp_path: Path, fails: str) -> None:
    printed, calls = setup(tmp_path, fails)
    assert "going on with pip" in printed
    installs = [call.partition("install ")[2] for call in calls if " install " in call and "uv" not in call]
    assert installs == [
        "--quiet --require-hashes --requirement requirements.lock",
        "--quiet --no-deps --no-build-isolation --editable .",
    ]


def test_make_knows_the_extras() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    wholly, *parts = (line.split() for line in re.findall(r"EXTRAS = (.+)", text.replace("$(STORAGE)", "s3")))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(wholly) == set(project["optional-dependencies"]) - {"torch"}
    assert all(set(part) < set(wholly) for part in parts)
    assert "dev" not in [extra for part in parts for extra in part]


@pytest.mark.parametrize(
    ("there", "made"),
    [
        ([], [".ready-to-run", ".ready-to-serve", ".ready"]),
        ([".ready-to-run"], [".ready-to-run", ".ready-to-serve", ".ready"]),
        ([".ready-to-run", ".ready-to-serve"], [".ready-to-serve", ".ready-to-serve", ".ready"]),
        ([".ready-to-run", ".ready"], [".ready", ".ready", ".ready"]),
    ],
)
def test_what_there_is_more_of_is_enough(tmp_path: Path, there: list[str], made: list[str]) -> None:
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".venv").mkdir()
    for name in there:
        (tmp_path / ".venv" / name).touch()
        os.utime(tmp_path / ".venv" / name, (0, 0))
    found = []
    for target in ("run", "demo", "check"):
        command = ["make", "--dry-run", "--file", ROOT / "Makefile", target]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        found += re.findall(r"^touch \.venv/(\S+)$", done.stdout, re.MULTILINE)
    assert found == made


@pytest.mark.parametrize(
    ("name", "line", "extras"),
    [
        ("nbship.yaml", "# store: s3://models/nbship", ""),
        ("nbship.yaml", "store: s3://models/nbship", "s3"),
        (".dvc/config", "    url = s3://data/cars", "s3"),
        (".dvc/config", "    url = /srv/data", ""),
        ("pipelines/cars.yaml", "publish: {target: mpg, store: s3://models}  # ours", "s3"),
    ],
)
def test_the_client_of_s3_comes_where_something_is_there(
    tmp_path: Path, name: str, line: str, extras: str
) -> None:
    for each in ("requirements.lock", "pyproject.toml", name):
        (tmp_path / each).parent.mkdir(exist_ok=True)
        (tmp_path / each).write_text(f"{line}\n")
    command = ["make", "--dry-run", "--file", ROOT / "Makefile", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"scripts/setup .venv {extras}\n" in done.stdout
