"""A comment is worked once, for the commit that its author saw, if he may; and answered."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from nbship.chatops import commands, work
from nbship.chatops.actions import Context, Outcome
from nbship.chatops.events import read_comment
from nbship.errors import UsageError
from tests.commenting import HEAD, NEXT, NUMBER, Place

LATER = "2026-01-31T12:30:00Z"


def states(entries: tuple) -> list[str]:
    return [entry.state for entry in entries]


def test_a_command_is_run_and_answered(forge: Place, done: list[str]) -> None:
    comment = forge.write("Let us see.\n/run cars --set train.C=3")
    # On GitLab the request's code is run by another pipeline; this is its job.
    assert forge.work(comment, part="answer") == 0
    assert (done, states(forge.entries(comment))) == ([], ["queued"])
    assert forge.work(comment, part="code") == 0
    assert done == ["run cars train.C=3"]
    (entry,) = forge.entries(comment)
    assert (entry.state, entry.text) == ("done", "It ran.")
    assert forge.reactions(comment) == ["eyes"]
    assert forge.labels() == {"nbship:passed"}
    assert len(forge.server.bodies(NUMBER)) == 2


def test_the_code_of_a_request_runs_apart(
    forge: Place, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    comment = forge.write("/run cars\n/staging_deploy cars")
    waited = []

    def sleep(_: float) -> None:
        """In the meantime, the pipeline that was started works."""
        ((number, (branch, variables)),) = forge.server.started.items()
        told = {**forge.environment(number), **variables, "GITHUB_EVENT_NAME": "workflow_dispatch"}
        assert (branch, read_comment(told)) == ("topic", comment)
        forge.work(comment, pipeline=number, part="code", environment=told)
        forge.end(number)
        waited.append(number)

    monkeypatch.setattr(work, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    assert forge.work(comment) == 0
    assert done == ["run cars", "deploy staging v1.1.0"]
    assert len(waited) == len(forge.server.started) == 1


def test_what_a_pipeline_does_not_answer_is_told(
    forge: Place, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = SimpleNamespace(sleep=lambda _: forge.end(max(forge.server.started)), monotonic=time.monotonic)
    monkeypatch.setattr(work, "time", ended)
    comment = forge.write("/run cars\n/staging_deploy cars")
    assert forge.work(comment) == 1
    assert states(forge.entries(comment)) == ["failed", "skipped"]
    assert done == []


def test_delivered_again_nothing_is_done_again(forge: Place, done: list[str]) -> None:
    comment = forge.write("/staging_deploy cars\n/help")
    for pipeline in (100, 100, 101):
        forge.work(comment, pipeline=pipeline)
    assert done == ["deploy staging v1.1.0"]
    assert states(forge.entries(comment)) == ["done", "done"]


def test_an_ordinary_comment_costs_no_request(forge: Place, done: list[str]) -> None:
    comment = forge.write("Looks good, see /etc/hosts.\n> /deploy cars\n/lgtm")
    forge.server.seen.clear()
    assert forge.work(comment) == 0
    assert forge.server.seen == []


@pytest.mark.parametrize("text", ["/deploy cars", "/rollback production cars", "/nbship approve " + HEAD])
def test_who_may_not_is_told_and_nothing_is_done(forge: Place, done: list[str], text: str) -> None:
    (entry,) = forge.say(text)
    assert entry.state == "refused"
    assert "takes the role maintain, and ada has write" in entry.text
    assert done == []


def test_strangers_may_do_nothing(forge: Place, done: list[str]) -> None:
    commands = ["/run cars", "/sweep cars", "/submit cars", "/staging_deploy cars", "/stop", "/status"]
    assert {*states(forge.say("\n".join(commands), author="mallory"))} == {"refused"}
    assert done == []


def test_the_branch_below_says_who_may(forge: Place, done: list[str]) -> None:
    forge.settings("chatops: {rights: {run: nobody, deploy: {production: write}}}")
    forge.server.files["topic"] = {"nbship.yaml": b"chatops: {rights: {run: read}}"}
    assert states(forge.say("/deploy cars\n/run cars")) == ["done", "refused"]


def test_settings_that_are_not_understood_allow_nothing(forge: Place, done: list[str]) -> None:
    forge.settings("chatops: {rights: {run: everybody}}")
    (entry,) = forge.say("/staging_deploy cars")
    assert entry.state == "refused"
    assert "nbship\\.yaml of main" in entry.text or "nbship.yaml of main" in entry.text


def test_a_push_in_between_is_told_and_not_run(forge: Place, done: list[str]) -> None:
    comment = forge.write("/staging_deploy cars")
    forge.push(NEXT, LATER)
    forge.work(comment)
    (entry,) = forge.entries(comment)
    assert entry.state == "refused"
    assert "was at 111111111111 when this was written, and is at 222222222222 now" in entry.text
    assert done == []


def test_a_rollback_does_not_wait_for_anybody_to_look(
    forge: Place, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is about no commit of the request, and may be urgent."""
    before = commands.COMMANDS["rollback"]
    back = replace(before, action=lambda context: Outcome("done", f"Back in {context.given['stage']}."))
    monkeypatch.setitem(commands.COMMANDS, "rollback", back)
    forge.fork()
    comment = forge.write("/rollback production cars\n/deploy cars", "grace")
    forge.push(NEXT, LATER)
    forge.work(comment)
    assert [entry.state for entry in forge.entries(comment)] == ["done", "refused"]


