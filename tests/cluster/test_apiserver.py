"""Where the API server of the tests is looked for, and what is said where it is not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cluster.apiserver import SCRIPT


def find(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "NBSHIP_KUBE_APISERVER"}
    variables = {**clean, "XDG_CACHE_HOME": str(tmp_path), **environment}
    return subprocess.run([SCRIPT, "--find"], env=variables, capture_output=True, text=True, check=False)


def test_it_is_looked_for_in_a_cache_outside_of_the_repository(tmp_path: Path) -> None:
    missing = find(tmp_path)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.endswith("build it by `make test-cluster`\n")
    binary = Path(missing.stderr.split()[3].removesuffix(":"))
    assert binary.is_relative_to(tmp_path / "nbship-tests")
    binary.parent.mkdir(parents=True)
    binary.touch(mode=0o755)
    assert find(tmp_path).stdout == f"{binary}\n"


@pytest.mark.parametrize("there", [True, False])
def test_one_of_the_users_own_is_taken_and_never_built(tmp_path: Path, there: bool) -> None:
    own = tmp_path / "own"
    if there:
        own.touch(mode=0o755)
    found = find(tmp_path, NBSHIP_KUBE_APISERVER=str(own))
    assert (found.returncode, found.stdout) == ((0, f"{own}\n") if there else (1, ""))
    assert found.stderr == ("" if there else f"NBSHIP_KUBE_APISERVER names no program: {own}\n")
