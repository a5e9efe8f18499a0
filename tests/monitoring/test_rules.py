"""The alert rules: what promtool says of them, and that nothing stands for them twice."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from nbship.errors import UsageError
from nbship.monitoring.gauges import STATES
from nbship.monitoring.rules import prometheus_rule, quickened, read_rules

FOLDER = Path(__file__).parent.parent.parent / "kubernetes" / "monitoring"
RULES = FOLDER / "rules.yaml"
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool on this machine")


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> dict:
    return read_rules(RULES.read_text(), str(RULES))


@needs_promtool
@pytest.mark.parametrize("factor", [1, 60, 300])
def test_prometheus_takes_them_however_quick(factor: int, tmp_path: Path) -> None:
    path = RULES if factor == 1 else tmp_path / "rules.yaml"
    if factor > 1:
        path.write_text(yaml.safe_dump(quickened(rules(), factor)))
    promtool("check", "rules", str(path))


@needs_promtool
def test_each_fires_when_it_should_and_not_else() -> None:
    promtool("test", "rules", *map(str, sorted((FOLDER / "tests").glob("*.yaml"))))


def test_there_is_a_test_of_each() -> None:
    texts = "".join(path.read_text() for path in (FOLDER / "tests").glob("*.yaml"))
    for group in rules()["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                found = re.findall(rf"alertname: {rule['alert']}(, .*exp_alerts: \[\])?", texts)
                assert "" in found, f"no test sees {rule['alert']} fire"
                assert any(found) or rule["alert"] == "NbshipDrift", f"no test sees {rule['alert']} silent"
                assert {"summary", "action"} <= set(rule["annotations"])


def test_the_operators_object_says_the_same() -> None:
    made = yaml.safe_load(prometheus_rule(rules()))
    assert made == yaml.safe_load((FOLDER / "prometheus-rule.yaml").read_text())
    assert made["spec"]["groups"] == rules()["groups"]


def test_quicker_rules_differ_in_time_alone() -> None:
    quick, slow = quickened(rules(), 300), rules()
    for group in quick["groups"]:
        assert group.pop("interval") == "1s"
    texts = [re.sub(r"\[\d+[smhd]\]|'for': '\d+[smhd]'", "", str(each)) for each in (quick, slow)]
    assert texts[0] == texts[1]
    by_name = {rule.get("record") or rule["alert"]: rule for g in quick["groups"] for rule in g["rules"]}
    assert "[12s]" in by_name["nbship:flagged:ratio1h"]["expr"]
    assert "[3s]" in by_name["nbship:requests:rate5m"]["expr"]  # it must hold several scrapes
    assert by_name["NbshipFlagged"]["for"] == "3s"


def test_the_state_that_alerts_is_act() -> None:
    (rule,) = (r for g in rules()["groups"] for r in g["rules"] if r.get("alert") == "NbshipDrift")
    assert rule["expr"] == f"nbship_monitor_state == {STATES['act']}"


@pytest.mark.parametrize("text", ["groups: [", "[]", "groups: 3"])
def test_what_is_no_rules_says_so(text: str) -> None:
    with pytest.raises(UsageError, match=r"rules\.yaml"):
        read_rules(text, "rules.yaml")
