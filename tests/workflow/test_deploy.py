import re
import shutil

import pytest

from nbship.cluster.check import CheckError
from nbship.cluster.manifest import has_canary
from nbship.config import Publish
from nbship.errors import NbshipError, UsageError
from nbship.versions import stages
from nbship.workflow.deploy import deploy, plan
from nbship.workflow.deployments import list_deployments
from nbship.workflow.rollback import rollback
from tests.deploying import KEY, make_stage, pipeline_with, predict, serving, use
from tests.kubernetes_server import TOKEN, Fault
from tests.repositories import git

MODES = ["Standard", "Knative"]


def test_the_first_version_is_reached_from_outside_only_once_it_is_checked(root, cluster):
    hidden = []

    def served(predictor, body):
        hidden.append(not cluster.controllers.split(KEY))
        return predict(predictor, body)

    cluster.served = served
    deployed = deploy(root, pipeline_with(), "staging", "v1.0.0")
    assert (deployed.version, deployed.previous, deployed.changed) == ("v1.0.0", "", True)
    assert deployed.url == "http://line-models.example.org"
    assert deployed.tag == "line#staging#1"
    assert hidden == [True] * 5 + [False] * 5
    assert cluster.shares == [{"v1.0.0": 100}]


@pytest.mark.parametrize("mode", MODES)
def test_a_new_version_gets_traffic_step_by_step(root, cluster, mode):
    use(cluster, mode)
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    said = []
    deployed = deploy(root, pipeline_with(), "staging", "v1.1.0", said.append)
    assert (deployed.version, deployed.previous, deployed.changed) == ("v1.1.0", "v1.0.0", True)
    assert cluster.shares == [
        {"v1.0.0": 100},
        {"v1.0.0": 90, "v1.1.0": 10},
        {"v1.0.0": 50, "v1.1.0": 50},
        {"v1.1.0": 100},
    ]
    assert said[0] == "v1.1.0 is deployed with 0 % of the traffic; waiting until it is ready"
    assert said[-1] == "v1.1.0 has all the traffic, v1.0.0 none"
    service = cluster.services[KEY]
    assert service["metadata"]["labels"]["nbship/version"] == "v1.1.0"
    assert "canary" not in service["spec"]
    assert "canaryTrafficPercent" not in service["spec"]["predictor"]
    assert service["spec"]["predictor"]["minReplicas"] == 1
    assert not any(line.startswith("DELETE") for line in cluster.seen)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((200, {"predictions": [0.5]}), "a wrong prediction: 0.5 instead of"),
        ((200, {"predictions": []}), "not a prediction"),
        ((200, "<html>it works</html>"), "not a prediction"),
        ((500, {"error": "no"}), "HTTP status 500"),
    ],
)
def test_a_version_that_answers_wrongly_gets_no_traffic(root, cluster, mode, answer, why):
    use(cluster, mode)
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    cluster.served = lambda predictor, body: (
        answer if predictor["labels"]["nbship/version"] == "v1.1.0" else predict(predictor, body)
    )
    with pytest.raises(CheckError, match=re.escape(why)):
        deploy(root, pipeline_with(), "staging", "v1.1.0")
    assert serving(cluster) == {"v1.0.0": 100}
    assert cluster.shares == [{"v1.0.0": 100}]
    assert len(stages.history(root, "line")) == 1
    cluster.served = predict
    assert deploy(root, pipeline_with(), "staging", "v1.1.0").changed
    assert serving(cluster) == {"v1.1.0": 100}


@pytest.mark.parametrize("mode", MODES)
def test_a_version_that_goes_bad_under_traffic_loses_it(root, cluster, mode):
    use(cluster, mode)
    deploy(root, pipeline_with(), "staging", "v1.0.0")

    def served(predictor, body):
        new = predictor["labels"]["nbship/version"] == "v1.1.0"
        return (500, {}) if new and cluster.shares[-1].get("v1.1.0") == 50 else predict(predictor, body)

    cluster.served = served
    said = []
    with pytest.raises(CheckError, match="requests failed"):
        deploy(root, pipeline_with(), "staging", "v1.1.0", said.append)
    assert said[-1] == "v1.1.0 is removed; v1.0.0 has all the traffic"
    assert serving(cluster) == {"v1.0.0": 100}
    assert all(set(shares) <= {"v1.0.0", "v1.1.0"} for shares in cluster.shares)
    assert max(shares.get("v1.1.0", 0) for shares in cluster.shares) == 50
    assert not has_canary(cluster.services[KEY])


def test_a_first_version_that_answers_wrongly_is_removed(root, cluster):
    cluster.served = lambda predictor, body: (200, {"predictions": [0]})
    with pytest.raises(CheckError, match="wrong prediction"):
        deploy(root, pipeline_with(), "staging")
    assert cluster.services == {}
    assert cluster.shares == []


