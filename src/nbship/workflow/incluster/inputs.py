"""What a run reads of its repository: which content that is, and its bytes.

Which content is looked up in each run, by `resolve`, and is handed on as parameters. `fetch` brings the
bytes. The same content gives the same parameters, so Kubeflow reuses what an earlier run has fetched, and all
that was made of it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nbship import files
from nbship.config import Pipeline, load_pipeline
from nbship.errors import UsageError
from nbship.graph import CHAMPION
from nbship.kubeflow.plan import CHAMPION_FACTS, FILE
from nbship.package import DESCRIPTION
from nbship.versions import dvc, git, registry
from nbship.versions.clone import clone, clone_with, find_project
from nbship.workflow import data
from nbship.workflow.incluster.step import Artifact, failures_end_the_process


def resolve(
    commit: str, versions: Mapping[str, str], *, pipeline: str, repository: str, revision: str
) -> None:
    """Finds the commit that a revision means, and which content it has of what the run reads.

    Args:
        commit: The file that takes the commit.
        versions: By data file's name, and `champion`: the file that takes its version, as JSON. A data file
            is told by its path in the repository and DVC's hash; the champion by its folder and Git's hash of
            that; nothing is told of a champion where there is none.
        pipeline: The pipeline's name.
        repository: Address of the repository.
        revision: A branch, a tag or a commit; the head of the default branch if empty.
    """
    with failures_end_the_process(), cloned(pipeline, repository, revision) as (root, settings, found):
        for name, path in versions.items():
            of_data = name != CHAMPION or name in settings.data
            version = _version(root, settings, name) if of_data else _champion_version(root, pipeline)
            files.write_text(Path(path), json.dumps(version))
        files.write_text(Path(commit), found)
        log(f"resolved {revision or 'the default branch'}: {found}")


def fetch(
    sha256: str,
    outputs: Mapping[str, Artifact],
    *,
    pipeline: str,
    name: str,
    version: Mapping[str, str],
    repository: str,
) -> None:
    """Fetches a version of a data file, or of the champion, from whatever commit has it.

    Args:
        sha256: The file that takes the hash of the content; empty where there is no champion.
        outputs: The artifact that receives the file; and for the champion, what else is known of it. Where
            there is none, these are empty files.
        pipeline: The pipeline's name.
        name: The data file, or `champion`.
        version: What `resolve` says of it.
        repository: Address of the repository.
    """
    with failures_end_the_process(), tempfile.TemporaryDirectory(prefix="nbship-") as folder:
        found: dict[str, Path | None] = {}
        root = Path(folder, "repository")
        if version:
            root = _cloned_with(root, pipeline, version, repository)
            found = _bring_champion(root, pipeline) if "tree" in version else _bring(root, pipeline, name)
        digests = {key: _hand_on(root, found.get(key), artifact) for key, artifact in outputs.items()}
        files.write_text(Path(sha256), digests[FILE])


@contextmanager
def cloned(pipeline: str, repository: str, revision: str) -> Iterator[tuple[Path, Pipeline, str]]:
    """Gives a clone of the project at a revision, the pipeline file in it, and its commit."""
    with tempfile.TemporaryDirectory(prefix="nbship-") as folder:
        whole = Path(folder, "repository")
        commit = clone(repository, revision, whole)
        root = find_project(whole, pipeline)
        yield root, load_pipeline(root, pipeline), commit


def log(line: str) -> None:
    """Writes a line for who reads the log of this step."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _version(root: Path, settings: Pipeline, name: str) -> dict[str, str]:
    if name not in settings.data:
        raise UsageError(
            f"the pipeline file of this revision has no data file '{name}'",
            f"compile the pipeline as it is there: nbship compile {settings.name}",
        )
    path = root / settings.data[name].path
    tracked = dvc.read(path)
    if tracked is None:
        shown = path.relative_to(root)
        raise UsageError(
            f"data file '{name}': there is no {shown}.dvc at this revision", f"track it: dvc add {shown}"
        )
    return {"path": _in_repository(path), "md5": tracked.md5}


def _champion_version(root: Path, pipeline: str) -> dict[str, str]:
    folder, (tracking, _) = registry.model_folder(root, pipeline), registry.versioned_files(root, pipeline)
    if not tracking.exists():
        return {}
    path = _in_repository(folder)
    return {"path": path, "tree": git.output(folder, "rev-parse", f"HEAD:{path}").strip()}


def _in_repository(path: Path) -> str:
    """A path as Git knows it, from the top of the repository."""
    prefix = git.output(path.parent, "rev-parse", "--show-prefix").strip()
    return f"{prefix}{path.name}"


def _cloned_with(folder: Path, pipeline: str, version: Mapping[str, str], repository: str) -> Path:
    """Clones the project at a commit that has a version; returns the project's folder."""
    path = version["path"]

    def names_it(blob: str) -> bool:
        return version["md5"] in git.output(folder, "cat-file", "blob", blob)

    if "tree" in version:
        commit = clone_with(repository, path, lambda tree: tree == version["tree"], folder)
    else:
        tracking = dvc.tracking_file(Path(path)).as_posix()
        commit = clone_with(repository, tracking, names_it, folder)
    log(f"{path}: commit {commit} has this version")
    return find_project(folder, pipeline)


def _bring(root: Path, pipeline: str, name: str) -> dict[str, Path | None]:
    settings = load_pipeline(root, pipeline)
    wanted = settings.model_copy(update={"data": {name: settings.data[name]}})
    return {FILE: data.ensure(root, wanted, log)[name]}


def _bring_champion(root: Path, pipeline: str) -> dict[str, Path | None]:
    described = registry.model_folder(root, pipeline) / DESCRIPTION
    facts = (described if described.exists() else None, registry.trained_rows(root, pipeline, log))
    return {
        FILE: registry.champion(root, pipeline, log),
        **dict(zip(CHAMPION_FACTS, facts, strict=True)),
    }


def _hand_on(root: Path, path: Path | None, artifact: Artifact) -> str:
    """Copies a file into an artifact, and says in its metadata which; returns its SHA-256."""
    target = Path(artifact.path)
    if path is None:
        files.write_bytes(target, b"")
        return ""
    files.copy(path, target)
    tracked, digest = dvc.read(path), files.content_hash(path)
    artifact.metadata |= {"path": path.relative_to(root).as_posix(), "sha256": digest}
    artifact.metadata |= {"md5": tracked.md5} if tracked else {}
    return digest
