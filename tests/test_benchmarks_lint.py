"""The committed judgements on findings in public notebooks, and the table that is made of them."""

import csv
import math

from benchmarks.lint.corpus import as_step, listed
from benchmarks.lint.judgements import BEGIN, END, FILE, Precision, precision, read_judgements, table, update

from nbship.linting import RULES, LintFinding, check_notebook
from tests.linting.notebooks import write_cells
from tests.test_benchmarks import README


def test_every_judgement_is_on_a_listed_notebook_and_a_rule():
    notebooks = listed()
    names = {public.name for public in notebooks}
    assert len(names) == len(notebooks) == 100
    judged = read_judgements()
    assert {notebook for notebook, *_ in judged} <= names
    assert {rule for *_, rule in judged} <= set(RULES)
    with FILE.open(encoding="utf-8", newline="") as file:
        assert all(row["bites"] == "yes" or row["why"] for row in csv.DictReader(file))


def test_the_share_of_true_findings_counts_those_that_were_judged():
    found = [LintFinding("a", 1, line, "unseeded", "") for line in (1, 2, 3)] + [
        LintFinding("a", 1, 1, "install", "")
    ]
    judged = {("a", 1, 1, "unseeded"): True, ("a", 1, 2, "unseeded"): False}
    install, unseeded = precision(found, judged)
    assert unseeded == Precision("unseeded", true=1, false=1, open=1)
    assert unseeded.share == 0.5
    assert math.isnan(install.share)
    assert "| `unseeded` | 3 | 1 | 1 | 0.50 |" in table([unseeded])


def test_the_table_of_the_readme_has_what_was_judged_and_each_rule_is_right_nine_times_in_ten():
    text = README.read_text(encoding="utf-8")
    findings = [LintFinding(name, cell, line, rule, "") for name, cell, line, rule in read_judgements()]
    found = precision(findings, read_judgements())
    assert {p.rule for p in found if p.share < 0.9} == set()
    shown = text.partition(BEGIN)[2].partition(END)[0]
    assert {line.split("|")[1].strip(" `") for line in shown.splitlines() if "`" in line} == {
        p.rule for p in found
    }
    assert update(update(text, found), found) == update(text, found)


def test_a_public_notebook_is_linted_as_a_step(tmp_path):
    path = write_cells(tmp_path / "a.ipynb", "open('a.csv')")
    assert check_notebook(path) == []
    path.write_text(as_step(path.read_bytes()), encoding="utf-8")
    assert [finding.rule for finding in check_notebook(path)] == ["undeclared-input"]
