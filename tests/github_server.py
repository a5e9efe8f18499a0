"""A GitHub API server on loopback, for tests: the calls that nbship makes, in memory.

`github_openapi.json` is what GitHub publishes of these operations (MIT), cut out of its OpenAPI description:
a request must fit its parameters and schema, or it is refused, and answers are its examples with our values.
It can be told to fail.
"""

from __future__ import annotations

import base64
import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema

from tests.forge_server import ForgeHandler, ForgeServer, Record
from tests.kubeflow_server import RefusedError
from tests.servers import http_server

OWNER, NAME = "octo", "cars"
REPOSITORY = f"{OWNER}/{NAME}"
TOKEN = "ghs_battery-staple"  # noqa: S105
OPERATIONS = json.loads((Path(__file__).parent / "github_openapi.json").read_text())["operations"]


@dataclass(frozen=True)
class Call:
    """One operation that is asked for: its parameters, and its body."""

    parameters: dict[str, str]
    body: Any


@dataclass(kw_only=True)
class GithubServer(ForgeServer):
    """What one repository has, and how the server behaves.

    Attributes:
        user: Who the token is; a job's own token may not ask.
        may_ask: Whether it may.
        statuses: By commit and context.
        pulls: By number; `commits` lists what they hold.
        comments: By number of the pull request, in the order in which they were made.
        files: Content by branch and path; a branch without any is there.
        reactions: By comment, in the order in which they came.
        labels: By number of the pull request.
        roles: What people may do, by name: the names of GitHub's roles.
        pushes: To branches, of forks too, the newest first: repository, branch, commit, time.
        runs: The state of workflows' runs: queued, in_progress or completed.
        heads: The commits of runs.
        started: What was asked of each run that was started: branch and inputs.
        unmergeable: Why nothing may be merged; empty if it may.
        now: When comments are made.
        page: How many records an answer holds at most.
    """

    user: str = "github-actions[bot]"
    may_ask: bool = False
    statuses: dict[tuple[str, str], Record] = field(default_factory=dict)
    pulls: dict[int, Record] = field(default_factory=dict)
    comments: dict[int, list[Record]] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    reactions: dict[int, list[str]] = field(default_factory=dict)
    labels: dict[int, set[str]] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    pushes: list[tuple[str, str, str, str]] = field(default_factory=list)
    runs: dict[int, str] = field(default_factory=dict)
    heads: dict[int, str] = field(default_factory=dict)
    started: dict[int, tuple[str, dict[str, str]]] = field(default_factory=dict)
    unmergeable: str = ""
    now: str = "2026-01-31T12:00:00Z"
    page: int = 100
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(100))

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which nbship finds it in a job."""
        return {
            "NBSHIP_GITHUB_TOKEN": TOKEN,
            "GITHUB_API_URL": self.address,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_ACTIONS": "true",
        }

    def add_pull(
        self, number: int, branch: str, commits: list[str], state: str = "open", merged_at: str = ""
    ) -> None:
        pull = example("pulls/get", "200")
        pull["head"] |= {"ref": branch, "label": f"{OWNER}:{branch}", "sha": (commits or ["0" * 40])[-1]}
        pull["head"]["repo"]["full_name"] = REPOSITORY
        pull["base"]["ref"] = pull["base"]["repo"]["default_branch"] = "main"
        self.pulls[number] = {
            **pull,
            "number": number,
            "state": state,
            "updated_at": self.now,
            "merged_at": merged_at or None,
            "merged": bool(merged_at),
            "commits": commits,
        }

    def add_comment(self, number: int, body: str, author: str) -> Record:
        identifier = next(self._ids)
        comment = example("issues/create-comment", "201") | {"id": identifier, "body": body}
        comment["user"] |= {"login": author, "type": "Bot" if author.endswith("[bot]") else "User"}
        comment |= {"created_at": self.now, "updated_at": self.now}
        if number in self.pulls:
            self.pulls[number]["updated_at"] = self.now
        comment["html_url"] = f"https://github.com/{REPOSITORY}/pull/{number}#issuecomment-{identifier}"
        self.comments.setdefault(number, []).append(comment)
        return comment

    def bodies(self, number: int) -> list[str]:
        return [comment["body"] for comment in self.comments.get(number, [])]

    def _status(self, call: Call) -> tuple[int, Any]:
        commit = call.parameters["sha"]
        if not re.fullmatch("[0-9a-f]{40}", commit):
            raise RefusedError(422, f"No commit found for SHA: {commit}")
        if len(call.body.get("description", "")) > 140:
            raise RefusedError(422, "Validation Failed: description is too long (maximum is 140 characters)")
        self.statuses[commit, call.body["context"]] = call.body
        return 201, example("repos/create-commit-status", "201") | call.body

    def _list_pulls(self, call: Call) -> tuple[int, Any]:
        head, state = call.parameters.get("head", ""), call.parameters.get("state", "open")
        listed = [p for p in self.pulls.values() if head in ("", p["head"]["label"]) and p["state"] == state]
        if call.parameters.get("sort") == "updated":
            listed.sort(key=lambda p: p["updated_at"], reverse=call.parameters.get("direction") == "desc")
        return 200, listed

    def _open_pull(self, call: Call) -> tuple[int, Any]:
        head, number = call.body["head"], max(self.pulls, default=0) + 1
        opened = [p for p in self.pulls.values() if p["head"]["ref"] == head and p["state"] == "open"]
        if opened:
            raise RefusedError(422, f"Validation Failed: a pull request already exists for {OWNER}:{head}.")
        self.add_pull(number, head, [])
        told = {key: call.body.get(key) for key in ("title", "body")}
        self.pulls[number] |= {**told, "html_url": f"https://github.com/{REPOSITORY}/pull/{number}"}
        return 201, self.pulls[number]

    def _pull(self, call: Call) -> tuple[int, Any]:
        return 200, self._found(call.parameters["pull_number"])

    def _of_commit(self, call: Call) -> tuple[int, Any]:
        return 200, [pull for pull in self.pulls.values() if call.parameters["commit_sha"] in pull["commits"]]

    def _list_comments(self, call: Call) -> tuple[int, Any]:
        number = call.parameters["issue_number"]
        self._found(number)
        return 200, self.comments.get(int(number), [])

    def _comment(self, call: Call) -> tuple[int, Any]:
        self._found(call.parameters["issue_number"])
        return 201, self.add_comment(int(call.parameters["issue_number"]), call.body["body"], self.user)

    def _change_comment(self, call: Call) -> tuple[int, Any]:
        _, comment = self._found_comment(call.parameters["comment_id"])
        comment["body"] = call.body["body"]
        return 200, comment

    def _delete_comment(self, call: Call) -> tuple[int, Any]:
        comments, comment = self._found_comment(call.parameters["comment_id"])
        comments.remove(comment)
        return 204, None

    def _user(self, call: Call) -> tuple[int, Any]:
        if not self.may_ask:
            raise RefusedError(403, "Resource not accessible by integration")
        return 200, example("users/get-authenticated", "200") | {"login": self.user}

    def _content(self, call: Call) -> tuple[int, Any]:
        branch, path = call.parameters.get("ref", "main"), call.parameters["path"]
        if path not in self.files.get(branch, {}):
            raise RefusedError(404, "Not Found")
        return 200, self._file(branch, path)

    def _put(self, call: Call) -> tuple[int, Any]:
        branch, path = call.body["branch"], call.parameters["path"]
        if branch not in self.files:
            raise RefusedError(404, f"Branch {branch} not found")
        if path in self.files[branch] and "sha" not in call.body:
            raise RefusedError(422, 'Invalid request. "sha" wasn\'t supplied.')
        self.files[branch][path] = base64.b64decode(call.body["content"], validate=True)
        return 201, example("repos/create-or-update-file-contents", "201") | {
            "content": self._file(branch, path)
        }

    def _ref(self, call: Call) -> tuple[int, Any]:
        if call.parameters["ref"].removeprefix("heads/") not in self.files:
            raise RefusedError(404, "Not Found")
        return 200, example("git/get-ref", "200")

    def _make_ref(self, call: Call) -> tuple[int, Any]:
        branch = call.body["ref"].removeprefix("refs/heads/")
        if branch in self.files:
            raise RefusedError(422, "Reference already exists")
        self.files[branch] = {}
        return 201, example("git/create-ref", "201")

    def _tree(self, call: Call) -> tuple[int, Any]:
        return 201, example("git/create-tree", "201")

    def _commit(self, call: Call) -> tuple[int, Any]:
        return 201, example("git/create-commit", "201")

    def _react(self, call: Call) -> tuple[int, Any]:
        _, comment = self._found_comment(call.parameters["comment_id"])
        there = self.reactions.setdefault(comment["id"], [])
        known = call.body["content"] in there
        there += [] if known else [call.body["content"]]
        return 200 if known else 201, example("reactions/create-for-issue-comment", "201") | call.body

    def _add_labels(self, call: Call) -> tuple[int, Any]:
        self._found(call.parameters["issue_number"])
        there = self.labels.setdefault(int(call.parameters["issue_number"]), set())
        there |= set(call.body["labels"])
        return 200, [{"name": name} for name in sorted(there)]

    def _remove_label(self, call: Call) -> tuple[int, Any]:
        there = self.labels.get(int(call.parameters["issue_number"]), set())
        if call.parameters["name"] not in there:
            raise RefusedError(404, "Label does not exist")
        there.remove(call.parameters["name"])
        return 200, [{"name": name} for name in sorted(there)]

    def _permission(self, call: Call) -> tuple[int, Any]:
        """Of the roles, `permission` knows four: maintain is write there, and triage read."""
        role = self.roles.get(call.parameters["username"], "read")
        legacy = {"maintain": "write", "triage": "read"}.get(role, role)
        known = {"permission": legacy, "role_name": role}
        return 200, example("repos/get-collaborator-permission-level", "200") | known

    def _activities(self, call: Call) -> tuple[int, Any]:
        """In the words of its schema; those of the published example are of an earlier day."""
        asked = (f"{call.parameters['owner']}/{call.parameters['repo']}", call.parameters["ref"])
        found = [push for push in self.pushes if (push[0], f"refs/heads/{push[1]}") == asked]
        return 200, [{"ref": asked[1], "after": commit, "timestamp": when} for _, _, commit, when in found]

    def _merge(self, call: Call) -> tuple[int, Any]:
        pull = self._found(call.parameters["pull_number"])
        if pull["merged"] or self.unmergeable:
            raise RefusedError(405, self.unmergeable or "Pull Request is not mergeable")
        if call.body.get("sha", pull["head"]["sha"]) != pull["head"]["sha"]:
            raise RefusedError(409, "Head branch was modified. Review and try the merge again.")
        pull |= {"merged": True, "state": "closed", "merged_at": self.now}
        return 200, example("pulls/merge", "200")

    def _run(self, call: Call) -> tuple[int, Any]:
        run = int(call.parameters["run_id"])
        if run not in self.runs:
            raise RefusedError(404, "Not Found")
        known = {"id": run, "status": self.runs[run], "head_sha": self.heads.get(run, "0" * 40)}
        return 200, example("actions/get-workflow-run", "200") | known

    def _dispatch(self, call: Call) -> tuple[int, Any]:
        """Its answer has the run's number only if that is asked for."""
        branch = call.body["ref"].removeprefix("refs/heads/")
        heads = [pull["head"]["sha"] for pull in self.pulls.values() if pull["head"]["ref"] == branch]
        heads += ["0" * 40] * (branch == "main")
        if not heads:
            raise RefusedError(422, f"No ref found for: {branch}")
        run = next(self._ids)
        self.runs[run], self.heads[run] = "in_progress", heads[0]
        self.started[run] = (branch, call.body["inputs"])
        if not call.body.get("return_run_details"):
            return 204, None
        return 200, example("actions/create-workflow-dispatch", "200") | {"workflow_run_id": run}

    def _cancel_run(self, call: Call) -> tuple[int, Any]:
        run = int(call.parameters["run_id"])
        if self.runs.get(run, "completed") == "completed":
            raise RefusedError(409, "Cannot cancel a workflow run that is completed.")
        self.runs[run] = "completed"
        return 202, {}

    def _file(self, branch: str, path: str) -> Record:
        return {
            "content": base64.encodebytes(self.files[branch][path]).decode(),
            "encoding": "base64",
            "name": path,
            "path": path,
            "html_url": f"https://github.com/{REPOSITORY}/blob/{branch}/{path}",
        }

    def _found(self, number: str) -> Record:
        if int(number) not in self.pulls:
            raise RefusedError(404, "Not Found")
        return self.pulls[int(number)]

    def _found_comment(self, identifier: str) -> tuple[list[Record], Record]:
        for comments in self.comments.values():
            for comment in comments:
                if comment["id"] == int(identifier):
                    return comments, comment
        raise RefusedError(404, "Not Found")