def test_a_slow_server_is_refused(root, cluster):
    cluster.faults = [Fault("/proxy/", slow=0.15, times=9)]
    with pytest.raises(CheckError, match=r"the median answer took 0\.1"):
        deploy(root, pipeline_with(latency=0.1), "staging")


@pytest.mark.parametrize("mode", MODES)
def test_a_model_that_cannot_be_loaded_is_told_at_once(root, cluster, mode):
    use(cluster, mode)
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    cluster.stuck["pvc://store/models/line/v1.1.0"] = "out of memory"
    with pytest.raises(CheckError, match="out of memory"):
        deploy(root, pipeline_with(timeout=60), "staging", "v1.1.0")
    assert serving(cluster) == {"v1.0.0": 100}


def test_what_serves_is_checked_again_and_not_changed(root, cluster):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    before = cluster.writes()
    deployed = deploy(root, pipeline_with(), "staging", "v1.0.0")
    assert (deployed.changed, deployed.tag, deployed.previous) == (False, "", "v1.0.0")
    assert cluster.writes() == before


def test_changed_settings_of_what_serves_are_brought_there(root, cluster):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    assert deploy(root, pipeline_with(memory="2Gi"), "staging", "v1.0.0").changed
    model = cluster.services[KEY]["spec"]["predictor"]["model"]
    assert model["resources"]["limits"]["memory"] == "2Gi"


def test_unless_a_newer_version_was_deployed(root, cluster):
    deploy(root, pipeline_with(), "staging", "v1.1.0", unless_newer=True)
    said = []
    kept = deploy(root, pipeline_with(), "staging", "v1.0.0", said.append, unless_newer=True)
    assert (kept.version, kept.changed) == ("v1.1.0", False)
    assert said == ["staging has line v1.1.0, which is newer than v1.0.0"]
    assert serving(cluster) == {"v1.1.0": 100}
    # Whoever asks for an older one gets it.
    assert deploy(root, pipeline_with(), "staging", "v1.0.0").version == "v1.0.0"
    assert serving(cluster) == {"v1.0.0": 100}


@pytest.mark.parametrize("mode", MODES)
def test_roll_back_and_history(root, cluster, mode):
    use(cluster, mode)
    pipeline = pipeline_with()
    with pytest.raises(NbshipError, match="nothing served line in staging before"):
        rollback(root, pipeline, "staging")
    for version in ("v1.0.0", "v1.1.0", "v1.2.0"):
        deploy(root, pipeline, "staging", version)
    assert rollback(root, pipeline, "staging").version == "v1.1.0"
    assert serving(cluster) == {"v1.1.0": 100}
    assert rollback(root, pipeline, "staging").version == "v1.0.0"
    with pytest.raises(NbshipError, match=r"before v1\.0\.0"):
        rollback(root, pipeline, "staging")
    found = list_deployments(root, pipeline)
    assert [each.version for each in sorted(found.history, key=lambda each: each.number)] == [
        "v1.0.0",
        "v1.1.0",
        "v1.2.0",
        "v1.1.0",
        "v1.0.0",
    ]
    assert {each.author for each in found.history} == {"Ada Lovelace"}
    assert [(s.stage, s.version, s.canary) for s in found.serving] == [("staging", "v1.0.0", "")]


def test_the_record_is_what_gto_reads(root, cluster):
    from gto import api

    deploy(root, pipeline_with(), "staging", "v1.1.0")
    assert git(root, "rev-parse", "line#staging#1^{}") == git(root, "rev-parse", "line@v1.1.0^{}")
    (assigned,) = [e for e in api.history(str(root), "line") if e["event"] == "assignment"]
    assert (assigned["stage"], assigned["version"]) == ("staging", "v1.1.0")


def test_two_clones_record_their_deployments_one_after_the_other(root, cluster, tmp_path):
    git(tmp_path, "clone", "--quiet", "--bare", str(root), "origin.git")
    git(root, "remote", "add", "origin", "../origin.git")
    other = shutil.copytree(root, tmp_path / "other", symlinks=True)
    assert deploy(root, pipeline_with(), "staging", "v1.0.0").tag == "line#staging#1"
    assert deploy(other, pipeline_with(), "staging", "v1.1.0").tag == "line#staging#2"
    assert rollback(root, pipeline_with(), "staging").tag == "line#staging#3"
    tags = git(tmp_path / "origin.git", "tag", "--list", "line#*").split()
    assert tags == ["line#staging#1", "line#staging#2", "line#staging#3"]


