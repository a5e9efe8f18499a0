"""A folder that BentoML serves, builds and puts into a container: nbship's own server as a BentoML service.

So the checks, answers and page are those of `nbship serve`. Needs no BentoML to be written.
"""

from __future__ import annotations

import json
from pathlib import Path

from nbship import __version__
from nbship.files import write_text
from nbship.package import Package

MODEL_FOLDER = "model"
_SERVICE = '''\
"""The model {name} {version}. Serve it: bentoml serve. Build it: bentoml build, then bentoml containerize."""

from pathlib import Path

import bentoml

from nbship.serving.application import open_application

application = open_application({name!r}, Path(__file__).parent / "{folder}", {version!r})


@bentoml.service(name={name!r})
@bentoml.asgi_app(application, path="/")
class Model:
    """Answers KServe's V1 and the Open Inference protocol, checked as by its own server."""
'''


def write(folder: Path, package: Package, version: str) -> None:
    """Writes what is around a package, which is in the folder `model` already.

    Args:
        folder: Where to.
        package: The model's description.
        version: Such as `v1.2.0`.
    """
    requirements = [f"nbship[serve]=={__version__}", *package.requirements]
    write_text(
        folder / "service.py", _SERVICE.format(name=package.name, version=version, folder=MODEL_FOLDER)
    )
    write_text(folder / "requirements.txt", "\n".join(requirements) + "\n")
    settings = {
        "service": "service:Model",
        "labels": {"model": package.name, "version": version, "sha256": package.sha256[:12]},
        "include": ["service.py", "requirements.txt", f"{MODEL_FOLDER}/*"],
        "python": {"requirements_txt": "./requirements.txt", "lock_packages": False},
    }
    # JSON is YAML.
    write_text(folder / "bentofile.yaml", json.dumps(settings, indent=2) + "\n")
