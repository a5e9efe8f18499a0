"""A Kubeflow Pipelines server of the user's, which is only read: NBSHIP_TEST_KUBEFLOW_HOST names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.cluster.apiserver import ROOT

HOST = os.environ.get("NBSHIP_TEST_KUBEFLOW_HOST", "")
NBSHIP = [sys.executable, "-c", "from nbship.cli.main import main; main()"]


@pytest.mark.skipif(not HOST, reason="NBSHIP_TEST_KUBEFLOW_HOST names no server")
@pytest.mark.parametrize("command", [["runs", "iris", "--remote"], ["schedule", "--list"]])
def test_what_it_has_is_listed(command: list[str]) -> None:
    environment = {**os.environ, "NBSHIP_KUBEFLOW_HOST": HOST}
    done = subprocess.run(
        [*NBSHIP, *command, "--json"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list | dict)
