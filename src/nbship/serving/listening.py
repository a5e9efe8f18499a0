"""KServe's model server, listening where it is told to, and silent unless something is wrong."""

from __future__ import annotations

import copy
import os
from typing import Any

import kserve
from kserve.logging import KSERVE_LOG_CONFIG, configure_logging


class ListeningServer(kserve.ModelServer):  # type: ignore[misc]
    """KServe's server on one address, without several lines in the log for each request."""

    def __init__(self, host: str, **settings: Any) -> None:
        configure_logging(_log_config())
        super().__init__(enable_latency_logging=False, **settings)
        self.host = host

    def setup_event_loop(self) -> None:
        """Sets the address: KServe has made the server by now, and starts it next."""
        several = self._rest_multiprocess_server
        if several:
            several.log_config_file = _log_config()
        rest = several._rest_server if several else self._rest_server
        rest.config.host = self.host
        super().setup_event_loop()


def _log_config() -> dict[str, Any]:
    """Returns KServe's log settings, quieter: metrics tell what happens, and take less time."""
    config: dict[str, Any] = copy.deepcopy(KSERVE_LOG_CONFIG)
    level = os.environ.get("KSERVE_LOGLEVEL", "WARNING")
    for logger in config["loggers"].values():
        logger["level"] = level
    config["loggers"]["uvicorn.access"]["handlers"] = []
    config["loggers"]["nbship"] = {"handlers": ["kserve"], "level": level, "propagate": False}
    return config
