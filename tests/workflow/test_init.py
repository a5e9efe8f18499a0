import itertools
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from nbship.config import load_pipeline
from nbship.errors import NbshipError, UsageError
from nbship.project import project_root
from nbship.templates import project as templates
from nbship.templates.project import Wish, project_name, project_texts
from nbship.versions import dvc
from nbship.workflow import init
from nbship.workflow.init import RECORD, apply_update, initialize, plan_update
from nbship.workflow.new import begin
from tests.repositories import git

EVERYTHING = Wish(ci="gitlab", image=True, kubernetes=True)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "Bike Sharing!"
    folder.mkdir()
    return folder


def contents(root):
    """Every file but Git's and DVC's own."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not {".git", ".dvc"} & set(path.relative_to(root).parts)
    }


def commit(root):
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")


def test_an_empty_folder_becomes_a_project(root):
    done = initialize(root, Wish())
    assert done.made == ("Git repository", "DVC repository")
    assert project_root(root / "notebooks") == root
    assert git(root, "diff", "--cached", "--name-only") == ""
    begin(root, "flats")
    assert load_pipeline(root, "flats").image == "bike-sharing"


def test_a_clone_of_it_is_one_too(root, tmp_path):
    initialize(root, Wish())
    commit(root)
    (tmp_path / "clone").mkdir()
    git(tmp_path, "clone", "--quiet", str(root), "clone/elsewhere")
    clone = tmp_path / "clone/elsewhere"
    assert project_root(clone) == clone
    before = contents(clone)
    done = initialize(clone, Wish())
    assert not (done.made or done.written or done.extended)
    assert contents(clone) == before


def test_repeated_it_changes_nothing(root):
    initialize(root, EVERYTHING)
    before = contents(root)
    again = initialize(root, EVERYTHING)
    assert not (again.made or again.written or again.extended or again.kept)
    assert initialize(root, Wish()) == again
    assert contents(root) == before


def test_parts_can_be_added_later(root):
    initialize(root, Wish())
    done = initialize(root, Wish(image=True))
    assert done.written == ("requirements.in", "Dockerfile", ".dockerignore")
    with pytest.raises(UsageError, match="has CI for gitlab"):
        initialize(root, Wish(ci="gitlab"))
        initialize(root, Wish(ci="github"))


# What the user has: half of the files that nbship writes, a `src/` package, a branch of another name, no DVC.
def test_nothing_of_the_user_is_overwritten(root):
    git(root, "init", "--quiet", "--initial-branch", "trunk")
    own = {
        ".gitignore": "*.log\n/runs/",
        "Dockerfile": "FROM scratch\n",
        ".gitlab-ci.yml": "test: {script: [make]}\n",
        "src/cars/__init__.py": "",
        "nbship.yaml": "image: registry.example.org/cars\n",
    }
    for name, text in own.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "staged.txt").write_text("")
    git(root, "add", "staged.txt")
    done = initialize(root, EVERYTHING)
    assert done.made == ("DVC repository",)
    assert set(done.kept) == {"Dockerfile", ".gitlab-ci.yml", "nbship.yaml"}
    after = contents(root)
    for name, text in own.items():
        assert after[name].startswith(text.encode())
    assert (root / ".gitignore").read_text().splitlines().count("/runs/") == 1
    assert git(root, "branch", "--show-current").strip() == "trunk"
    assert git(root, "diff", "--cached", "--name-only").split() == ["staged.txt"]


def test_what_is_in_the_way_is_told_or_kept(root):
    (root / "Dockerfile").mkdir()
    (root / ".dockerignore").write_bytes(b"\xff\xfe")
    assert set(initialize(root, Wish(image=True)).kept) == {"Dockerfile", ".dockerignore"}
    (root / "notebooks").rmdir()
    (root / "notebooks").write_text("")
    with pytest.raises(NbshipError, match="notebooks"):
        initialize(root, Wish())


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_the_user_has_git_ignore_stays_as_it_is_to_the_byte(root, end):
    own = f"*.log{end}gr\xfcn{end}/runs/".encode("latin-1")
    (root / ".gitignore").write_bytes(own)
    initialize(root, Wish())
    after = (root / ".gitignore").read_bytes()
    assert after.startswith(own + end.encode())
    lines = after.decode("latin-1").split(end)
    assert lines.count("/runs/") == 1 and "/.nbship/" in lines
    assert after.count(b"\n") == after.count(end.encode())
    assert initialize(root, Wish()).extended == ()


def test_a_repository_without_files_is_refused(root):
    git(root, "init", "--quiet", "--bare")
    before = contents(root)
    for folder in (root, root / "objects"):
        with pytest.raises(UsageError, match="bare") as caught:
            initialize(folder, Wish())
        assert "git clone" in caught.value.hint
    assert contents(root) == before


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What `init` makes of an empty folder when nothing stops it."""
    root = tmp_path_factory.mktemp("whole") / "Bike Sharing!"
    root.mkdir()
    initialize(root, EVERYTHING)
    return contents(root)