def test_a_record_that_cannot_be_pushed_is_told_and_made_up_for(root, cluster, tmp_path):
    git(root, "remote", "add", "origin", str(tmp_path / "nowhere"))
    said = []
    assert deploy(root, pipeline_with(), "staging", report=said.append).tag == ""
    assert said[-1].startswith("deployed, but not recorded in Git")
    assert git(root, "tag", "--list", "line#*") == ""
    git(root, "remote", "remove", "origin")
    assert deploy(root, pipeline_with(), "staging").tag == "line#staging#1"


def test_the_ingress_is_asked_as_clients_ask_it(root, cluster):
    pipeline = pipeline_with(make_stage(url=cluster.address))
    deploy(root, pipeline, "staging", "v1.0.0")
    deploy(root, pipeline, "staging", "v1.1.0")
    asked = [line for line in cluster.seen if line == "POST /v1/models/line:predict"]
    assert len(asked) >= 5 * 4


def test_an_ingress_that_leads_nowhere_takes_the_first_version_back(root, cluster, monkeypatch):
    monkeypatch.setattr("nbship.workflow.watching.SETTLE", 0.1)
    monkeypatch.setattr(cluster, "ingress", lambda host, body: (404, {}))
    with pytest.raises(CheckError, match="cannot be reached: HTTP status 404"):
        deploy(root, pipeline_with(make_stage(url=cluster.address)), "staging")
    assert serving(cluster) == {}
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("break_it", "error", "why"),
    [
        (lambda c: setattr(c, "crd", False), NbshipError, "the cluster has no such resource"),
        (lambda c: c.runtimes.clear(), NbshipError, "models has no ServingRuntime 'nbship-sklearn'"),
        (
            lambda c: (c.runtimes.clear(), setattr(c, "may_read", ())),
            NbshipError,
            "models has no ServingRuntime 'nbship-sklearn', and those of the cluster may not be read",
        ),
        (lambda c: c.faults.append(Fault("POST /apis", status=403)), NbshipError, "does not allow it"),
        (lambda c: c.faults.append(Fault("proxy", status=403)), NbshipError, "does not allow it"),
        (lambda c: setattr(c, "configuration", None), NbshipError, "deployment mode is unknown"),
        (lambda c: setattr(c, "knative", False) or use(c, "Knative"), UsageError, "has no Knative"),
    ],
)
def test_what_stands_in_the_way_is_told(root, cluster, break_it, error, why):
    break_it(cluster)
    with pytest.raises(error, match=why) as raised:
        deploy(root, pipeline_with(), "staging")
    assert raised.value.hint
    assert TOKEN not in str(raised.value)
    assert cluster.services == {}


def test_an_old_kserve_that_leaves_canaries_out_is_refused(root, cluster):
    cluster.crd = "old"
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    with pytest.raises(NbshipError, match="does not support canaries in Standard mode"):
        deploy(root, pipeline_with(), "staging", "v1.1.0")
    assert serving(cluster) == {"v1.0.0": 100}
    assert cluster.services[KEY]["spec"]["predictor"]["minReplicas"] == 1


def test_no_replicas_need_knative(root, cluster):
    sleeping = pipeline_with(make_stage(min_replicas=0))
    with pytest.raises(UsageError, match="min_replicas: 0 needs Knative"):
        deploy(root, sleeping, "staging")
    use(cluster, "Knative")
    deploy(root, sleeping, "staging")
    assert cluster.services[KEY]["spec"]["predictor"]["minReplicas"] == 0


def test_the_mode_of_a_live_service_stays(root, cluster):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    with pytest.raises(UsageError, match="mode Standard, which cannot become Knative"):
        deploy(root, pipeline_with(kserve="Knative"), "staging", "v1.1.0")


