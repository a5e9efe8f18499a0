"""Starting a job by the forge's API, with variables: GitLab's pipeline triggers, GitHub's workflow_dispatch.

Once and no more: whoever calls knows what may be tried again. A token is sent to the forge's API alone, never
in an address, and is in no error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from nbship.ci import github_client as github
from nbship.ci import gitlab_client as gitlab
from nbship.ci.forge import refusal
from nbship.errors import NbshipError, UsageError

TRIGGER = "NBSHIP_TRIGGER_TOKEN"
_CREATED, _REDIRECTED = (200, 201, 204), range(300, 400)
# To connect and to answer, in seconds.
_PATIENCE = (5.0, 20.0)
# A forge that asks for more patience is asked again after this, in seconds.
_LONGEST_WAIT = 3600.0


class StartError(NbshipError):
    """A job that was not started, or of which nobody knows whether it was.

    Args:
        message: What is wrong, and where.
        hint: What to do about it.
        after: Seconds that the forge wants to be left alone for.
    """

    def __init__(self, message: str, hint: str = "", after: float = 0) -> None:
        super().__init__(message, hint)
        self.after = after


@dataclass(frozen=True)
class Start:
    """Where a job is started, and by what.

    Attributes:
        forge: Which API is spoken.
        api: Its address, such as https://gitlab.example.org/api/v4.
        project: The project's path.
        branch: Whose jobs these are: the default branch, whatever a merge request changes.
        token: A trigger's, or a token that may start workflows.
        workflow: The file of the workflow, on GitHub.
        authority: A file with the certificates that are trusted; empty for the usual ones.
    """

    forge: Literal["gitlab", "github"]
    api: str
    project: str
    branch: str
    token: str = field(repr=False)
    workflow: str = ""
    authority: str = ""


def find_start(environment: Mapping[str, str], forge: str, project: str, branch: str, workflow: str) -> Start:
    """Finds out how to start jobs of a project.

    Args:
        environment: For GitLab `NBSHIP_GITLAB_URL` and `NBSHIP_TRIGGER_TOKEN`, or what a job has; for GitHub
            `NBSHIP_GITHUB_TOKEN`, and `NBSHIP_GITHUB_API` where it is not github.com.
        forge: "gitlab" or "github".
        project: The project's path.
        branch: The branch whose jobs are started; the job's default branch if empty.
        workflow: The file of the workflow, on GitHub.

    Raises:
        UsageError: Something is not told.
    """

    def first(*names: str) -> str:
        return next((value for name in names if (value := environment.get(name, "").strip())), "")

    if forge == "github":
        found = Start(
            "github",
            (first(github.API, "GITHUB_API_URL") or "https://api.github.com").rstrip("/"),
            project,
            branch or "main",
            first(github.TOKEN),
            workflow,
            first(github.CA),
        )
        needed = github.TOKEN
    else:
        server = first(gitlab.URL, "CI_SERVER_URL").rstrip("/")
        if not server:
            raise UsageError("it is not told where GitLab is", f"set {gitlab.URL} to its address")
        found = Start(
            "gitlab",
            f"{server}/api/v4",
            project,
            branch or first("CI_DEFAULT_BRANCH") or "main",
            first(TRIGGER, "CI_JOB_TOKEN"),
            authority=first(gitlab.CA, "CI_SERVER_TLS_CA_FILE"),
        )
        needed = TRIGGER
    if not found.token:
        raise UsageError(f"there is no token to start jobs of {project} with", f"set {needed}; see the guide")
    return found


def start_job(start: Start, variables: Mapping[str, str]) -> str:
    """Starts a job.

    Args:
        start: Where, and by what.
        variables: What it is given.

    Returns:
        The address of the pipeline; empty where the forge does not tell it.

    Raises:
        StartError: The forge refuses, or does not answer.
    """
    import requests  # type: ignore[import-untyped]

    project = quote(start.project, safe="/" if start.forge == "github" else "")
    headers = {"Accept": "application/json"}
    if start.forge == "gitlab":
        address = f"{start.api}/projects/{project}/trigger/pipeline"
        body = {"token": start.token, "ref": start.branch, "variables": dict(variables)}
    else:
        address = f"{start.api}/repos/{project}/actions/workflows/{quote(start.workflow, safe='')}/dispatches"
        body = {"ref": start.branch, "inputs": dict(variables)}
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {start.token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
    try:
        answer = requests.post(
            address,
            json=body,
            headers=headers,
            timeout=_PATIENCE,
            verify=start.authority or True,
            allow_redirects=False,  # the token would go along
        )
    except requests.exceptions.SSLError:
        raise StartError(f"{start.api}: its certificate is not trusted", "name its authority") from None
    except requests.RequestException as error:
        what = "no answer in time" if isinstance(error, requests.Timeout) else "no connection"
        raise StartError(f"{start.api}: {what}", "check the network") from None
    if answer.status_code not in _CREATED:
        raise _refused(start, answer)
    told = _json(answer.text)
    return str(told.get("web_url") or told.get("html_url") or "") if isinstance(told, dict) else ""


def _refused(start: Start, answer: Any) -> StartError:
    needed = f"check {TRIGGER}, the branch, and who may set variables of pipelines; see the guide"
    if start.forge == "github":
        needed = (
            f"check {github.TOKEN}, which must write actions, the branch, and the workflow; see the guide"
        )
    told = _json(answer.text)
    said = told.get("message", answer.text) if isinstance(told, dict) else answer.text
    if answer.status_code in _REDIRECTED:
        said = "it redirects; name the address that it redirects to"
    worded = refusal(start.api, answer.status_code, str(said), start.token, needed)
    try:
        after = min(max(float(answer.headers.get("Retry-After", "0")), 0.0), _LONGEST_WAIT)
    except ValueError:  # a date
        after = 60.0
    return StartError(worded.message, worded.hint, after)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