@pytest.mark.parametrize("file", [0, 1, 5, 20, 40])
def test_stopped_anywhere_a_second_time_makes_it_whole(root, whole, monkeypatch, file):
    write, calls = init.files.write_bytes, itertools.count()

    def stop(path, content):
        if next(calls) == file:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(init.files, "write_bytes", stop)
        initialize(root, EVERYTHING)
    initialize(root, EVERYTHING)
    assert contents(root) == whole
    assert plan_update(root).revised == ()


def test_half_of_a_dvc_repository_is_made_whole(root):
    (root / ".dvc").mkdir()
    git(root, "init", "--quiet")
    assert initialize(root, Wish()).made == ("DVC repository",)
    git(root, "add", "--all")
    of_dvc = [name for name in git(root, "ls-files").split() if name.startswith(".dvc/")]
    assert of_dvc == [".dvc/.gitignore", ".dvc/config"]


@pytest.mark.parametrize(
    ("branches", "remote", "default"),
    [
        (["trunk"], "", "trunk"),
        (["main", "add-nbship"], "", "main"),
        (["master", "add-nbship"], "", "master"),
        (["main", "add-nbship"], "develop", "develop"),
    ],
)
def test_production_is_trained_from_the_branch_that_others_start_from(root, branches, remote, default):
    git(root, "init", "--quiet", "--initial-branch", branches[0])
    git(root, "commit", "--quiet", "--allow-empty", "--message", "Begin")
    for branch in branches[1:]:
        git(root, "switch", "--quiet", "--create", branch)
    if remote:
        git(root, "symbolic-ref", "refs/remotes/origin/HEAD", f"refs/remotes/origin/{remote}")
    assert initialize(root, Wish(ci="github")).branch == default
    record = root / RECORD
    record.write_text(record.read_text().replace(f"branch: {default}", "branch: release/2"))
    (revised,) = plan_update(root).revised
    assert "branches: [release/2]" in revised.after


@pytest.mark.parametrize(("chosen", "branch"), [("", "main"), ("trunk", "trunk")])
def test_a_repository_that_is_made_begins_as_forges_or_the_user_name_it(root, monkeypatch, chosen, branch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(root.parent / "gitconfig"))
    if chosen:
        (root.parent / "gitconfig").write_text(f"[init]\n\tdefaultBranch = {chosen}\n")
    assert initialize(root, Wish()).branch == branch
    assert git(root, "branch", "--show-current").strip() == branch


@pytest.mark.parametrize("ci", ["gitlab", "github"])
def test_a_folder_with_spaces_is_one_word_to_the_shell(root, ci):
    git(root, "init", "--quiet")
    folder = root / "Fahrräder & Co"
    folder.mkdir()
    initialize(folder, Wish(ci=ci))
    if ci == "gitlab":
        text = (folder / ".gitlab/nbship/default.yml").read_text()
        command = yaml.safe_load(text)[".nbship"]["before_script"][0]
        done = subprocess.run(["sh", "-ec", f"{command}; pwd"], cwd=root, capture_output=True, text=True)
        assert done.stdout.strip().endswith("/Fahrräder & Co")
        return
    workflow = yaml.safe_load(next((root / ".github/workflows").glob("*.yml")).read_text())
    assert workflow["defaults"]["run"]["working-directory"] == "Fahrräder & Co/"


