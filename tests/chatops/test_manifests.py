"""kubernetes/chatops is what the receiver needs, and its secret's shape what the receiver reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
import yaml

from nbship.chatops.hooks import SECRET
from nbship.chatops.receiver import LARGEST
from nbship.ci.starting import TRIGGER
from nbship.cli.receive import add_to
from nbship.serving.listening import GRACE

FOLDER = Path(__file__).parents[2] / "kubernetes" / "chatops"


def manifest(name: str) -> Any:
    (found,) = yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))
    return found


DEPLOYMENT = manifest("deployment.yaml")["spec"]
POD = DEPLOYMENT["template"]["spec"]
(CONTAINER,) = POD["containers"]


def test_every_file_is_applied_but_the_shape_of_the_secret() -> None:
    there = {path.name for path in FOLDER.iterdir()} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(manifest("kustomization.yaml")["resources"]) == there


def test_its_options_are_those_of_the_command() -> None:
    group = typer.Typer()
    add_to(group)
    (command,) = [each for each in typer.main.get_group(group).commands.values() if each.name == "serve"]
    known = {option for each in command.params for option in each.opts}
    assert CONTAINER["command"] == ["nbship", "chatops", "serve"]
    assert {each.partition("=")[0] for each in CONTAINER["args"]} <= known


def test_the_secret_has_a_shape_and_no_values() -> None:
    secret = manifest("secret.example.yaml")
    assert secret["stringData"] == dict.fromkeys([SECRET, TRIGGER, "NBSHIP_GITLAB_TOKEN"], "")
    assert {"secretRef": {"name": secret["metadata"]["name"]}} in CONTAINER["envFrom"]


def test_one_server_has_the_queue_and_time_to_end() -> None:
    assert DEPLOYMENT["replicas"] == 1 and DEPLOYMENT["strategy"] == {"type": "Recreate"}
    assert POD["terminationGracePeriodSeconds"] > 2 * GRACE
    claim = manifest("volume-claim.yaml")["metadata"]["name"]
    (mounted,) = [
        each for each in POD["volumes"] if each.get("persistentVolumeClaim", {}).get("claimName") == claim
    ]
    (mount,) = [each for each in CONTAINER["volumeMounts"] if each["name"] == mounted["name"]]
    assert f"--queue={mount['mountPath']}/comments" in CONTAINER["args"]


def test_it_has_no_right_in_the_cluster() -> None:
    account = manifest("service-account.yaml")
    assert POD["serviceAccountName"] == account["metadata"]["name"]
    assert not account["automountServiceAccountToken"] and not POD["automountServiceAccountToken"]


def test_only_the_webhook_is_reached_from_outside() -> None:
    (rule,) = manifest("ingress.yaml")["spec"]["rules"]
    assert [(each["path"], each["pathType"]) for each in rule["http"]["paths"]] == [("/hook", "Exact")]
    notes = manifest("ingress.yaml")["metadata"]["annotations"]
    assert notes["nginx.ingress.kubernetes.io/proxy-body-size"] == f"{LARGEST // 2**20}m"
