"""Publishing runs: what is put in place, registered and refused, on real repositories."""

from __future__ import annotations

import json
from pathlib import Path

import joblib
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline as make_imputing

from nbship import files, package
from nbship.config import ColumnSettings, Pipeline, Publish
from nbship.errors import NbshipError, RejectedError, UsageError
from nbship.record import Artifact, State, run_folder
from nbship.versions import dvc, git, registry
from nbship.workflow.models import list_models
from nbship.workflow.publish import Published, package_run, publish
from tests.repositories import git as run_git
from tests.runs import NAME, REJECTED, make_pipeline, make_run, model_hash

FILES = ("models/line/model.joblib.dvc", "models/line/model.json")


def tags(root: Path) -> list[str]:
    return run_git(root, "tag").split()


def test_in_one_call_with_commit(project: Path) -> None:
    record = make_run(project, "20250101-000000-aaaa")
    published = publish(project, make_pipeline(), commit=True)
    assert published == Published(
        name=NAME,
        run=record.id,
        version="v1.0.0",
        placed=True,
        committed=True,
        registered=True,
        pushed=False,
        remote="",
        files=FILES,
    )
    assert published.next_commands == []
    assert run_git(project, "show", "--format=%s%n%b", "--name-only").split("\n") == [
        "Publish line v1.0.0",
        "rmse 0.5 (run 20250101-000000-aaaa)",
        "",
        "",
        *FILES,
        "",
    ]
    assert run_git(project, "rev-parse", "line@v1.0.0^{}") == run_git(project, "rev-parse", "HEAD")
    model = registry.champion(project, NAME)
    assert model is not None
    assert dvc.state(model) is dvc.FileState.SAME
    assert run_git(project, "status", "--porcelain") == ""


def test_the_package_says_where_the_model_comes_from(project: Path) -> None:
    record = make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline())
    folder = project / "models/line"
    read = package.read_package(folder)
    assert read.sha256 == model_hash(record)
    assert read.origin == package.Origin(
        run=record.id, started=record.started, revision="c0ffee", dirty=True, data={"table": "da7a"}
    )
    assert read.metrics == {"evaluate.rmse": 0.5}
    assert read.verdict == record.verdict
    assert package.load_model(folder).predict(pd.DataFrame({"x": [3.0]})) == pytest.approx([6.0])


def test_what_is_missing_in_the_rows_that_judged_may_be_missing(project: Path, tmp_path: Path) -> None:
    record = make_run(project, "20250101-000000-aaaa")
    folder = run_folder(project, "line", record.id)
    made = record.steps["train"].outputs["model"]
    fitted = make_imputing(SimpleImputer(), LinearRegression()).fit(
        pd.DataFrame({"x": [1.0, 2.0]}), [2.0, 4.0]
    )
    joblib.dump(fitted, folder / made.path)
    made.hash = files.content_hash(folder / made.path)
    (folder / "artifacts/prepare/test_set.csv").write_text("x,y\n,3\n1,2\n")
    judged = Artifact(
        type="Dataset", path="artifacts/prepare/test_set.csv", hash="", origin="prepare.test_set"
    )
    record.steps["prepare"].outputs["test_set"] = record.steps["evaluate"].inputs["test_set"] = judged
    pipeline = make_pipeline()
    assert pipeline.publish
    (column,) = package_run(tmp_path, pipeline, pipeline.publish, record, folder).inputs
    assert (column.missing, column.missing_held_out, column.required) == (0, 1, False)