def test_a_push_while_it_waits_is_told_and_not_run(forge: Place, done: list[str]) -> None:
    comment = forge.write("/run cars")
    forge.work(comment, part="answer")
    forge.push(NEXT, LATER)
    forge.work(comment, part="code")
    assert states(forge.entries(comment)) == ["refused"]
    assert done == []


def test_a_push_of_the_same_second_counts_as_later(forge: Place, done: list[str]) -> None:
    forge.push(NEXT, "2026-01-31T12:00:00Z")
    assert states(forge.say("/staging_deploy cars")) == ["refused"]


def test_code_of_a_fork_waits_for_a_member(forge: Place, done: list[str]) -> None:
    forge.fork()
    assert "does not run code of a fork" in forge.say("/run cars")[0].text
    (entry,) = forge.say("/staging_deploy cars")
    assert entry.state == "refused"
    assert f"/nbship approve {HEAD}" in entry.text
    assert states(forge.say(f"/nbship approve {HEAD}", author="mallory")) == ["refused"]
    assert states(forge.say(f"/nbship approve {HEAD[:12]}", author="grace")) == ["refused"]
    assert states(forge.say("/staging_deploy cars")) == ["refused"]
    assert states(forge.say(f"/nbship approve {HEAD}", author="grace")) == ["done"]
    assert states(forge.say("/staging_deploy cars")) == ["done"]
    forge.push(NEXT, LATER)
    assert states(forge.say("/staging_deploy cars")) == ["refused"]
    assert done == ["deploy staging v1.1.0"]


def test_an_approval_lasts_no_longer_than_the_right_to_give_it(forge: Place, done: list[str]) -> None:
    forge.fork()
    forge.say(f"/nbship approve {HEAD}", author="grace")
    forge.allow("grace", "write")
    assert states(forge.say("/staging_deploy cars")) == ["refused"]


def test_a_request_into_another_branch_brings_no_rights(forge: Place, done: list[str]) -> None:
    if forge.name == "github":
        forge.server.pulls[NUMBER]["base"]["ref"] = "mine"
    else:
        forge.server.merge_requests[NUMBER]["target_branch"] = "mine"
    forge.server.files["mine"] = {"nbship.yaml": b"chatops: {rights: {deploy: {production: write}}}"}
    (entry,) = forge.say("/deploy cars")
    assert (entry.state, done) == ("refused", [])


@pytest.mark.parametrize("author", ["renovate[bot]", "github-actions[bot]", "project_1_bot_0a1b"])
def test_programs_start_nothing(forge: Place, done: list[str], author: str) -> None:
    if author.endswith("[bot]") == (forge.name == "github"):
        forge.allow(author, "admin")
        comment = forge.write("/staging_deploy cars", author)
        assert forge.work(comment) == 0
        assert (forge.replies(), done) == ([], [])


