"""The model server as an ASGI application, for who has a server of their own, such as BentoML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nbship.serving.bodies import Bodies
from nbship.serving.model import PackagedModel
from nbship.serving.routes import application
from nbship.serving.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.applications import Starlette


def open_application(name: str, folder: Path, version: str = "") -> Starlette:
    """Loads a package and returns what answers for it, over HTTP alone.

    Args:
        name: The model's, in addresses.
        folder: Its package.
        version: As it is shown.

    Raises:
        NbshipError: It cannot be loaded.
    """
    settings = ServerSettings(name, folder, version)
    model = PackagedModel(settings)
    model.load()
    return application(model, Bodies(settings))