def test_in_two_calls_with_a_commit_by_hand(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    first = publish(project, make_pipeline())
    assert (first.placed, first.committed, first.registered) == (True, False, False)
    assert first.next_commands == [
        "git add models/line/model.joblib.dvc models/line/model.json",
        "git commit -m 'Publish line v1.0.0' -- models/line/model.joblib.dvc models/line/model.json",
        "nbship publish line",
    ]
    assert tags(project) == []

    again = publish(project, make_pipeline())
    assert (again.placed, again.committed, again.registered) == (False, False, False)

    run_git(project, "add", *FILES)
    run_git(project, "commit", "--quiet", "--message", "By hand")
    second = publish(project, make_pipeline())
    assert (second.placed, second.committed, second.registered) == (False, True, True)
    assert tags(project) == ["line@v1.0.0"]


def test_twice_is_as_once(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline(), commit=True)
    head = run_git(project, "rev-parse", "HEAD")
    again = publish(project, make_pipeline(), commit=True)
    assert (again.placed, again.committed, again.registered) == (False, True, False)
    assert run_git(project, "rev-parse", "HEAD") == head
    assert tags(project) == ["line@v1.0.0"]


def test_a_later_commit_does_not_make_a_new_version(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline(), commit=True)
    (project / "notes.txt").write_text("unrelated")
    git.commit(project, [project / "notes.txt"], "Notes")
    assert publish(project, make_pipeline(), commit=True).version == "v1.0.0"
    assert tags(project) == ["line@v1.0.0"]


def test_versions_grow_with_what_clients_must_change(project: Path) -> None:
    first = make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline(), commit=True)
    second = make_run(project, "20250102-000000-bbbb", slope=3.0, champion=model_hash(first))
    assert publish(project, make_pipeline(), commit=True).version == "v1.1.0"
    make_run(project, "20250103-000000-cccc", columns=("x", "z"), champion=model_hash(second))
    assert publish(project, make_pipeline(), commit=True).version == "v2.0.0"

    (model,) = list_models(project)
    assert model.champion == "v2.0.0"
    assert [version.version for version in model.versions] == ["v2.0.0", "v1.1.0", "v1.0.0"]
    assert model.versions[1].message == "rmse 0.5 (run 20250102-000000-bbbb)"
    run_git(project, "checkout", "--quiet", "line@v1.1.0")
    assert list_models(project, NAME)[0].champion == "v1.1.0"
    assert registry.champion(project, NAME) is not None, "DVC's cache has it"


def test_what_the_user_has_staged_stays_his(project: Path) -> None:
    (project / "mine.txt").write_text("half done")
    run_git(project, "add", "mine.txt")
    make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline(), commit=True)
    assert run_git(project, "diff", "--cached", "--name-only") == "mine.txt\n"


def test_without_push_the_next_commands_name_it(project: Path, remote: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    published = publish(project, make_pipeline(), commit=True)
    assert (published.pushed, published.next_commands) == (False, ["dvc push"])
    assert list(remote.iterdir()) == []


def test_the_newest_run_is_taken_or_the_one_that_is_named(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    make_run(project, "20250102-000000-bbbb", slope=3.0)
    assert publish(project, make_pipeline(), "20250101").run == "20250101-000000-aaaa"
    with pytest.raises(NbshipError, match="champion has changed since run 20250102-000000-bbbb"):
        publish(project, make_pipeline())


def test_without_a_run(project: Path) -> None:
    with pytest.raises(UsageError, match="there is no run yet of line") as failure:
        publish(project, make_pipeline())
    assert failure.value.hint == "start one: nbship run line"


def test_a_rejected_run(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    make_run(project, "20250102-000000-bbbb", slope=3.0, verdict=REJECTED)
    with pytest.raises(RejectedError, match=r"rejected by the gate: rmse 3 \(≤ 1\)") as failure:
        publish(project, make_pipeline())
    assert failure.value.exit_code == 3
    assert not (project / "models").exists()


def test_a_rejected_run_whose_model_is_the_champion_already(project: Path) -> None:
    """As when `require: better` judges the champion against itself; its commit can still be registered."""
    record = make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline())
    make_run(project, "20250102-000000-bbbb", verdict=REJECTED, champion=model_hash(record))
    assert publish(project, make_pipeline(), commit=True).version == "v1.0.0"


@pytest.mark.parametrize("state", [State.FAILED, State.INTERRUPTED])
def test_a_run_that_did_not_finish(project: Path, state: State) -> None:
    make_run(project, "20250101-000000-aaaa")
    make_run(project, "20250102-000000-bbbb", state=state, verdict=None)
    with pytest.raises(NbshipError, match=f"20250102-000000-bbbb is not finished: it is {state}") as failure:
        publish(project, make_pipeline())
    assert failure.value.hint.endswith("nbship publish line --run 20250101-000000-aaaa")


def test_a_run_without_a_verdict(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa", verdict=None)
    with pytest.raises(NbshipError, match="was not judged"):
        publish(project, make_pipeline())
    assert publish(project, make_pipeline(gate=None)).placed


def test_a_pipeline_that_publishes_nothing(project: Path) -> None:
    with pytest.raises(UsageError, match=r"pipelines/line\.yaml: has no publish"):
        publish(project, make_pipeline(publish=None))


@pytest.mark.parametrize("name", ["train/model.joblib", "prepare/train_set.csv"])
@pytest.mark.parametrize("change", ["edited", "removed"])
def test_artifacts_that_were_changed_after_the_run(project: Path, name: str, change: str) -> None:
    record = make_run(project, "20250101-000000-aaaa")
    path = project / "runs/line" / record.id / "artifacts" / name
    if change == "edited":
        path.write_bytes(path.read_bytes() + b" ")
    else:
        path.unlink()
    with pytest.raises(NbshipError, match=f"{path.name} is not as the run left it"):
        publish(project, make_pipeline())
    assert not (project / "models").exists()


def test_an_output_that_the_run_does_not_have(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    with pytest.raises(UsageError, match=r"publish\.model: .* no output 'train\.modle'") as failure:
        publish(project, make_pipeline(publish=Publish(model="train.modle", target="y")))
    assert failure.value.hint == "did you mean 'train.model'?"


def test_a_champion_that_was_edited(project: Path) -> None:
    first = make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline(), commit=True)
    (project / "models/line/model.joblib").write_bytes(b"tampered")
    make_run(project, "20250102-000000-bbbb", slope=3.0, champion=model_hash(first))
    with pytest.raises(NbshipError, match="was edited"):
        publish(project, make_pipeline())


def test_a_description_that_belongs_to_another_model_is_written_anew(project: Path) -> None:
    record = make_run(project, "20250101-000000-aaaa", champion="")
    publish(project, make_pipeline())
    path = project / "models/line/model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": "0"}))
    make_run(project, "20250102-000000-bbbb", champion=model_hash(record))
    assert publish(project, make_pipeline()).placed
    assert package.read_package(path.parent).origin.run == "20250102-000000-bbbb"