@pytest.mark.parametrize("name", ["it's", "a, b", "*", "[x]", "a: b", "#1", "a #b", "& co", "$HOME"])
def test_a_folder_that_the_files_of_ci_cannot_name_is_refused(name):
    with pytest.raises(UsageError) as caught:
        project_texts(Wish(ci="gitlab"), name, {})
    assert "rename the folder" in caught.value.hint
    assert project_texts(Wish(), name, {})


def test_where_ci_is_refused_nothing_is_made(root):
    git(root, "init", "--quiet")
    (root / "it's").mkdir()
    with pytest.raises(UsageError):
        initialize(root / "it's", Wish(ci="gitlab"))
    assert not list((root / "it's").iterdir())


def test_files_of_other_tools_among_the_pipelines_are_named(root):
    (root / "pipelines").mkdir()
    (root / "pipelines/azure.yaml").write_text("stages: []\n")
    (root / "pipelines/My_Pipe.yaml").write_text("steps: []\n")
    assert initialize(root, Wish()).strange == ("pipelines/My_Pipe.yaml", "pipelines/azure.yaml")
    begin(root, "flats")
    (root / RECORD).unlink()
    assert "pipelines/flats.yaml" not in initialize(root, Wish()).strange


@pytest.mark.parametrize("ci", ["gitlab", "github"])
def test_an_image_that_comes_later_gets_its_job(root, ci):
    initialize(root, Wish(ci=ci))
    done = initialize(root, Wish(image=True))
    (jobs,) = [path for path in contents(root) if path.endswith(("jobs.yml", "workflows/nbship.yml"))]
    assert ("docker build" in (root / jobs).read_text()) or ci == "gitlab"
    assert done.renewed == ((jobs,) if ci == "github" else ())
    assert plan_update(root).revised == ()


def test_a_workflow_that_the_user_changed_stays_and_is_named(root):
    initialize(root, Wish(ci="github"))
    change(root, "cron:", "kron:", ".github/workflows/nbship.yml")
    done = initialize(root, Wish(image=True))
    assert done.renewed == () and done.outdated == (".github/workflows/nbship.yml",)
    assert "docker build" not in (root / ".github/workflows/nbship.yml").read_text()


def test_in_a_folder_of_a_larger_repository(root):
    git(root, "init", "--quiet")
    below = root / "teams/bikes"
    below.mkdir(parents=True)
    initialize(below, Wish(ci="gitlab"))
    begin(below, "flats")
    jobs = (below / ".gitlab/nbship/jobs.yml").read_text()
    assert "local: teams/bikes/.gitlab/nbship/default.yml" in jobs
    assert "paths: [teams/bikes/runs/]" in jobs
    assert "local: teams/bikes/.gitlab/nbship/jobs.yml" in (root / ".gitlab-ci.yml").read_text()
    assert "cd teams/bikes/" in (below / ".gitlab/nbship/default.yml").read_text()
    git(root, "add", "--all")
    new = [name for name in git(root, "ls-files").split() if not name.startswith("teams/bikes/")]
    assert new == [".gitlab-ci.yml"]
    assert dvc.state(below / "data/flats.csv") is dvc.FileState.SAME


def test_a_repository_of_dvc_above_is_used(root):
    initialize(root, Wish())
    (root / "nbship.yaml").unlink()
    below = root / "more"
    below.mkdir()
    assert initialize(below, Wish()).made == ()
    assert not (below / ".dvc").exists()


def test_a_project_inside_of_a_project_is_refused(root):
    initialize(root, Wish())
    with pytest.raises(UsageError, match="inside of the project"):
        initialize(root / "notebooks", Wish())


def test_git_takes_nothing_that_belongs_elsewhere(root):
    initialize(root, Wish())
    left = (
        *(".nbship/cache/a/b", "runs/flats/1/run.json", "models/flats/model.joblib", ".venv/bin/python"),
        *("models/flats/trained_rows.npz", "models/flats/reference.json", "models/flats/.staging/a"),
        "notebooks/flats/build/rows.csv",
        *(
            "notebooks/.ipynb_checkpoints/a.ipynb",
            "src/__pycache__/a.pyc",
            ".dvc/config.local",
            ".dvc/cache/a",
        ),
    )
    for name in left:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    (root / "models/flats/model.json").write_text("{}")
    git(root, "add", "--all")
    staged = set(git(root, "ls-files").split())
    assert not staged & set(left)
    assert "models/flats/model.json" in staged