def test_an_edited_comment_starts_nothing(forge: Place, done: list[str]) -> None:
    comment = forge.write("/help")
    notes = forge.server.comments if forge.name == "github" else forge.server.notes
    notes[NUMBER][0]["body"] = "/staging_deploy cars"
    forge.work(comment)
    (entry,) = forge.entries(comment)
    assert (entry.command, entry.state, done) == ("/help", "refused", [])


def test_a_comment_that_is_edited_while_it_is_worked_is_left(forge: Place, done: list[str]) -> None:
    """Also where the job is not told the text."""
    comment = replace(forge.write("/run cars"), text="")
    forge.work(comment, part="answer")
    notes = forge.server.comments if forge.name == "github" else forge.server.notes
    notes[NUMBER][0]["body"] = "/run cars --set train.C=1000"
    forge.work(comment, part="code")
    (entry,) = forge.entries(comment)
    assert (entry.command, entry.state, done) == ("/run cars", "refused", [])


def test_a_comment_of_another_project_is_refused(forge: Place, done: list[str]) -> None:
    comment = forge.write("/staging_deploy cars")
    for changes in ({"project": "else/where"}, {"forge": "gitea"}):
        with pytest.raises(UsageError, match="not for a job of"):
            forge.work(replace(comment, **changes))
    assert done == []