CARRIED_OUT: dict[str, Callable[[GithubServer, Call], tuple[int, Any]]] = {
    "repos/create-commit-status": GithubServer._status,
    "pulls/list": GithubServer._list_pulls,
    "pulls/create": GithubServer._open_pull,
    "pulls/get": GithubServer._pull,
    "repos/list-pull-requests-associated-with-commit": GithubServer._of_commit,
    "issues/list-comments": GithubServer._list_comments,
    "issues/create-comment": GithubServer._comment,
    "issues/update-comment": GithubServer._change_comment,
    "issues/delete-comment": GithubServer._delete_comment,
    "users/get-authenticated": GithubServer._user,
    "repos/get-content": GithubServer._content,
    "repos/create-or-update-file-contents": GithubServer._put,
    "git/get-ref": GithubServer._ref,
    "git/create-ref": GithubServer._make_ref,
    "git/create-tree": GithubServer._tree,
    "git/create-commit": GithubServer._commit,
    "reactions/create-for-issue-comment": GithubServer._react,
    "issues/add-labels": GithubServer._add_labels,
    "issues/remove-label": GithubServer._remove_label,
    "repos/get-collaborator-permission-level": GithubServer._permission,
    "repos/list-activities": GithubServer._activities,
    "pulls/merge": GithubServer._merge,
    "actions/get-workflow-run": GithubServer._run,
    "actions/cancel-workflow-run": GithubServer._cancel_run,
    "actions/create-workflow-dispatch": GithubServer._dispatch,
}
# What anybody may read of a fork.
_OF_FORKS = ("repos/list-activities",)


