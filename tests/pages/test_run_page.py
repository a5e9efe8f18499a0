import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbship.gate import Check
from nbship.pages import run_page
from nbship.pages.drawing import svg_width
from nbship.pages.run_page import Neighbour, RunDifference, link_next, write_run_page
from nbship.record import Environment, State, StepRecord
from tests.records import (
    PARAMETERS,
    code_cell,
    comparison,
    data_output,
    every_state,
    failed_cell,
    make_record,
    markdown_cell,
    parameters_cell,
    picture_cell,
    png,
    verdict,
    write_run,
)

VOID = {"br", "hr", "img", "input", "link", "meta"}


class Page(HTMLParser):
    """The elements of a page, in order, with their attributes and the text inside them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        element = (tag, dict(attributes), [])
        assert len(element[1]) == len(attributes), f"an attribute is there twice: {attributes}"
        self.elements.append(element)
        if tag not in VOID:
            self.open.append((tag, element[2]))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        opened, _ = self.open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data):
        for _, texts in self.open:
            texts.append(data)

    def all(self, tag, **wanted):
        return [
            (attributes, " ".join(" ".join(texts).split()))
            for name, attributes, texts in self.elements
            if name == tag and all(attributes.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]

    def texts(self, tag, **wanted):
        return [text for _, text in self.all(tag, **wanted)]


def page_of(root, record, notebooks=None):
    folder = write_run(root, record, notebooks)
    return Page(write_run_page(record, folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("run"), make_record())


@pytest.mark.parametrize("name", every_state())
def test_every_state_has_a_page_that_is_sound(tmp_path, name):
    record = every_state()[name]
    page = page_of(tmp_path, record)
    identifiers = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    targets = [a["href"] for a, _ in page.all("a") if a["href"].startswith("#")]
    assert {target[1:] for target in targets} <= set(identifiers)
    labelled = [a["aria-labelledby"] for _, a, _ in page.elements if "aria-labelledby" in a]
    assert set(labelled) <= set(identifiers)
    assert len(page.all("h1")) == 1
    assert all(attributes.get("alt") for attributes, _ in page.all("img"))
    assert all(attributes.get("scope") for attributes, _ in page.all("th"))


@pytest.mark.parametrize("name", every_state())
def test_nothing_is_loaded_from_elsewhere(tmp_path, name):
    page = page_of(tmp_path, every_state()[name])
    for tag, attributes, _ in page.elements:
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            address = attributes.get(key) or ""
            assert "//" not in address or address.startswith("data:"), f"<{tag} {key}={address}>"
    assert not any("@import" in text or "url(" in text for text in page.texts("style"))


def test_head(page):
    assert page.texts("title")[0] == "auto-mpg: Passed: better than the champion · 20260301-120000-ab12"
    assert page.texts("h1") == ["auto-mpg"]
    facts = " ".join(page.texts("dl", class_="facts"))
    assert "20260301-120000-ab12" in facts
    assert "4.20 s" in facts
    assert "c0ffeec0ff uncommitted changes" in facts
    assert page.all("time")[0][0]["datetime"] == "2026-03-01T12:00:00+00:00"


def test_outcome_comes_first(page):
    assert page.texts("h2")[0] == "Passed: better than the champion"
    assert page.all("section")[0][0]["class"] == "verdict good"


def test_graph_is_there_for_wide_and_narrow_screens(page):
    assert len(page.all("svg", class_="nbship-graph")) == 2
    assert page.texts("ul", class_="legend") == ["from cache done"]


def test_every_executed_notebook_is_linked(page):
    links = [attributes["href"] for attributes, _ in page.all("a")]
    for name in ("prepare", "train", "evaluate", "evaluate-champion"):
        assert links.count(f"notebooks/{name}.html") == 2
        assert f"#step-{name}" in links


def test_metrics_against_the_champion(page):
    table = page.texts("tr")
    assert "Metric Candidate Champion Difference" in table
    assert "rmse passed: at most 3.2 2.313 1.913 to 2.713 2.587 2.187 to 2.987 −11 % better" in table
    assert "r2 passed: at least 0.8 0.9186 0.6716 +37 % better" in table
    assert "rows 79 79 same" in table


def test_interval_in_picture_and_words(page):
    assert len(page.all("svg", class_="interval better")) == 1
    (caption,) = [text for text in page.texts("figcaption") if "mean loss" in text]
    assert (
        "−20 %, with its 95 % interval from −33 % to −6 %: paired bootstrap over 79 held-out rows" in caption
    )


def test_other_metrics_by_step(page):
    assert page.texts("dl", class_="tiles") == [
        "rows 392 missing_hp 0",
        "cv_rmse 2.485 ± 0.3511 kernel rbf converged yes",
    ]


def test_plots_are_inside_with_caption_and_size(page):
    pictures = [attributes for attributes, _ in page.all("img")]
    assert len(pictures) == 4
    assert pictures[0] == {
        "src": "data:image/png;base64," + png().strip(),
        "alt": "Plot 1 of step prepare: How far off",
        "width": "30",
        "height": "20",
    }
    assert "The champion's plots" in page.texts("summary")


def test_parameters_with_meaning_and_default(page):
    assert "folds 10 default 5 parts of each cross-validation" in page.texts("tr")
    assert "test_fraction 0.2" in page.texts("tr")


def test_files_with_hash_and_address(page):
    links = {text: attributes["href"] for attributes, text in page.all("a")}
    assert links["artifacts/train/model.joblib"] == "artifacts/train/model.joblib"
    assert links["data.csv"] == "../../../data.csv"
    assert links["models/auto-mpg/model.joblib"] == "../../../models/auto-mpg/model.joblib"
    artifact = make_record().steps["train"].outputs["model"]
    assert (f"model artifacts/train/model.joblib Model, SHA-256 {artifact.hash[:12]}") in page.texts("tr")
    assert {"title": artifact.hash} in [attributes for attributes, _ in page.all("code")]
    assert "train_set artifacts/prepare/train_set.csv Dataset from prepare.train_set, SHA-256" in " ".join(
        page.texts("tr")
    )


def test_what_to_do_next_and_environment(page):
    assert page.texts("pre") == [
        "nbship publish auto-mpg",
        "nbship run auto-mpg --set train.folds=10",
        "nbship runs compare previous 20260301-120000-ab12",
    ]
    assert "Python 3.11.7 Platform Linux nbship 0.1.0 Lock file 10c4 Record run.json" in page.texts("dl")


def test_failed_run_shows_the_failing_cell(tmp_path):
    page = page_of(tmp_path, every_state()["failed"])
    assert page.texts("h2")[:2] == ["Failed in train", "What went wrong in train"]
    (text,) = page.texts("section", class_="card failure")
    assert "Cell 3 of notebooks/auto-mpg/train.ipynb ended with ValueError: too many folds fit()" in text
    assert page.all("details", id="step-train")[0][0].get("open", "absent") is None
    assert "nbship run auto-mpg --set train.folds=10" in page.texts("pre")


def test_a_failure_outside_any_cell_shows_what_is_known(tmp_path):
    record = every_state()["failed"]
    page = page_of(tmp_path, record, {"train": [markdown_cell("nothing ran")]})
    assert record.steps["train"].error.split() == page.texts("pre")[0].split()


def test_first_model_has_no_champion_column(tmp_path):
    page = page_of(tmp_path, every_state()["first"])
    assert "Quality gate" in page.texts("h2")
    assert "Metric Model" in page.texts("tr")
    assert not page.all("svg", class_="interval better")


def test_a_missed_threshold(tmp_path):
    page = page_of(tmp_path, every_state()["below a threshold"])
    assert "rmse failed: at most 3.2" in " ".join(page.texts("tr"))
    assert page.all("section")[0][0]["class"] == "verdict bad"


def test_a_threshold_on_another_step(tmp_path):
    check = Check(metric="train.cv_rmse", value=2.48, min=None, max=3, passed=True)
    page = page_of(tmp_path, make_record(verdict=verdict(compared=comparison(), checks=(check,))))
    assert "train.cv_rmse passed: at most 3 2.48" in page.texts("tr")


def test_without_gate_all_metrics_are_listed(tmp_path):
    page = page_of(tmp_path, every_state()["without gate"])
    assert "Metrics" in page.texts("h2")
    assert any(
        text.startswith("rows 79 rmse 2.313 1.913 to 2.713") for text in page.texts("dl", class_="tiles")
    )


def test_without_revision_nothing_is_said_of_one(tmp_path):
    environment = Environment(python="3.12", platform="any", nbship="0.1.0")
    page = page_of(tmp_path, make_record(environment=environment))
    assert "Revision" not in " ".join(page.texts("dt"))


def test_what_a_step_left_running_is_noted(tmp_path):
    record = make_record()
    record.steps["train"].note = "left running, and ended with the step: sleep <60>"
    assert f"Step train : {record.steps['train'].note}" in page_of(tmp_path, record).texts("p")


def test_a_missing_notebook_takes_nothing_else_away(tmp_path):
    record = make_record()
    folder = write_run(tmp_path, record)
    (folder / "notebooks/train.ipynb").unlink()
    page = Page(write_run_page(record, folder).read_text())
    assert len(page.all("img")) == 3
    assert "folds 10" in page.texts("tr")


def test_an_artifact_outside_the_project_has_no_link(tmp_path):
    record = make_record()
    record.steps["prepare"].inputs["table"].path = "/data/cars.csv"
    page = page_of(tmp_path, record)
    assert "/data/cars.csv" not in [text for _, text in page.all("a")]
    assert any("/data/cars.csv" in text for text in page.texts("tr"))


def test_the_page_is_replaced_whole(tmp_path):
    record = make_record(state=State.RUNNING, verdict=None)
    folder = write_run(tmp_path, record)
    path = write_run_page(record, folder)
    write_run_page(make_record(), folder)
    assert path == folder / "index.html"
    assert "Passed: better" in path.read_text()
    assert not list(folder.glob(".index*"))


EVIL = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '" onload="alert(1)',
    "{{ 7 * 7 }}",
    "]]>",
]
ANY = st.one_of(st.sampled_from(EVIL), st.text(st.characters(exclude_categories=["Cs"]), max_size=30))


def outline(page):
    """What the page is made of: elements with the names of their attributes, but not what is in them."""
    return [(tag, sorted(attributes)) for tag, attributes, _ in page.elements]


def filled(text, root):
    """A failed and judged run with one text in every place that takes any text."""
    record = make_record(
        description=text or "x",
        settings=[text],
        champion=text or "x",
        environment=Environment(
            python=text, platform=text, nbship=text, lock=text or "x", revision=text or "x"
        ),
        verdict=verdict(False, comparison("worse", -0.1, 0.1)),
        state=State.FAILED,
    )
    train = record.steps["train"]
    train.state, train.title, train.error, train.source = State.FAILED, text, text, text
    train.parameters = {"folds": text, text or "x": [text]}
    train.metrics = {"kernel": text, text or "x": text}
    for artifact in (*train.inputs.values(), *train.outputs.values()):
        artifact.type, artifact.path, artifact.hash = text, text, text
    heading = markdown_cell("## heading " + text.replace("\n", " ").replace("\r", " "))
    drawn = code_cell("plot()", data_output(png=text))
    help_text = PARAMETERS.replace("parts of each", " ".join(text.split()).replace("\0", ""))
    cells = [parameters_cell(help_text), heading, picture_cell(), drawn, failed_cell(text, text)]
    return page_of(root, record, {"train": cells})


@given(ANY)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_from_a_run_becomes_part_of_the_page(tmp_path_factory, text):
    harmless = filled("not-harmful", tmp_path_factory.mktemp("harmless"))
    page = filled(text, tmp_path_factory.mktemp("any"))
    assert len(page.all("script")) == 1
    assert not any(key.startswith("on") for _, attributes, _ in page.elements for key in attributes)
    for tag in ("script", "style", "link", "meta", "base", "iframe", "object", "form"):
        assert len(page.all(tag)) == len(harmless.all(tag))
    addresses = [attributes["href"] for attributes, _ in page.all("a")]
    assert not any(re.match(r"\s*[a-z]+:", address, re.IGNORECASE) for address in addresses)


@pytest.mark.parametrize("text", EVIL)
def test_markup_in_texts_leaves_the_page_as_it_is(tmp_path, text):
    assert outline(filled(text, tmp_path / "evil")) == outline(filled("not-harmful", tmp_path / "harmless"))


def test_the_only_script_that_may_run_is_the_pages_own(page):
    script = (Path(run_page.__file__).parent / "templates/run.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [
        a["content"] for a, _ in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """The contrast ratio of WCAG 2.2, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme):
    style = (Path(run_page.__file__).parent / "templates/run.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    colors = dict(re.findall(r"--(\w+): (#\w+)", blocks[("light", "dark").index(scheme)]))
    colors = {
        name: c if len(c) == 7 else "#" + "".join(2 * digit for digit in c[1:]) for name, c in colors.items()
    }
    for ground in ("page", "card", "well"):
        for ink in ("ink", "soft", "link", "good", "bad", "warning", "neutral"):
            assert contrast(colors[ink], colors[ground]) >= 4.5, f"{ink} on {ground}"


BEFORE = Neighbour(
    "the run before",
    "20260228-090000-ffff",
    (
        RunDifference("parameters", "train.shrinkage", "0.1", "0.9"),
        RunDifference("code", "notebooks/train.ipynb", "aa", "bb"),
    ),
    is_before=True,
)
CHAMPIONS = Neighbour(
    "the champion's run",
    "20260101-090000-cccc",
    (RunDifference("parameters", "train.shrinkage", "<b>", "0.9"),),
)


def changes_of(folder: Path, *neighbours: Neighbour) -> str:
    html = write_run_page(make_record(settings=["train.shrinkage=0.9"]), folder, neighbours).read_text()
    return html.partition('id="changes-title"')[2].partition("</section>")[0]


def test_what_was_changed_stands_at_the_top(tmp_path):
    folder = write_run(tmp_path, make_record())
    html = write_run_page(make_record(), folder, [BEFORE, CHAMPIONS]).read_text()
    assert html.index('id="verdict"') < html.index('id="changes-title"') < html.index('id="graph-title"')
    told = re.sub(r"<[^>]+>", "|", changes_of(folder, BEFORE, CHAMPIONS))
    told = re.sub(r"[|\s]+", "|", told)
    assert "Set|for|this|run:|train.shrinkage=0.9" in told
    assert "train.shrinkage|parameters|0.9|0.1|&lt;b&gt;" in told
    assert "notebooks/train.ipynb|code|bb|aa|the|same" in told
    assert f'href="../{BEFORE.run}/index.html"' in html
    assert f'href="../{CHAMPIONS.run}/index.html"' in html


def test_a_run_without_any_change_says_so(tmp_path):
    folder = write_run(tmp_path, make_record())
    nothing = replace(BEFORE, changes=())
    assert "Nothing: steps, parameters, data, code and environment" in changes_of(folder, nothing)
    html = write_run_page(make_record(settings=[]), folder).read_text()
    assert "What was changed" not in html


def test_a_page_leads_to_the_run_after_it_once_there_is_one(tmp_path):
    page = write_run_page(make_record(), write_run(tmp_path, make_record()))
    link_next(page, "20260302-1")
    link_next(page, "20260303-2")
    assert re.findall(r'<a href="([^"]+)">The run after', page.read_text()) == ["../20260302-1/index.html"]
    link_next(tmp_path / "gone.html", "20260302-1")
    assert not (tmp_path / "gone.html").exists()


def test_a_long_chain_runs_downwards_and_is_as_large_as_one_can_read(tmp_path):
    names = [f"step-{n:02}" for n in range(40)]
    chain = {
        name: StepRecord(name=name, source="a.ipynb", upstream=names[:n][-1:]) for n, name in enumerate(names)
    }
    record = make_record(steps=chain, gate=None, verdict=None)
    html = write_run_page(record, write_run(tmp_path, record)).read_text()
    wide = html.partition('wide-only"')[2].partition("</svg>")[0]
    width, height = (int(re.search(rf' {side}="(\d+)"', wide)[1]) for side in ("width", "height"))
    assert height > 2500 > 500 > width
    assert int(re.search(r"min-width:(\d+)px", wide)[1]) == width
    fan = {
        name: StepRecord(name=name, source="a.ipynb", upstream=names[:1] if n else [])
        for n, name in enumerate(names)
    }
    record = make_record(id="20260301-fan", steps=fan, gate=None, verdict=None)
    html = write_run_page(record, write_run(tmp_path, record)).read_text()
    assert svg_width(html.partition('wide-only"')[2]) < 500
    narrow = html.partition('narrow-only"')[2]
    least = int(re.search(r"min-width:(\d+)px", narrow)[1])
    assert least > 0.8 * svg_width(narrow) > 2000
