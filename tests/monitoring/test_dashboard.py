"""Grafana's dashboard: what it shows of which model, and that its queries are PromQL on what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from nbship.monitoring.dashboard import dashboard
from nbship.monitoring.gauges import exposition
from nbship.package import read_package
from nbship.serving import metrics
from tests.monitoring.test_gauges import LOOK
from tests.served import write_cars, write_churn

FOLDER = Path(__file__).parent.parent.parent / "kubernetes" / "monitoring"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("models")
    write_cars(folder / "cars")
    write_churn(folder / "churn")
    packages = [read_package(folder / name) for name in ("cars", "churn")]
    return json.loads(dashboard("Models of shop", "nbship-shop", packages))


def queries(shown: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in shown["panels"] for target in panel.get("targets", ())]


def test_each_model_has_a_row_with_its_columns_in_words(shown: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in shown["panels"] if panel["type"] == "row"]
    assert titles == ["cars: mpg", "churn: churn"]
    names = {
        renamed["value"]
        for panel in shown["panels"]
        for override in panel.get("fieldConfig", {}).get("overrides", ())
        for renamed in override["properties"]
    }
    assert names == {
        "curb weight (weight)",
        "engine power (hp)",
        "where it was made (origin)",
        "time as a customer (tenure)",
        "kind of contract (contract)",
    }


def test_no_panel_covers_another(shown: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in shown["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in shown["panels"]}) == len(shown["panels"])


def test_what_it_asks_for_is_there(shown: dict[str, Any]) -> None:
    """Every name is a metric of the server, a gauge of a look, or recorded by a rule."""
    rules = yaml.safe_load((FOLDER / "rules.yaml").read_text())
    recorded = {rule.get("record") for group in rules["groups"] for rule in group["rules"]}
    gauges = set(re.findall(r"^(nbship_\w+)", exposition(LOOK), re.M))
    for rule in (rule["expr"] for group in rules["groups"] for rule in group["rules"]):
        for name in re.findall(r"\bnbship_\w+", rule):
            base = re.sub(r"_(total|bucket)$", "", name)
            assert name in gauges or base in served(), name
    for query in queries(shown):
        for name in re.findall(r"\bnbship[_:][\w:]+", query):
            assert name in recorded | gauges, query


def served() -> set[str]:
    return {each._name for each in vars(metrics).values() if hasattr(each, "_name")}


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool on this machine")
def test_its_queries_are_promql(shown: dict[str, Any], tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$namespace", ".*")}
        for number, query in enumerate(queries(shown))
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_a_model_there_is_what_holds_for_all(shown: dict[str, Any]) -> None:
    empty = json.loads(dashboard("Models of shop", "nbship-shop", []))
    assert empty["panels"] == shown["panels"][: len(empty["panels"])]
    assert json.loads((FOLDER / "dashboard.json").read_text())["panels"] == empty["panels"]


def test_grafanas_own_schema_knows_every_key(shown: dict[str, Any]) -> None:
    """As its SDK has it, which is made from the schema: read and written again, nothing is lost or other."""
    register_default_plugins()
    written = JSONEncoder().encode(Dashboard.from_json(shown))
    assert list(differences(shown, json.loads(written), "")) == []
    wrong = json.loads(json.dumps(shown))
    wrong["panels"][0]["fieldConfig"]["defaults"]["units"] = "s"
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(wrong)))
    assert list(differences(wrong, kept, "")) == [".panels[0].fieldConfig.defaults.units is lost"]


def differences(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    """What of ours is not in theirs, which may have defaults beside."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            place = f"{where}.{key}"
            yield from differences(value, theirs[key], place) if key in theirs else [f"{place} is lost"]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(our, their, f"{where}[{number}]")
    elif ours != theirs:
        yield f"{where} is {theirs} and not {ours}"
