"""The nightly look of kubernetes/monitoring: `nbship monitor` on every model of a repository, gauges pushed.

The repository and the stage are in the environment. Trouble with one model keeps nobody from the next.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from nbship.config import load_pipeline
from nbship.errors import NbshipError, UsageError
from nbship.monitoring.gauges import push
from nbship.project import pipeline_names
from nbship.versions.clone import clone
from nbship.workflow.gauges import look_of
from nbship.workflow.incluster.inputs import log
from nbship.workflow.monitor import MonitorWindow, monitor

REPOSITORY, STAGE = "NBSHIP_MONITOR_REPOSITORY", "NBSHIP_MONITOR_STAGE"


def look_at_all(root: Path, stage: str, address: str) -> int:
    """Looks at every model that has records, and pushes what was found; returns how many failed.

    Args:
        root: The project's folder.
        stage: The version that went there last is looked at; the champion if empty.
        address: Of the Pushgateway.
    """
    failed = 0
    for name in pipeline_names(root):
        try:
            pipeline = load_pipeline(root, name)
            if pipeline.monitor.store is None:
                continue
            found = monitor(root, pipeline, MonitorWindow(stage=stage), report=log)
            push(look_of(found, stage), address)
        except NbshipError as error:
            failed += 1
            log(f"{name}: {error.message}; {error.hint}")
        else:
            decision = found.examination.decision
            log(f"{name}: {decision.state}: {'; '.join(decision.reasons)}")
    return failed


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Looks at the models of the default branch; returns an exit code, which is 0 for *act* too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--push", required=True, metavar="URL", help="the Pushgateway")
    given = parser.parse_args(arguments)
    try:
        repository = environment.get(REPOSITORY, "")
        if not repository:
            raise UsageError(f"{REPOSITORY} is not set", "set it in kubernetes/monitoring/kustomization.yaml")
        with tempfile.TemporaryDirectory(prefix="nbship-") as folder:
            clone(repository, "", Path(folder))
            return 1 if look_at_all(Path(folder), environment.get(STAGE, ""), given.push) else 0
    except NbshipError as error:
        log(f"{error.message}; {error.hint}")
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
