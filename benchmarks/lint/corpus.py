"""The public notebooks that are linted: from source distributions, fetched with pip, checked by hash."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

LIST = Path(__file__).parent / "notebooks.json"


class Public(BaseModel):
    """A public notebook.

    Attributes:
        package: The distribution it is in.
        version: Of that.
        path: In its source distribution, without the first folder.
        sha256: Of its bytes.
    """

    package: str
    version: str
    path: str
    sha256: str

    @property
    def name(self) -> str:
        """How findings call it."""
        return f"{self.package}/{self.path}"


def listed() -> list[Public]:
    """Returns the list that is committed."""
    return TypeAdapter(list[Public]).validate_json(LIST.read_bytes())


def fetch(folder: Path) -> Iterator[tuple[Public, bytes]]:
    """Yields every listed notebook with its bytes; downloads the packages that are not in the folder yet."""
    packages: dict[tuple[str, str], list[Public]] = defaultdict(list)
    for public in listed():
        packages[public.package, public.version].append(public)
    for (package, version), publics in packages.items():
        archive = _archive(folder / package, package, version)
        with tarfile.open(archive) as tar:
            members = {member.name.partition("/")[2]: member for member in tar if member.isfile()}
            for public in publics:
                file = tar.extractfile(members[public.path])
                content = file.read() if file else b""
                assert hashlib.sha256(content).hexdigest() == public.sha256, f"{public.name} is another"
                yield public, content


def as_step(content: bytes) -> str:
    """Returns a notebook as a step that declares nothing, so that the rules for steps hold."""
    notebook = json.loads(content)
    cell = {"cell_type": "code", "id": "parameters", "metadata": {"tags": ["parameters"]}, "source": ""}
    notebook["cells"].append({**cell, "outputs": [], "execution_count": None})
    return json.dumps(notebook)


def _archive(folder: Path, package: str, version: str) -> Path:
    """A source distribution; pip makes its metadata on the way, which may build its requirements."""
    if not list(folder.glob("*.tar.gz")):
        print(f"fetching {package} {version}", file=sys.stderr)
        only = ["--no-deps", "--no-binary", package, "--dest", str(folder)]
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", *only, f"{package}=={version}"], check=True
        )
    return next(folder.glob("*.tar.gz"))