def example(operation: str, status: str) -> Any:
    """The answer that GitHub publishes as an example."""
    (found,) = [each for each in OPERATIONS if each["operationId"] == operation]
    return copy.deepcopy(found["responses"][status])


def understood(method: str, path: str, query: dict[str, str], body: bytes) -> tuple[str, Call]:
    """The operation that a request asks for; refuses one that does not fit what is published."""
    for operation in OPERATIONS:
        pattern = re.sub(r"\{(path|ref)\}", r"(?P<\1>.+)", operation["path"])
        match = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern), path)
        if match and operation["method"] == method.lower():
            break
    else:
        raise RefusedError(404, "Not Found")
    given = {**match.groupdict(), **query}
    ours = given.get("owner", OWNER) == OWNER and given.get("repo", NAME) == NAME
    if not ours and operation["operationId"] not in _OF_FORKS:
        raise RefusedError(404, "Not Found")
    for parameter in operation["parameters"]:
        check(given, parameter)
    unknown = set(query) - {parameter["name"] for parameter in operation["parameters"]}
    value = json.loads(body) if body else None
    if operation["body"] is not None:
        try:
            jsonschema.validate(value, operation["body"])
        except jsonschema.ValidationError as error:
            raise RefusedError(422, f"Validation Failed: {error.message}") from None
        schemas = [operation["body"], *operation["body"].get("oneOf", ())]
        unknown |= set(value) - {key for schema in schemas for key in schema.get("properties", {})}
    if unknown:
        raise RefusedError(422, f"not published: {unknown}")
    return operation["operationId"], Call(given, value)


