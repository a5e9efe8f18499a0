"""Runs the commands of docs/production.md, in order, against servers on loopback that work together.

`python -m tests.guide` writes what they print into the page. The Kubeflow here runs what is submitted, by KFP
itself; the cluster answers with the published models. The page's addresses stay in the page and in the
project: Git, environment variables and the kube config lead to loopback instead.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import yaml
from docs.renew import copy_project

from nbship import package
from nbship.config import load_pipeline
from nbship.config.layers import merge
from nbship.errors import ExitCode
from nbship.project import pipeline_names
from nbship.workflow.compile import compile_pipeline
from nbship.workflow.data import ensure
from tests import gitlab_server, kubernetes_server
from tests.gitlab_server import PROJECT, GitlabServer
from tests.kubeflow_server import KubeflowServer
from tests.kubeflow_server import serve as serve_kubeflow
from tests.kubernetes_server import KubernetesServer, write_kube_config
from tests.repositories import git
from tests.servers import S3_KEYS, TOKEN, USER, Watch, git_server, s3_server

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/production.md"
PIPELINE = "pipelines/auto-mpg.yaml"
BUCKET = "cars"
KUBEFLOW_TOKEN = "kubeflow-hunter2"  # noqa: S105
_BLOCK = re.compile(r"^<!-- (?P<mark>.+) -->$|^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.M | re.S)
# A page shows exit codes that are not 0, and a failure is none of them.
_EXPECTED = (ExitCode.DONE, ExitCode.REJECTED)
_EXIT = "exit code {}"
_IDENTITY = "[user]\n\tname = Ada Lovelace\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n"
_NBSHIP = ("-c", "user.name=nbship", "-c", "user.email=nbship@example.org")
_RUN = """\
import json, sys
from kfp import components, local

