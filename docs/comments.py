"""The picture of a merge request that is worked by comments: those of its test, in a forge's look.

Called by `docs.renew`. What is shown is what the stand-in for GitHub received, drawn by a plain reader of
Markdown: the frame is ours.
"""

from __future__ import annotations

import html
import re
import tempfile
from pathlib import Path

import pytest
from tests import commenting
from tests.commenting import NUMBER, Place
from tests.e2e.test_comments import copied, make, work_request, working

_STYLE = """
body { font: 14px/1.5 -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; color: #1f2328;
  background: #fff; max-width: 860px; margin: 20px auto }
article { border: 1px solid #d1d9e0; border-radius: 6px; margin: 0 0 14px 48px; position: relative }
article::before { content: attr(data-face); position: absolute; left: -48px; width: 36px; height: 36px;
  line-height: 36px; text-align: center; border-radius: 50%; background: #8250df; color: #fff }
article.own::before { background: #1f883d }
header { background: #f6f8fa; border-bottom: 1px solid #d1d9e0; padding: 6px 14px; border-radius: 6px 6px 0 0;
  color: #59636e }
header b { color: #1f2328 }
main { padding: 8px 14px 10px } main p { margin: 6px 0 } h3 { margin: 6px 0; font-size: 16px }
code { background: #eff1f3; border-radius: 5px; padding: 2px 5px; font: 12.5px "DejaVu Sans Mono", monospace }
table { border-collapse: collapse; margin: 8px 0 } td, th { border: 1px solid #d1d9e0; padding: 4px 12px }
.reaction, .label { border: 1px solid #d1d9e0; border-radius: 12px; padding: 1px 9px; font-size: 12px }
.label { background: #ddf4ff; border-color: #54aeff; margin-right: 6px } sub { color: #59636e }
.merged { color: #fff; background: #8250df; border-radius: 14px; padding: 4px 12px }
"""
_EYES = (
    '<svg width="18" height="11" viewBox="0 0 18 11"><g fill="#fff" stroke="#59636e">'
    '<circle cx="5" cy="5.5" r="4"/><circle cx="13" cy="5.5" r="4"/></g>'
    '<circle cx="6" cy="5.5" r="1.6"/><circle cx="14" cy="5.5" r="1.6"/></svg>'
)


def write(path: Path) -> None:
    """Works the merge request of the test, and writes its comments as a page of HTML."""
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as monkeypatch:
        folder = Path(scratch)
        (folder / "made").mkdir()
        with commenting.place("github") as forge, working(folder, monkeypatch):
            work_request(forge, copied(make(folder / "made"), folder / "work"), monkeypatch)
            path.write_text(_page(forge), encoding="utf-8")


def _page(forge: Place) -> str:
    from markdown_it import MarkdownIt

    # Not every machine has a font for these.
    drawn = {"✅": '<b style="color: #1a7f37">✔</b>', "❌": '<b style="color: #d1242f">✘</b>'}
    reader = MarkdownIt("commonmark", {"html": True, "breaks": True}).enable("table")
    shown = []
    for comment in forge.server.comments[NUMBER]:
        name = comment["user"]["login"]
        own = name.endswith("[bot]")
        body = reader.render(re.sub(r"<!--.*?-->", "", comment["body"], flags=re.DOTALL))
        for sign, instead in drawn.items():
            body = body.replace(sign, instead)
        faces = forge.server.reactions.get(comment["id"], [])
        reactions = "".join(f'<span class="reaction">{_EYES} 1</span>' for each in faces if each == "eyes")
        shown.append(
            f'<article class="{"own" if own else ""}" data-face="{html.escape(name[0].upper())}">'
            f"<header><b>{html.escape(name)}</b> commented</header><main>{body}{reactions}</main></article>"
        )
    labels = "".join(f'<span class="label">{html.escape(name)}</span>' for name in sorted(forge.labels()))
    merged = '<p><span class="merged">Merged</span></p>' if forge.merged else ""
    return (
        f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style>{''.join(shown)}<p>{labels}</p>{merged}"
    )
