"""Asks a Prometheus server, by its HTTP API, what it knows of a model's servers. Only reads."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from nbship.errors import NbshipError

_TIMEOUT = 10.0
# A share of failing requests of a version beside another that is worse: as in the alert rules.
_TIMES, _MORE = 2.0, 0.01
# Requests to a version from which a share of them says something.
_FEWEST = 20.0


@dataclass(frozen=True)
class Measurement:
    """One number of an answer, with its labels."""

    labels: Mapping[str, str]
    value: float


def query(address: str, expression: str) -> list[Measurement]:
    """Returns what an expression in PromQL is now.

    Args:
        address: Such as http://prometheus:9090.
        expression: An instant vector.

    Raises:
        NbshipError: Prometheus refuses, or does not answer.
    """
    url = f"{address.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:  # noqa: S310 (checked in config)
            result = json.load(response)["data"]["result"]
        return [Measurement(each["metric"], float(each["value"][1])) for each in result]
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")[:200]
        raise NbshipError(f"Prometheus at {address} refused: {said}", "check monitor.prometheus") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NbshipError(
            f"Prometheus at {address} did not answer: {error}", "check monitor.prometheus"
        ) from None


def worse_than_others(address: str, namespace: str, model: str, version: str, seconds: float) -> str:
    """Says in what a version fails more of its clients than the versions beside it do.

    Args:
        address: Of Prometheus.
        namespace: Of the model's servers.
        model: The model.
        version: The version that may be worse.
        seconds: How far to look back.

    Returns:
        A line for people; empty if it does not, or too few have asked to tell.

    Raises:
        NbshipError: Prometheus refuses, or does not answer.
    """
    whose = f'namespace="{namespace}", model="{model}"'
    window = f"[{max(seconds, 1):.0f}s]"
    asked = _by_version(address, f"sum by (version) (increase(nbship_requests_total{{{whose}}}{window}))")
    if asked.get(version, 0.0) < _FEWEST:
        return ""
    for status, what in (("5..", "fails"), ("4..", "refuses")):
        counted = f'sum by (version) (increase(nbship_requests_total{{{whose}, status=~"{status}"}}{window}))'
        found = _by_version(address, counted)
        # Both are extrapolated, and asked for one after the other: a part may seem to be more than the whole.
        shares = {each: min(found.get(each, 0.0) / count, 1.0) for each, count in asked.items() if count > 0}
        own = shares.pop(version)
        others = min(shares.values(), default=own if status == "4.." else 0.0)
        if own > _TIMES * others + _MORE:
            beside = f", the version beside it {others:.1%}" if shares else ""
            return f"{version} {what} {own:.1%} of {asked[version]:.0f} requests{beside}"
    return ""


def _by_version(address: str, expression: str) -> dict[str, float]:
    return {sample.labels.get("version", ""): sample.value for sample in query(address, expression)}