@pytest.mark.parametrize("ci_folder", ["", "ml"])
def test_the_files_for_gitlab_are_what_gitlab_accepts(root, ci_folder):
    git(root, "init", "--quiet")
    folder = root / ci_folder
    folder.mkdir(exist_ok=True)
    initialize(folder, Wish(ci="gitlab"))
    command = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci"]
    files = [root / ".gitlab-ci.yml", *(folder / ".gitlab/nbship").glob("*.yml")]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize("below", ["", "teams/ml"])
def test_the_files_for_github_are_what_github_accepts(root, below, image):
    git(root, "init", "--quiet", "--initial-branch", "trunk")
    folder = root / below
    folder.mkdir(parents=True, exist_ok=True)
    initialize(folder, Wish(ci="github", image=image))
    (workflow,) = (root / ".github/workflows").glob("*.yml")
    (action,) = (root / ".github/actions").glob("*/action.yml")
    for schema, path in (("workflows", workflow), ("actions", action)):
        command = [
            Path(sys.executable).parent / "check-jsonschema",
            "--builtin-schema",
            f"vendor.github-{schema}",
        ]
        done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    tree = yaml.safe_load(workflow.read_text())
    jobs = tree["jobs"]
    assert ("image" in jobs) == image
    for job in jobs.values():
        assert set(job.get("needs", [])) <= set(jobs)
        local = [step["uses"] for step in job["steps"] if step.get("uses", "").startswith("./")]
        assert local == [f"./{action.parent.relative_to(root).as_posix()}"]
    assert tree[True]["push"]["branches"] == ["trunk"]  # YAML takes `on` for true
    assert tree["defaults"]["run"].get("working-directory", "").rstrip("/") == below


@pytest.fixture
def workflow(root):
    initialize(root, Wish(ci="github", image=True))
    return yaml.safe_load((root / ".github/workflows/nbship.yml").read_text())


def test_code_of_a_pull_request_meets_no_secret_and_may_write_nothing_but_the_comment(workflow):
    assert "pull_request" in workflow[True] and "pull_request_target" not in workflow[True]
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        of_requests = "!= 'pull_request'" not in job.get("if", "") and "published" not in job.get("if", "")
        assert of_requests == (name in ("check", "run"))
        if of_requests:
            assert "secrets." not in json.dumps(job)
            assert {key for key, value in job["permissions"].items() if value == "write"} <= {"pull-requests"}


def test_no_text_of_an_event_is_a_part_of_a_script(workflow):
    scripts = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert not [script for script in scripts if "${{" in script]


def test_actions_are_pinned_by_commit_and_keep_no_credentials(root, workflow):
    texts = [path.read_text() for path in (root / ".github").rglob("*.yml")]
    used = [line.split("uses:")[1].strip() for text in texts for line in text.splitlines() if "uses:" in line]
    others = [each for each in used if not each.startswith("./")]
    assert others
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v[\d.]+", each) for each in others)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(workflow["jobs"])
    assert not any(step["with"]["persist-credentials"] for step in checkouts)


def test_manifests_are_for_the_namespace_of_the_project(root):
    initialize(root, Wish(kubernetes=True))
    texts = {path: (root / path).read_text() for path in contents(root) if path.startswith("kubernetes/")}
    kustomization = yaml.safe_load(texts["kubernetes/pipelines/kustomization.yaml"])
    namespace = yaml.safe_load(texts["kubernetes/pipelines/namespace/namespace.yaml"])
    assert kustomization["namespace"] == namespace["metadata"]["name"] == "bike-sharing"
    assert not [path for path, text in texts.items() if re.search(r"namespace:? nbship\b", text)]
    assert json.loads(texts["kubernetes/client/models.json"]) == {"models": []}
    pages = yaml.safe_load(texts["kubernetes/client/kustomization.yaml"])["configMapGenerator"][-1]["files"]
    assert {f"kubernetes/client/{page}" for page in pages} <= set(texts)
    for path, text in texts.items():
        if path.endswith("/kustomization.yaml"):
            folder = path.removesuffix("kustomization.yaml")
            named = {f"{folder}{name}" for name in yaml.safe_load(text)["resources"]}
            assert named <= set(texts), f"{path} names what is not written"


