"""A real Prometheus and Alertmanager on loopback, with the project's own rules, only quicker.

For demos and tests; a cluster has its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nbship.monitoring import prometheus
from nbship.monitoring.rules import quickened, read_rules
from nbship.serving.server import free_port

RULES = Path(__file__).parent.parent / "kubernetes" / "monitoring" / "rules.yaml"
# Debian's names, and those of the projects' own releases.
PROGRAMS = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager")}
LONGEST = 90.0


@dataclass(frozen=True)
class Watching:
    """What watches.

    Attributes:
        prometheus: Its address.
        alertmanager: Its address.
    """

    prometheus: str
    alertmanager: str

    def alerts(self) -> list[dict[str, str]]:
        """Returns the labels of what fires, as the Alertmanager would tell people."""
        with urllib.request.urlopen(f"{self.alertmanager}/api/v2/alerts", timeout=10) as answer:
            told = json.load(answer)
        return [each["labels"] for each in told if each["status"]["state"] == "active"]

    def firing(self, name: str, **labels: str) -> list[dict[str, str]]:
        """Returns the labels of the alerts of a name that fire and have these labels."""
        wanted = {"alertname": name, **labels}
        return [each for each in self.alerts() if wanted.items() <= each.items()]

    def value(self, expression: str) -> float | None:
        """Returns the first number of what an expression gives; None if it gives nothing."""
        found = prometheus.query(self.prometheus, expression)
        return found[0].value if found else None


def missing() -> list[str]:
    """Returns what is not installed of the programs that it takes."""
    return [name for name, known in PROGRAMS.items() if not any(map(shutil.which, known))]


def eventually(holds: Callable[[], Any], what: str, act: Callable[[], object] = lambda: None) -> Any:
    """Waits until something holds, doing something all the while; returns what it is then."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        act()
        time.sleep(0.3)
    raise AssertionError(f"not in {LONGEST:g} s: {what}")


@contextlib.contextmanager
def watching(
    folder: Path, targets: Sequence[tuple[str, Mapping[str, str]]], factor: float
) -> Iterator[Watching]:
    """Scrapes addresses each second, with labels for each, by rules that many times quicker."""
    addresses = [f"127.0.0.1:{free_port('127.0.0.1')}" for _ in range(2)]
    rules = quickened(read_rules(RULES.read_text(encoding="utf-8"), str(RULES)), factor)
    scraped = [{"targets": [target], "labels": dict(labels)} for target, labels in targets]
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [addresses[1]]}]}]},
        "scrape_configs": [{"job_name": "nbship-models", "honor_labels": True, "static_configs": scraped}],
    }
    # An alert that Prometheus no longer tells of is over after resolve_timeout.
    told = {
        "global": {"resolve_timeout": "5s"},
        "route": {"receiver": "nobody"},
        "receivers": [{"name": "nobody"}],
    }
    for name, content in (("rules", rules), ("prometheus", settings), ("alertmanager", told)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    commands = (
        [
            _program("prometheus"),
            f"--config.file={folder}/prometheus.yaml",
            f"--web.listen-address={addresses[0]}",
            f"--storage.tsdb.path={folder}/prometheus",
            "--rules.alert.resend-delay=2s",
        ],
        [
            _program("alertmanager"),
            f"--config.file={folder}/alertmanager.yaml",
            f"--web.listen-address={addresses[1]}",
            f"--storage.path={folder}/alertmanager",
            "--cluster.listen-address=",
        ],
    )
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "watching.log").open("wb"))
        for command in commands:
            process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        for address in addresses:
            eventually(lambda at=address: _is_ready(at), f"{address} is ready")  # type: ignore[misc]
        yield Watching(*(f"http://{address}" for address in addresses))


def _program(name: str) -> str:
    return next(filter(shutil.which, PROGRAMS[name]))


def _is_ready(address: str) -> bool:
    ready = f"http://{address}/-/ready"
    with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=10) as answer:
        return bool(answer.status == 200)
    return False