def check(given: dict[str, str], parameter: Record) -> None:
    name, schema = parameter["name"], parameter["schema"]
    if name not in given:
        if parameter.get("required"):
            raise RefusedError(422, f"{name} is missing")
        return
    value = int(given[name]) if schema.get("type") == "integer" and given[name].isdigit() else given[name]
    try:
        jsonschema.validate(value, schema)
    except jsonschema.ValidationError as error:
        raise RefusedError(422, f"{name}: {error.message}") from None


class _Handler(ForgeHandler):
    forge: GithubServer

    def answered(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise RefusedError(401, "Bad credentials")
        if self.headers.get("X-GitHub-Api-Version") != "2022-11-28":
            raise RefusedError(400, "this version of the API is not supported")
        paged = {key: value for key, value in query.items() if key != "page"}
        operation, call = understood(self.command, path, paged, body)
        return CARRIED_OUT[operation](self.forge, call)

    def refusal(self, refused: RefusedError) -> Record:
        return {"message": str(refused), "status": str(refused.status)}

    def page_of(
        self, records: list[Record], path: str, query: dict[str, str]
    ) -> tuple[list[Record], dict[str, str]]:
        number, size = int(query.get("page", 1)), min(int(query.get("per_page", 30)), self.forge.page)
        headers = {}
        if number * size < len(records):
            rest = "&".join(f"{key}={value}" for key, value in query.items() if key != "page")
            headers["Link"] = f'<{self.forge.address}{path}?{rest}&page={number + 1}>; rel="next"'
        return records[(number - 1) * size : number * size], headers


@contextmanager
def serve(github: GithubServer) -> Iterator[GithubServer]:
    """Runs a server on loopback."""
    handler = type("Handler", (_Handler,), {"forge": github})
    with http_server(handler, None, "localhost") as github.address:
        yield github