def test_what_is_linked_is_in_the_distribution():
    """Links to files are not followed by its builder, and each is named."""
    folder = Path(templates.__file__).parent / "kubernetes/client"
    settings = tomllib.loads((folder.parents[4] / "pyproject.toml").read_text())
    named = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["force-include"].values()
    assert {f"src/nbship/templates/kubernetes/client/{path.name}" for path in folder.iterdir()} == set(named)


@pytest.fixture
def newer(monkeypatch):
    """The next version of nbship, which runs check jobs by another command, and writes one more file."""

    def render(wish, below, schemas):
        texts = before(wish, below, schemas)
        jobs = ".gitlab/nbship/jobs.yml"
        return {**texts, jobs: texts[jobs].replace("nbship lint", "nbship lint --all"), "new.txt": "new\n"}

    before = templates.project_texts
    monkeypatch.setattr(init, "project_texts", render)


def change(root, old, new, path=".gitlab/nbship/jobs.yml"):
    text = (root / path).read_text()
    assert old in text
    (root / path).write_text(text.replace(old, new))


def test_an_update_changes_what_nbship_changed_and_keeps_what_the_user_did(root, request):
    initialize(root, Wish(ci="gitlab"))
    commit(root)
    change(root, "12 hours", "3 hours")
    request.getfixturevalue("newer")
    update = plan_update(root)
    assert {each.path for each in update.revised} == {".gitlab/nbship/jobs.yml", "new.txt"}
    apply_update(root, update)
    text = (root / ".gitlab/nbship/jobs.yml").read_text()
    assert "timeout: 3 hours" in text and "- nbship lint --all\n" in text
    assert plan_update(root).revised == ()


def test_an_update_marks_what_both_changed(root, request):
    initialize(root, Wish(ci="gitlab"))
    commit(root)
    change(root, "- nbship lint", "- nbship lint NAME")
    request.getfixturevalue("newer")
    (revised,) = [each for each in plan_update(root).revised if each.before]
    assert revised.conflicts
    assert (
        "<<<<<<< yours\n    - nbship lint NAME\n=======\n    - nbship lint --all\n>>>>>>> nbship"
        in revised.after
    )


def test_an_update_leaves_what_was_deleted_and_what_git_never_had(root, request):
    initialize(root, Wish(ci="gitlab"))
    change(root, "12 hours", "3 hours")
    (root / "nbship.yaml").unlink()
    request.getfixturevalue("newer")
    update = plan_update(root)
    assert [each.path for each in update.revised] == ["new.txt"]
    assert update.left == {".gitlab/nbship/jobs.yml": "it was changed before Git had it"}
    apply_update(root, update)
    assert "3 hours" in (root / ".gitlab/nbship/jobs.yml").read_text()
    assert ".gitlab/nbship/jobs.yml" in plan_update(root).left


def test_an_update_needs_something_to_update(root):
    with pytest.raises(UsageError, match=RECORD):
        plan_update(root)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Bike Sharing!", "bike-sharing"),
        ("_", "models"),
        ("a" * 80, "a" * 50),
        ("Straße Fahrräder é", "strasse-fahrrader-e"),
        ("数据", "models"),
    ],
)
def test_a_folder_gives_a_name(folder, name):
    assert project_name(folder) == name


def test_every_wish_is_kept(root):
    wish = replace(EVERYTHING, setup="make setup", check="make check", name="cars")
    initialize(root, wish)
    assert initialize(root, Wish()).ci == "gitlab"
    assert "- make check\n" in (root / ".gitlab/nbship/jobs.yml").read_text()
    assert yaml.safe_load((root / RECORD).read_text())["options"]["name"] == "cars"
