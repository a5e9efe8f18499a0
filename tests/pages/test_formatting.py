import math

import pytest

from nbship.config import Gate
from nbship.gate import Check, Comparison, Verdict
from nbship.pages import formatting
from nbship.record import State
from tests.records import comparison, every_state, make_record, verdict

SPACE = "\u00a0"


@pytest.mark.parametrize(
    ("name", "tone", "title"),
    [
        ("better", "good", "Passed: better than the champion"),
        ("no worse", "good", "Passed: no worse than the champion"),
        ("worse", "bad", "Rejected by the gate"),
        ("below a threshold", "bad", "Rejected by the gate"),
        ("first", "good", "Passed: the first model"),
        ("first, rejected", "bad", "Rejected by the gate"),
        ("failed", "bad", "Failed in train"),
        ("interrupted", "warning", "Interrupted"),
        ("running", "neutral", "Running"),
        ("cached", "good", "Passed: better than the champion"),
        ("without gate", "neutral", "Done"),
        ("without verdict", "neutral", "Done"),
        ("without steps", "neutral", "Running"),
    ],
)
def test_outcome(name, tone, title):
    outcome = formatting.outcome(every_state()[name])
    assert (outcome.tone, outcome.title) == (tone, title)


def reasons(name):
    return [reason.replace(SPACE, " ") for reason in formatting.outcome(every_state()[name]).reasons]


def test_reasons_are_plain_sentences():
    better = (
        "The mean loss is 20 % lower than the champion's (95 % interval −33 % to −6 %, on 79 held-out rows)"
    )
    assert reasons("better") == [f"{better}.", "rmse is 2.313 (at most 3.2), r2 is 0.9043 (at least 0.8)."]
    assert reasons("no worse")[0] == (
        "The mean loss is 1 % higher than the champion's (95 % interval −2 % to +4 %, on 79 held-out rows); "
        "a rise within the tolerance of 5 % counts as no worse."
    )
    assert reasons("worse")[0].endswith("; the interval does not stay within the tolerance of 5 %.")
    assert reasons("worse")[-1] == "The champion stays."
    assert reasons("below a threshold") == [
        "rmse is 3.45; the gate asks for at most 3.2.",
        f"{better}.",
        "The champion stays.",
    ]
    assert reasons("first")[0] == "There is no champion yet: only the thresholds were applied."
    assert reasons("first, rejected") == ["rmse is 3.45; the gate asks for at most 3.2."]
    assert reasons("failed") == [
        "step 'train': train.ipynb: ValueError: too many folds.",
        "2 of 4 steps finished.",
    ]
    assert reasons("interrupted") == ["2 of 4 steps finished.", "What was finished is kept in the cache."]


def test_a_gate_that_asks_for_better():
    record = make_record(
        gate=Gate(require="better"), verdict=verdict(False, comparison("no worse", -0.02, 0.04))
    )
    assert (
        formatting.outcome(record)
        .reasons[0]
        .endswith("; the gate asks for a model that is shown to be better.")
    )


def test_equal_models():
    record = make_record(verdict=verdict(compared=comparison("no worse", 0.0, 0.0)))
    assert formatting.outcome(record).reasons[0].startswith("The mean loss is equal to the champion's")


def test_commands_to_type_next():
    states = every_state()
    assert formatting.next_commands(states["better"]) == [
        ("nbship publish auto-mpg", "Publish this model as the new champion"),
        ("nbship run auto-mpg --set train.folds=10", "Run it again with the same settings"),
        ("nbship runs compare previous 20260301-120000-ab12", "See what changed since the run before"),
    ]
    assert not any("publish" in command for command, _ in formatting.next_commands(states["worse"]))
    for state in ("failed", "interrupted"):
        assert [command for command, _ in formatting.next_commands(states[state])] == [
            "nbship run auto-mpg --set train.folds=10"
        ]


def test_override_files_are_repeated_as_such():
    record = make_record(settings=["train.C=2"], override_files=["my file.yaml"])
    command = "nbship run auto-mpg --set train.C=2 --config-override 'my file.yaml'"
    assert formatting.repeat_command(record) == command