def described(weight: str, **columns: ColumnSettings) -> Pipeline:
    columns = {"x": ColumnSettings(description=weight, unit="kg"), **columns}
    return make_pipeline(publish=Publish(target="y", columns=columns), description="A line.")


def test_new_words_about_the_champion_are_a_patch(project: Path) -> None:
    record = make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline(), commit=True)
    folder = project / "models/line"
    before = package.read_package(folder)

    renewed = publish(project, described("weight", y=ColumnSettings(unit="m")), commit=True)
    assert (renewed.placed, renewed.registered, renewed.version) == (True, True, "v1.0.1")
    after = package.read_package(folder)
    (column,) = after.inputs
    assert (after.description, column.description, column.unit) == ("A line.", "weight", "kg")
    assert after.output.reference.unit == "m"
    assert (after.sha256, after.origin, after.golden) == (model_hash(record), before.origin, before.golden)
    assert run_git(project, "show", "--format=%s", "--name-only").split("\n")[0] == "Publish line v1.0.1"
    assert run_git(project, "show", "--format=", "--name-only") == "models/line/model.json\n"

    again = publish(project, described("weight", y=ColumnSettings(unit="m")), commit=True)
    assert (again.placed, again.registered, again.version) == (False, False, "v1.0.1")
    assert publish(project, make_pipeline(), commit=True).version == "v1.0.2"
    assert package.read_package(folder) == before, "words that are gone from the pipeline file are gone"


def test_words_about_a_column_that_there_is_not(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline(), commit=True)
    with pytest.raises(UsageError, match="neither takes nor predicts a column 'z'"):
        publish(project, described("weight", z=ColumnSettings()), commit=True)
    assert run_git(project, "status", "--porcelain") == ""


def test_without_git(folder_without_git: Path) -> None:
    make_run(folder_without_git, "20250101-000000-aaaa")
    with pytest.raises(NbshipError, match="no Git repository"):
        publish(folder_without_git, make_pipeline())
    assert not (folder_without_git / "models").exists()


def test_without_an_identity_nothing_is_begun(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    run_git(project, "config", "user.email", "")
    run_git(project, "config", "user.name", "")
    with pytest.raises(NbshipError, match="does not know who you are"):
        publish(project, make_pipeline(), commit=True)
    assert not (project / "models").exists()


def test_what_makes_no_commit_needs_no_identity(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    run_git(project, "config", "user.email", "")
    run_git(project, "config", "user.name", "")
    for placed in (True, False):
        published = publish(project, make_pipeline())
        assert (published.placed, published.committed, published.registered) == (placed, False, False)


def test_a_hook_that_refuses_the_commit_can_be_satisfied_and_publishing_goes_on(project: Path) -> None:
    hook = project / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    make_run(project, "20250101-000000-aaaa")
    with pytest.raises(NbshipError, match="git commit failed"):
        publish(project, make_pipeline(), commit=True)
    hook.unlink()
    published = publish(project, make_pipeline(), commit=True)
    assert (published.placed, published.committed, published.registered) == (False, True, True)


def test_models_that_are_not_there(project: Path) -> None:
    assert list_models(project) == []
    with pytest.raises(UsageError, match="no published model 'line'"):
        list_models(project, NAME)