folder, text, parameters = sys.argv[1:]
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=folder)
components.load_component_from_text(open(text).read())(**json.loads(parameters))
"""


@dataclass
class Tour:
    """Where a reader of the page is, and what is around.

    Attributes:
        folder: All of it.
        here: The reader's current folder.
        environment: The reader's.
        gitlab: The team's GitLab.
        shown: Addresses on loopback, and what the page calls them.
    """

    folder: Path
    here: Path
    environment: dict[str, str]
    gitlab: GitlabServer
    shown: Mapping[str, str]

    def follow(self, page: str) -> str:
        """Does what a page says; returns the page with what is printed."""
        return _BLOCK.sub(self._block, page)

    def _block(self, block: re.Match[str]) -> str:
        if block["mark"] == "the merge request is merged":
            self._merge()
        elif block["language"] == "yaml":
            path = self.here / PIPELINE
            path.write_text(
                yaml.safe_dump(merge(yaml.safe_load(path.read_text()), yaml.safe_load(block["body"])))
            )
        elif block["language"] == "markdown":
            return f"```markdown\n{self._note()}```"
        elif block["language"] == "text" and block["body"].startswith("$ "):
            commands = re.findall(r"^\$ (.+(?:(?<=\\)\n.+)*)$", block["body"], re.M)
            return f"```text\n{self._shown(commands)}```"
        return block[0]

    def _shown(self, commands: list[str]) -> str:
        """Commands and what they print, with a blank line after what is printed, but not at the end."""
        parts = ((command, self._run(command)) for command in commands)
        text = "".join(f"$ {command}\n{printed}" + ("\n" if printed else "") for command, printed in parts)
        return f"{text.rstrip()}\n"

    def _run(self, command: str) -> str:
        setting = re.fullmatch(r"export (\w+)=(.*)", command)
        if setting:
            self.environment.setdefault(setting[1], setting[2])
            return ""
        if command.startswith("cd "):
            self.here /= command.removeprefix("cd ")
            return ""
        # Gateways follow at once here, so nothing is to be watched for long.
        deploys = re.match(r"nbship (deploy|rollback) ", command)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.here,
            env=self.environment | ({"NBSHIP_DEPLOY__DWELL": "0"} if deploys else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self._open_merge_requests()
        # Kubeflow's runs have a UUID for a name.
        text = re.sub(r"run_id-\d+", lambda name: str(uuid5(NAMESPACE_URL, name[0])), done.stdout)
        for address, shown in self.shown.items():
            text = text.replace(address, shown)
        lines = [line.rstrip() for line in text.replace(str(self.folder), "").strip("\n").splitlines()]
        if done.returncode not in _EXPECTED:
            logs = "".join(log.read_text() for log in self.folder.glob("kubeflow/*/log"))
            raise AssertionError(f"$ {command}\n{text}\n{logs[-5000:]}")
        if done.returncode:
            lines.append(_EXIT.format(done.returncode))
        return "".join(f"{line}\n" for line in lines)

    def _open_merge_requests(self) -> None:
        """Somebody opens one for each branch that was pushed."""
        origin = self.folder / f"served/{PROJECT}.git"
        for branch in git(origin, "branch", "--format=%(refname:short)").split():
            if branch != "main":
                commits = git(origin, "rev-list", f"main..{branch}").split()
                number = next(
                    (n for n, m in self.gitlab.merge_requests.items() if m["source_branch"] == branch),
                    len(self.gitlab.merge_requests) + 1,
                )
                if commits:
                    self.gitlab.add_merge_request(number, branch, commits)

    def _merge(self) -> None:
        """Somebody merges the newest one: its branch is ahead of main, and main follows."""
        origin = self.folder / f"served/{PROJECT}.git"
        merged = list(self.gitlab.merge_requests.values())[-1]
        git(origin, "branch", "--force", "main", merged["source_branch"])
        git(origin, "branch", "--delete", "--force", merged["source_branch"])
        merged["state"] = "merged"

    def _note(self) -> str:
        """The newest note, without what nobody sees, and without its pictures."""
        body = next((notes[0]["body"] for notes in self.gitlab.notes.values()), "nobody was told")
        body = re.sub(r"<!--.*?-->\n*|^!\[.*\n\n", "", body, flags=re.M)
        return f"{body.strip()}\n"


@dataclass
class Kubeflow(KubeflowServer):
    """A server that runs what it is given, one task after another, on this machine.

    Attributes:
        folder: Where runs keep their files.
        environment: What the cluster's secret and service account give to steps.
    """

    folder: Path = Path()
    environment: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def answer(self, request: Any) -> Any:
        """Carries out one request."""
        found = super().answer(request)
        if request.method == "POST" and request.path == "/runs":
            self._start(found)
        elif isinstance(found, dict) and found.get("run_id") in self.processes:
            self._look(found)
        return found

    def stop(self) -> None:
        """Ends what still runs."""
        for process in self.processes.values():
            process.kill()
            process.wait()

    def _start(self, run: dict[str, Any]) -> None:
        version = self.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
        folder = self.folder / run["run_id"]
        folder.mkdir(parents=True)
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(version["pipeline_spec"]))
        parameters = json.dumps(run["runtime_config"].get("parameters", {}))
        command = [
            sys.executable,
            "-c",
            _RUN,
            str(folder / "tasks"),
            str(folder / "pipeline.yaml"),
            parameters,
        ]
        with (folder / "log").open("wb") as log:
            self.processes[run["run_id"]] = subprocess.Popen(
                command, cwd=folder, env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )

    def _look(self, run: dict[str, Any]) -> None:
        """Tells the run's tasks by the folders that they have made."""
        code = self.processes[run["run_id"]].poll()
        folders = sorted((self.folder / run["run_id"]).glob("tasks/*/*"), key=lambda f: f.stat().st_ctime)
        run["state"] = "RUNNING" if code is None else "FAILED" if code else "SUCCEEDED"
        tasks = []
        for task in folders:
            output = task / "executor_output.json"
            ended = output.exists()
            state = "SUCCEEDED" if ended else "RUNNING" if code is None else "FAILED"
            times = [f.stat().st_mtime for f in task.rglob("*")] or [task.stat().st_mtime]
            moments = {"start_time": _moment(min(times)), "end_time": _moment(max(times))}
            named = {"display_name": task.name, "pod_name": f"{run['run_id']}-{task.name}"}
            tasks.append({**named, "state": state, **(moments if ended else {})})
        run["run_details"] = {"task_details": tasks}
        self._keep_logs(run["run_id"])

    def _keep_logs(self, run: str) -> None:
        """KFP writes one log, each task's after its name and indented."""
        text = (self.folder / run / "log").read_text(encoding="utf-8")
        _, *parts = re.split(r"Executing task .*?'(.+?)'", text)
        for name, log in zip(parts[::2], parts[1::2], strict=True):
            self.logs[f"{run}-{name}"] = re.sub("^ {4}", "", log, flags=re.M)


@contextmanager
def tour(folder: Path) -> Iterator[Tour]:
    """Sets up what the page's first command finds: GitLab with an empty project, a store, two clusters."""
    with ExitStack() as stack:
        served = folder / "served"
        _write_repositories(served)
        forge = stack.enter_context(git_server(served, Watch()))
        gitlab = stack.enter_context(gitlab_server.serve(GitlabServer()))
        s3 = stack.enter_context(s3_server(Watch()))
        cluster = stack.enter_context(kubernetes_server.serve(KubernetesServer(served=_serving(s3))))
        cluster.controllers.pod_start = cluster.controllers.route_lag = 0
        keys = {**S3_KEYS, "AWS_ENDPOINT_URL": s3}
        tokens = {"NBSHIP_GIT_TOKEN": TOKEN, "NBSHIP_GITLAB_TOKEN": gitlab_server.TOKEN}
        own = _environment(folder) | {"NBSHIP_GITLAB_URL": gitlab.address} | keys | tokens
        own["KUBECONFIG"] = str(write_kube_config(folder / "kube", cluster.address))
        (folder / "home").mkdir()
        for name, identity in (("reader", _IDENTITY), ("cluster", "")):
            (folder / name).write_text(identity + _git_settings(forge))
        steps = own | {"GIT_CONFIG_GLOBAL": str(folder / "cluster")}
        kubeflow = Kubeflow(
            allow=lambda headers: headers.get("Authorization") == f"Bearer {KUBEFLOW_TOKEN}",
            multi_user=True,
            folder=folder / "kubeflow",
            environment=steps,
        )
        stack.enter_context(serve_kubeflow(kubeflow))
        stack.callback(kubeflow.stop)
        _make_bucket(s3)
        _make_index(folder / "wheels")
        reader = own | {
            "GIT_CONFIG_GLOBAL": str(folder / "reader"),
            "NBSHIP_KUBEFLOW_HOST": f"{kubeflow.address}/pipeline",
            "NBSHIP_KUBEFLOW_TOKEN": KUBEFLOW_TOKEN,
        }
        shown = {
            kubeflow.address: "https://kubeflow.example.org",
            gitlab.address: "https://gitlab.example.org",
        }
        yield Tour(folder, folder / "home", reader, gitlab, shown)