def test_a_push_while_it_deploys_is_not_merged(
    forge: Place, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.settings("chatops: {merge: when deployed}")
    before = commands.COMMANDS["deploy"]

    def pushed(context: Context) -> Outcome:
        forge.push(NEXT, LATER)
        return before.action(context)

    monkeypatch.setitem(commands.COMMANDS, "deploy", replace(before, action=pushed))
    (entry,) = forge.say("/deploy cars", author="grace")
    assert (entry.state, forge.merged) == ("done", False)
    assert "Not merged: " in entry.text


def test_an_event_that_tells_of_another_author_is_refused(forge: Place, done: list[str]) -> None:
    comment = replace(forge.write("/staging_deploy cars", "mallory"), author="grace")
    with pytest.raises(UsageError, match="not by grace"):
        forge.work(comment)
    assert done == []


def test_unknown_commands_are_answered_with_the_nearest(forge: Place, done: list[str]) -> None:
    first, second, third = forge.say("/depoly cars\n/nbship frobnicate\n/run cars --sett a.b=1")
    assert "did you mean /deploy" in first.text
    assert "see /help" in second.text
    assert "No such option" in third.text
    assert {first.state, second.state, third.state} == {"refused"}


@pytest.mark.parametrize(
    "text",
    [
        "/run cars --config-override /etc/passwd",
        "/run cars --kernel standard",
        "/sweep cars --set train.C=1,2 --compile .git/hooks/pre-push",
        "/sweep cars --set train.C=1,2 --write",
        "/staging_deploy cars --to production",
        "/staging_deploy cars --config-override x.yaml",
        "/submit cars --image evil",
        "/submit cars --target vertex",
        "/rollback",
        "/help me please",
        "/run --help",
    ],
)
def test_a_comment_may_give_less_than_a_command_line(forge: Place, done: list[str], text: str) -> None:
    (entry,) = forge.say(text)
    assert (entry.state, done) == ("refused", [])


def test_what_is_behind_a_failure_is_left(forge: Place, done: list[str], tmp_path: Path) -> None:
    found = forge.say("/rollback staging cars\n/staging_deploy cars", root=tmp_path)
    assert states(found) == ["failed", "skipped"] or states(found) == ["refused", "done"]


def test_a_deployed_request_is_merged_if_the_settings_say_so(forge: Place, done: list[str]) -> None:
    forge.say("/deploy cars", author="grace")
    assert not forge.merged
    forge.settings("chatops: {merge: when deployed}")
    forge.say("/staging_deploy cars", author="grace")
    assert not forge.merged
    (entry,) = forge.say("/deploy cars", author="grace")
    assert forge.merged
    assert entry.text.endswith("Merged.")


def test_the_forges_rules_come_first(forge: Place, done: list[str]) -> None:
    forge.settings("chatops: {merge: when deployed}")
    forge.server.unmergeable = "At least 1 approving review is required"
    (entry,) = forge.say("/deploy cars", author="grace")
    assert (entry.state, forge.merged) == ("done", False)
    assert "Not merged: " in entry.text
    assert "approving review" in entry.text


def test_a_person_may_not_write_without_end(forge: Place, done: list[str]) -> None:
    forge.settings("chatops: {limit: 2}")
    assert [len(forge.say("/staging_deploy cars")) for _ in range(3)] == [1, 1, 0]
    forge.at("2026-01-31T13:30:00Z")
    assert states(forge.say("/staging_deploy cars")) == ["done"]


def test_what_runs_can_be_seen_and_stopped(forge: Place, done: list[str], repository: Path) -> None:
    comment = forge.write("/run cars")
    forge.work(comment, part="answer", pipeline=100)
    (entry,) = forge.say("/status", pipeline=101, root=repository)
    assert "/run cars \\(queued\\)" in entry.text or "/run cars (queued)" in entry.text
    (entry,) = forge.say("/stop", pipeline=102)
    assert "/run cars" in entry.text
    assert forge.states[100] in ("completed", "canceled")
    assert states(forge.entries(comment)) == ["skipped"]


@pytest.mark.parametrize(("command", "goes_on"), [("/submit cars", True), ("/run cars", False)])
def test_what_goes_on_elsewhere_after_a_stop_is_told(
    forge: Place, done: list[str], command: str, goes_on: bool
) -> None:
    comment = forge.write(command)
    forge.work(comment, part="answer", pipeline=100)
    forge.say("/stop", pipeline=102)
    (entry,) = forge.entries(comment)
    assert ("on Kubeflow goes on" in entry.text) is goes_on


def test_the_help_names_all_commands_and_roles(forge: Place, done: list[str]) -> None:
    text = forge.say("/help")[0].text
    assert "| `/rollback STAGE [NAME]` |" in text
    assert "| `/deploy [NAME] [--to STAGE] [--version V]` | deploys" in text


def test_one_after_the_other_on_a_request(forge: Place, done: list[str]) -> None:
    first, second = forge.write("/run cars"), forge.write("/deploy cars", "grace")
    forge.work(first, part="answer", pipeline=100)
    forge.work(second, pipeline=101)
    assert states(forge.entries(second)) == ["refused"]
    assert "under way" in forge.entries(second)[0].text
    # Whose pipeline is gone holds nobody up.
    forge.end(100)
    assert states(forge.say("/deploy cars", author="grace", pipeline=102)) == ["done"]


def test_a_workflow_is_told_which_jobs_have_something_to_do(
    forge: Place, done: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "output"
    forge.variables["GITHUB_OUTPUT"] = str(output)
    forge.say("/run cars\n/staging_deploy cars\n/submit cars\n/help", part="answer")
    told = dict(line.split("=", 1) for line in output.read_text().splitlines())
    assert (told["head"], told["code"], told["image"]) == (HEAD, "true", "true")
    assert json.loads(told["deliver"]) == [
        {"index": 1, "environment": "staging/cars", "image": False},
        {"index": 2, "environment": "kubeflow/cars", "image": True},
    ]


def test_no_job_leaves_a_command_without_an_answer(forge: Place, done: list[str]) -> None:
    comment = forge.write("/run cars\n/staging_deploy cars")
    forge.work(comment, part="answer")
    forge.work(comment, part="end")
    assert states(forge.entries(comment)) == ["skipped", "skipped"]


def test_every_act_has_a_line_for_the_audit(forge: Place, done: list[str]) -> None:
    forge.say("/staging_deploy cars\n/deploy cars")
    told = [json.loads(line) for line in forge.lines]
    assert [(line["command"], line["outcome"]) for line in told] == [
        ("/staging_deploy cars", "allowed"),
        ("/deploy cars", "refused"),
        ("/staging_deploy cars", "done"),
    ]
    assert {line["author"] for line in told} == {"ada"}
    assert {line["commit"] for line in told} == {HEAD}
