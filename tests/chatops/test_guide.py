"""The guide has every command and every key, as the code has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs import renew

from nbship.chatops.commands import COMMANDS
from nbship.config import parse_project
from nbship.config.chatops import Chatops, Rights

GUIDE = (Path(__file__).parent.parent.parent / "docs/chatops.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_it_has_every_command(command: object) -> None:
    usage = str(getattr(command, "usage", ""))
    assert f"| `{usage.split(' --set ')[0].split(' [--set')[0]}" in GUIDE


def test_it_has_every_key() -> None:
    assert renew.table(Rights) in GUIDE
    example = GUIDE.partition("```yaml\n")[2].partition("```")[0]
    settings = parse_project(example, "chatops.md").chatops
    assert settings
    assert settings.model_fields_set == {*Chatops.model_fields}
