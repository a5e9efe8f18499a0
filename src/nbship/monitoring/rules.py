"""Alert rules, which people write in `kubernetes/monitoring/rules.yaml`: as the operator's, and quicker.

One file says what is recorded and when Prometheus alerts; everything else is made of it here.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import yaml

from nbship.errors import UsageError

Rules = dict[str, Any]

_DURATION = re.compile(r"(\d+)(s|m|h|d)")
_RANGE = re.compile(r"\[(\d+)(s|m|h|d)\]")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WRITTEN = "# Written by `nbship dashboard` from rules.yaml; change that.\n"


def read_rules(text: str, where: str) -> Rules:
    """Reads a file of rules.

    Raises:
        UsageError: It is none.
    """
    try:
        rules = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: not YAML: {error}", f"see: promtool check rules {where}") from None
    if not isinstance(rules, dict) or not isinstance(rules.get("groups"), list):
        raise UsageError(f"{where}: not rules of Prometheus", f"see: promtool check rules {where}")
    return rules


def prometheus_rule(rules: Rules) -> str:
    """Returns the rules as an object of Prometheus' operator, in YAML."""
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "nbship", "labels": {"app.kubernetes.io/part-of": "nbship"}},
        "spec": {"groups": rules["groups"]},
    }
    return _WRITTEN + yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=1000)


def quickened(rules: Rules, factor: float, shortest: float = 3.0) -> Rules:
    """Returns rules that look back and wait for a part of the time only, to see in seconds what takes hours.

    Args:
        rules: The rules.
        factor: What each duration is divided by, in ranges and in `for`. Numbers within conditions stay.
        shortest: Seconds that every range has at least: it must hold several scrapes.
    """

    def shorter(match: re.Match[str], least: float = 1.0) -> str:
        seconds = int(match[1]) * _SECONDS[match[2]] / factor
        return f"{max(least, round(seconds)):.0f}s"

    def shorter_range(match: re.Match[str]) -> str:
        return f"[{shorter(match, shortest)}]"

    changed = copy.deepcopy(rules)
    for group in changed["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = _RANGE.sub(shorter_range, rule["expr"])
            if "for" in rule:
                rule["for"] = _DURATION.sub(shorter, rule["for"])
    return changed
