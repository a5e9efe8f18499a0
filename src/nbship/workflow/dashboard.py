"""Makes what kubernetes/monitoring has: Grafana's dashboard of the models, the operator's alert rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nbship import package
from nbship.config import load_pipeline
from nbship.errors import UsageError
from nbship.files import disk_error
from nbship.monitoring.dashboard import dashboard
from nbship.monitoring.rules import prometheus_rule, read_rules
from nbship.package import Package
from nbship.project import pipeline_names
from nbship.versions import registry
from nbship.workflow.compile import Generated

FOLDER = Path("kubernetes", "monitoring")
RULES = FOLDER / "rules.yaml"


def generate(root: Path) -> list[Generated]:
    """Returns the dashboard and the rules' other form, to write or to check.

    Raises:
        UsageError: There are no rules, or they cannot be understood.
        NbshipError: A published model's description cannot be read.
    """
    path = root / RULES
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"there is no {RULES}", "nbship init --kubernetes writes it") from None
    except OSError as error:
        raise disk_error(error, path) from None
    project = _project(root)
    made = {
        "dashboard.json": dashboard(f"Models of {project}", f"nbship-{project}", list(_published(root))),
        "prometheus-rule.yaml": prometheus_rule(read_rules(text, str(RULES))),
    }
    return [_generated(root / FOLDER / name, content) for name, content in made.items()]


def _published(root: Path) -> Iterator[Package]:
    """The descriptions of the models that have been published, by name."""
    for name in pipeline_names(root):
        found = package.find_package(registry.model_folder(root, name))
        if found:
            yield found


def _project(root: Path) -> str:
    """The name that all pipelines of a project share: that of its image, without registry and tag."""
    names = pipeline_names(root)
    image = load_pipeline(root, names[0]).image if names else "nbship"
    return re.sub(r"[:@].*", "", image.rpartition("/")[2])


def _generated(path: Path, content: str) -> Generated:
    before = path.read_text(encoding="utf-8") if path.exists() else None
    why = "" if before == content else "differs" if before is not None else "is missing"
    return Generated(path, content, (why,) if why else (), "nbship dashboard")