def _write_repositories(served: Path) -> None:
    """nbship itself as it is on disk, compiled, and the team's project, which is empty."""
    with tempfile.TemporaryDirectory() as copy:
        root = Path(copy)
        copy_project(root)
        git(root, "branch", "--move", "--force", "main")
        for name in pipeline_names(root):
            compile_pipeline(root, name).write()
        if git(root, "status", "--porcelain"):
            git(root, *_NBSHIP, "commit", "--quiet", "--all", "--message", "Compile")
        git(root, "clone", "--quiet", "--bare", ".", str(served / "nbship/nbship.git"))
    git(served, "init", "--quiet", "--bare", "--initial-branch=main", str(served / f"{PROJECT}.git"))
    for setting in ("http.receivepack", "receive.advertisePushOptions"):
        git(served / f"{PROJECT}.git", "config", setting, "true")


def _environment(folder: Path) -> dict[str, str]:
    kept = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONDONTWRITEBYTECODE"}
    own = {name: value for name, value in os.environ.items() if name in kept}
    own |= {"GIT_CONFIG_NOSYSTEM": "1", "COLUMNS": "100"}
    own |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "wheels"), "PIP_CONFIG_FILE": os.devnull}
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        own[name] = str(folder / name.lower())
    return own


def _git_settings(forge: str) -> str:
    """Leads the page's addresses to loopback, with a password as a user's helper knows it."""
    address = forge.replace("://", f"://{USER}:{TOKEN}@")
    # In one piece: the server takes no body of unknown length.
    buffer = f"[http]\n\tpostBuffer = {2**28}\n"
    return f'{buffer}[url "{address}/"]\n\tinsteadOf = https://gitlab.example.org/\n'


def _make_bucket(s3: str) -> None:
    import s3fs

    key, secret = S3_KEYS["AWS_ACCESS_KEY_ID"], S3_KEYS["AWS_SECRET_ACCESS_KEY"]
    s3fs.S3FileSystem(endpoint_url=s3, key=key, secret=secret).makedirs(BUCKET, exist_ok=True)


def _make_index(folder: Path) -> None:
    """All that pip knows of: the package that the table of cars is taken from, with that table alone."""
    pipeline = load_pipeline(ROOT, "auto-mpg")
    source = pipeline.data["table"].source
    assert source and source.package and source.file
    folder.mkdir()
    information = f"{source.package}-{source.version}.dist-info"
    with zipfile.ZipFile(folder / f"{source.package}-{source.version}-py3-none-any.whl", "w") as wheel:
        wheel.write(ensure(ROOT, pipeline)["table"], source.file)
        named = f"Name: {source.package}\nVersion: {source.version}\n"
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\n{named}")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")


def _serving(s3: str) -> Callable[[Any, Any], tuple[int, Any]]:
    """A model server that has the version which its predictor names."""
    import pandas as pd
    import s3fs

    @cache
    def model(version: str) -> Any:
        key, secret = S3_KEYS["AWS_ACCESS_KEY_ID"], S3_KEYS["AWS_SECRET_ACCESS_KEY"]
        system = s3fs.S3FileSystem(endpoint_url=s3, key=key, secret=secret, skip_instance_cache=True)
        with tempfile.TemporaryDirectory() as folder:
            for name in (package.MODEL, package.DESCRIPTION):
                system.get(f"{BUCKET}/models/auto-mpg/{version}/{name}", f"{folder}/{name}")
            return package.load_model(Path(folder))

    def answer(predictor: Any, body: Any) -> tuple[int, Any]:
        rows = pd.DataFrame(body["instances"])
        return 200, {"predictions": model(predictor["labels"]["nbship/version"]).predict(rows).tolist()}

    return answer


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def main() -> None:
    """Renews the page."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, tour(Path(folder)) as guide:
        PAGE.write_text(guide.follow(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"renewed in {time.monotonic() - begun:.0f} s\n")


if __name__ == "__main__":
    main()