def test_a_service_of_somebody_else_is_left_alone(root, cluster):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    del cluster.services[KEY]["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    before = cluster.writes()
    with pytest.raises(NbshipError, match="nbship did not make"):
        deploy(root, pipeline_with(), "staging", "v1.1.0")
    assert cluster.writes() == before


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_api_is_asked_again(root, cluster, status):
    cluster.faults = [Fault("GET /api", status=status, times=2), Fault("PATCH", status=status, times=2)]
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    cluster.faults = [Fault("PATCH", status=status, times=2)]
    deploy(root, pipeline_with(), "staging", "v1.1.0")
    assert serving(cluster) == {"v1.1.0": 100}


def test_a_lost_answer_is_asked_for_again(root, cluster):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    cluster.faults = [Fault("PATCH", lost=True, times=3)]
    deploy(root, pipeline_with(), "staging", "v1.1.0")
    assert serving(cluster) == {"v1.1.0": 100}


@pytest.mark.parametrize("mode", MODES)
def test_changes_by_others_meanwhile_are_kept(root, cluster, mode):
    use(cluster, mode)
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    count = 0

    def touch(line):
        nonlocal count
        if line.startswith("PATCH") and count < 12:
            count += 1
            if count % 2:
                metadata = cluster.services[KEY]["metadata"]
                metadata["resourceVersion"] += "0"
                metadata["annotations"]["team"] = f"cars {count}"

    cluster.before = touch
    deploy(root, pipeline_with(), "staging", "v1.1.0")
    assert serving(cluster) == {"v1.1.0": 100}
    assert cluster.services[KEY]["metadata"]["annotations"]["team"] == "cars 11"


@pytest.mark.parametrize("mode", MODES)
def test_of_two_deployments_at_once_the_loser_leaves_the_winner_alone(root, cluster, mode):
    use(cluster, mode)
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    started = []

    def interfere(line):
        if "/proxy/" in line and not started and has_canary(cluster.services[KEY]):
            started.append(True)
            deploy(root, pipeline_with(), "staging", "v1.2.0")

    cluster.before = interfere
    with pytest.raises(NbshipError, match=r"another deployment (replaced the canary|put v1\.2\.0)"):
        deploy(root, pipeline_with(), "staging", "v1.1.0")
    assert serving(cluster) == {"v1.2.0": 100}


def test_a_dry_run_shows_the_manifest_and_changes_nothing(root, cluster):
    planned = plan(root, pipeline_with(), "staging", "v1.0.0")
    assert planned.running == ""
    assert "storageUri: pvc://store/models/line/v1.0.0" in planned.manifest
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    before = cluster.writes()
    assert plan(root, pipeline_with(), "staging", "v1.0.0").difference == ""
    planned = plan(root, pipeline_with(), "staging", "v1.1.0")
    assert planned.running == "v1.0.0"
    assert "-      storageUri: pvc://store/models/line/v1.0.0" in planned.difference
    assert "+      storageUri: pvc://store/models/line/v1.1.0" in planned.difference
    assert cluster.writes() == before


def test_gitops_commits_the_manifest_and_nothing_else(root, cluster):
    pipeline = pipeline_with(mode="gitops", kserve="Knative")
    (root / "mine.txt").write_text("not finished")
    git(root, "add", "mine.txt")
    deployed = deploy(root, pipeline, "staging", "v1.1.0")
    assert deployed.next_commands == ("git push",)
    changed = git(root, "show", "--format=%s", "--name-only").split("\n")
    assert changed[:3] == ["Deploy line v1.1.0 to staging", "", "kubernetes/serving/line/staging.yaml"]
    assert git(root, "diff", "--cached", "--name-only") == "mine.txt\n"
    assert not deploy(root, pipeline, "staging", "v1.1.0").changed
    assert "+" in plan(root, pipeline, "staging", "v1.2.0").difference
    assert cluster.seen == []
    with pytest.raises(UsageError, match="cannot ask the cluster"):
        deploy(root, pipeline_with(mode="gitops"), "staging")


def test_the_model_store_must_have_the_version(root, cluster, tmp_path):
    store = tmp_path / "store"
    pipeline = pipeline_with().model_copy(update={"publish": Publish(target="y", store=str(store))})
    with pytest.raises(NbshipError, match=r"has no line v1\.2\.0"):
        deploy(root, pipeline, "staging")
    (store / "line/v1.2.0").mkdir(parents=True)
    (store / "line/v1.2.0/model.json").write_text("{}")
    with pytest.raises(NbshipError, match="has another line v1"):
        deploy(root, pipeline, "staging")
    shutil.copy(root / "models/line/model.json", store / "line/v1.2.0/model.json")
    assert deploy(root, pipeline, "staging").version == "v1.2.0"
    unmounted = pipeline_with(make_stage(storage=None)).model_copy(update={"publish": pipeline.publish})
    with pytest.raises(UsageError, match="a cluster cannot load models from the folder"):
        deploy(root, unmounted, "staging")


def test_wrong_names_are_told_with_a_suggestion(root, cluster):
    with pytest.raises(UsageError, match="no stage 'stagin'") as raised:
        deploy(root, pipeline_with(), "stagin")
    assert raised.value.hint == "did you mean 'staging'?"
    with pytest.raises(UsageError, match=r"line has no version 'v9\.0\.0'"):
        deploy(root, pipeline_with(), "staging", "v9.0.0")


def test_no_cluster_is_told(root, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(NbshipError, match="no cluster to deploy to"):
        deploy(root, pipeline_with(), "staging")
    (serving,) = list_deployments(root, pipeline_with()).serving
    assert serving.problem.startswith("no cluster to deploy to")