def test_variables_are_told_of_and_not_repeated():
    record = make_record(settings=["train.C=2"], variables=["NBSHIP_TRAIN__FOLDS"])
    said = "Run it again with the same settings, with NBSHIP_TRAIN__FOLDS set as before"
    assert ("nbship run auto-mpg --set train.C=2", said) in formatting.next_commands(record)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.31274, "2.313"),
        (0.9, "0.9"),
        (123456.7, "123,457"),
        (12345, "12,345"),
        (1e-9, "1e-09"),
        (True, "yes"),
        (False, "no"),
        (math.nan, "not a number"),
        (-math.inf, "infinite"),
        ("rbf", "rbf"),
        (None, "null"),
        ([1, {"a": "ü"}], '[1, {"a": "ü"}]'),
    ],
)
def test_numbers(value, text):
    assert formatting.number_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (59.96, "1 min 0 s"),
        (125, "2 min 5 s"),
        (4200, "1 h 10 min"),
    ],
)
def test_durations(seconds, text):
    assert formatting.seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "just now"), (59, "just now"), (60, "1 min ago"), (7200, "2 h ago"), (200_000, "2 d ago")],
)
def test_ages(seconds, text):
    assert formatting.age_text(seconds) == text


@pytest.mark.parametrize(
    ("new", "old", "text"),
    [
        (1.1, 1.0, "+10 %"),
        (1, 1, "same"),
        (0.5, 0, "0.5"),
        (-1.0, -2.0, "+50 %"),
        (1.0, math.inf, "infinite"),
    ],
)
def test_changes(new, old, text):
    assert formatting.change_text(new, old).replace(SPACE, " ") == text


def test_bounds():
    assert (
        formatting.bounds_text(Check(metric="r2", value=1, min=0.5, max=1, passed=True))
        == "at least 0.5 and at most 1"
    )


def test_a_run_that_failed_outside_its_steps():
    record = make_record(state=State.FAILED, verdict=None, error="gate.thresholds: no step measured 'rmse'")
    outcome = formatting.outcome(record)
    assert outcome.title == "Failed"
    assert outcome.reasons == ("gate.thresholds: no step measured 'rmse'.", "4 of 4 steps finished.")


def test_what_is_to_be_known_of_a_comparison():
    beside = make_comparison(rows=19, difference=0.021, low=-0.1, high=0.2)
    verdict = Verdict(
        passed=True,
        reasons=(),
        comparison=make_comparison(difference=0.01, low=-0.01, high=0.03, tries=3, folds=30, power=0.9),
        held_out=beside,
        above_best=0.034,
        notes=("the champion was trained on 2 of 21 held-out rows, which are left out",),
    )
    assert [note.replace(SPACE, " ") for note in formatting.comparison_notes(verdict)] == [
        "3 models were tried on these held-out rows.",
        "The champion was trained on 2 of 21 held-out rows, which are left out.",
        "On 19 held-out rows alone, the mean loss differs by +2.1 % (−10 % to +20 %).",
        "Its mean loss is 3.4 % above that of the best model before it: small losses add up.",
    ]
    record = make_record(verdict=verdict, champion="c0ffee")
    told = formatting.outcome(record).reasons[0].replace(SPACE, " ")
    assert told == (
        "The mean loss of its recipe is 1 % higher than the champion's (95 % interval −1 % to +3 %, "
        "30 refits of both on 78 rows); a rise within the tolerance of 5 % counts as no worse. "
        "A model that is as good as the champion would pass with probability .90."
    )


def test_thresholds_that_decide_although_there_is_a_champion():
    outcome = formatting.outcome(make_record(verdict=Verdict(passed=True, reasons=()), champion="c0ffee"))
    assert outcome.title == "Passed: only the thresholds were applied"
    assert "Too few held-out rows" in outcome.reasons[0]


def test_what_speaks_against_a_model_beside_its_figures():
    verdict = Verdict(passed=False, reasons=("small losses add up",), objections=("small losses add up",))
    outcome = formatting.outcome(make_record(verdict=verdict, champion="c0ffee"))
    assert outcome.reasons == ("Small losses add up.", "The champion stays.")


def make_comparison(**changes):
    values = {"outcome": "no worse", "candidate": 1, "champion": 1, "confidence": 0.95, "tolerance": 0.05}
    return Comparison(**{**values, "rows": 78, **changes})


def test_a_step_that_failed_without_a_word():
    record = make_record(state=State.FAILED, verdict=None)
    record.steps["train"].state = State.FAILED
    assert formatting.outcome(record).reasons == ("3 of 4 steps finished.",)
