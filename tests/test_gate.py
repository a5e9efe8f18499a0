import math
import random
import statistics
import tracemalloc

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nbship.config import Gate
from nbship.errors import NbshipError, UsageError
from nbship.gate import (
    Check,
    Fold,
    Known,
    Refits,
    Verdict,
    compare,
    compare_recipes,
    judge,
    percent_text,
    read_losses,
    read_refits,
)

LOSSES = st.dictionaries(st.text(max_size=4), st.floats(0, 1e6), min_size=1, max_size=40)


def gate(**settings):
    return Gate.model_validate({"thresholds": {"rmse": {"max": 3.2}}} | settings)


def normal(count, mean=0.0, seed=1, sigma=1.0):
    draw = random.Random(seed)  # noqa: S311 (nothing secret)
    return [draw.gauss(mean, sigma) for _ in range(count)]


def pair(differences, champion=10.0):
    """Losses of a candidate and of a champion, by row, that differ by this much."""
    return {str(i): champion + d for i, d in enumerate(differences)}, {
        str(i): champion for i in range(len(differences))
    }


def plain(text):
    return str(text).replace("\N{NO-BREAK SPACE}", " ")


# Thresholds


@pytest.mark.parametrize(
    ("bounds", "value", "passed", "text"),
    [
        ({"max": 3.2}, 2.85634, True, "rmse 2.856 ≤ 3.2"),
        ({"max": 3.2}, 3.2, True, "rmse 3.2 ≤ 3.2"),
        ({"max": 3.2}, 3.9621, False, "rmse 3.962 is not ≤ 3.2"),
        ({"max": 3.2}, 3.20001, False, "rmse 3.20001 is not ≤ 3.2"),
        ({"min": 0.8}, 0.9, True, "rmse 0.9 ≥ 0.8"),
        ({"min": 0.8}, 0.7, False, "rmse 0.7 is not ≥ 0.8"),
        ({"min": 0.1, "max": 0.9}, 0.5, True, "rmse 0.5 ≥ 0.1 and ≤ 0.9"),
        ({"min": 0.1, "max": 0.9}, 0.05, False, "rmse 0.05 is not ≥ 0.1"),
        ({"min": 0.1, "max": 0.9}, 0.95, False, "rmse 0.95 is not ≤ 0.9"),
        ({"max": 3.2}, math.nan, False, "rmse is nan, not a finite number"),
        ({"min": 0}, math.nan, False, "rmse is nan, not a finite number"),
        ({"max": 3.2}, -math.inf, False, "rmse is -inf, not a finite number"),
        ({"min": 0.8}, math.inf, False, "rmse is inf, not a finite number"),
    ],
)
def test_a_metric_is_held_against_its_bounds(bounds, value, passed, text):
    verdict = judge(gate(thresholds={"rmse": bounds}), {"evaluate.rmse": value})
    (check,) = verdict.checks
    assert (verdict.passed, check.passed, str(check)) == (passed, passed, text)
    assert (text in verdict.reasons) == (not passed or verdict.reasons[0].startswith("no champion yet"))


@given(st.floats(), st.none() | st.floats(-1e9, 1e9), st.none() | st.floats(-1e9, 1e9))
def test_a_check_passes_only_within_all_its_bounds(value, lower, upper):
    assume(lower is not None or upper is not None)
    verdict = judge(gate(thresholds={"rmse": {"min": lower, "max": upper}}), {"evaluate.rmse": value})
    within = (lower is None or lower <= value) and (upper is None or value <= upper)
    assert verdict.passed == (within and math.isfinite(value))
    assert ("not" in str(verdict.checks[0])) == (not verdict.passed)


def test_every_failed_threshold_is_a_reason():
    thresholds = {"rmse": {"max": 1}, "r2": {"min": 0.8}, "train.rmse": {"max": 2}}
    verdict = judge(gate(thresholds=thresholds), {"evaluate.rmse": 3, "evaluate.r2": 0.9, "train.rmse": 4})
    assert verdict.reasons == ("rmse 3 is not ≤ 1", "train.rmse 4 is not ≤ 2")


def test_a_first_model_is_judged_by_thresholds_alone():
    verdict = judge(gate(), {"evaluate.rmse": 2.5}, {"0": 1.0})
    assert verdict.passed
    assert verdict.reasons == ("no champion yet: only the thresholds were applied", "rmse 2.5 ≤ 3.2")
    assert verdict.comparison is None


def test_a_metric_that_nobody_measured():
    with pytest.raises(UsageError) as error:
        judge(gate(), {"evaluate.rsme": 2.5})
    assert error.value.message == "gate.thresholds: no step measured 'rmse'"
    assert error.value.hint == "did you mean 'evaluate.rsme'?"


def test_a_verdict_with_a_nan_survives_json():
    verdict = judge(gate(), {"evaluate.rmse": math.nan})
    assert not verdict.passed
    read = Verdict.model_validate_json(verdict.model_dump_json())
    assert math.isnan(read.checks[0].value)
    assert read.reasons == verdict.reasons


# Comparison


@pytest.mark.parametrize(
    ("mean", "outcome"),
    [(-1.0, "better"), (0.0, "no worse"), (0.1, "no worse"), (0.5, "worse"), (2.0, "worse")],
)
def test_three_outcomes(mean, outcome):
    compared = compare(*pair(normal(200, mean)), tolerance=0.05)
    assert compared.outcome == outcome
    assert compared.low < compared.difference < compared.high
    assert compared.difference == pytest.approx(compared.candidate / compared.champion - 1)
    assert (compared.rows, compared.confidence, compared.tolerance) == (200, 0.95, 0.05)


def test_a_candidate_must_show_that_it_is_no_worse():
    # Its mean is lower, but so few rows say little.
    compared = compare(*pair(normal(8, -0.1, sigma=3)))
    assert compared.difference < 0
    assert compared.outcome == "worse"


@given(LOSSES, st.sampled_from([0, 0.05, 1]))
def test_identical_losses_are_no_worse_whatever_the_tolerance(losses, tolerance):
    compared = compare(losses, dict(reversed(losses.items())), tolerance)
    assert (compared.outcome, compared.difference, compared.low, compared.high) == ("no worse", 0, 0, 0)


@given(LOSSES, st.data())
def test_the_order_of_rows_does_not_matter_and_every_call_gives_the_same(champion, data):
    candidate = {row: data.draw(st.floats(0, 1e6)) for row in champion}
    shuffled = dict(data.draw(st.permutations(list(candidate.items()))))
    assert compare(candidate, champion) == compare(candidate, champion) == compare(shuffled, champion)


@given(LOSSES, st.data())
def test_an_interval_is_in_order_and_decides(champion, data):
    candidate = {row: data.draw(st.floats(0, 1e6)) for row in champion}
    tolerance = data.draw(st.floats(0, 1))
    compared = compare(candidate, champion, tolerance)
    assert compared.low <= compared.high
    assert (compared.outcome == "better") == (compared.high < 0)
    assert (compared.outcome == "worse") == (compared.high > tolerance)


@given(LOSSES, st.floats(0.01, 100))
def test_a_share_does_not_depend_on_the_unit_of_the_loss(champion, unit):
    assume(statistics.fmean(champion.values()) > 1)
    candidate = {row: loss + 1 for row, loss in champion.items()}
    one, other = (
        compare(candidate, champion),
        compare(*({k: v * unit for k, v in x.items()} for x in (candidate, champion))),
    )
    assert one.difference == pytest.approx(other.difference, rel=1e-6)
    assert one.high == pytest.approx(other.high, rel=1e-6)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("rows", [200, 9_999, 10_001, 50_000])
def test_the_interval_agrees_with_the_normal_approximation(rows, confidence):
    differences = normal(rows, 0.3)
    compared = compare(*pair(differences, champion=1.0), confidence=confidence)
    half = (
        statistics.NormalDist().inv_cdf((1 + confidence) / 2)
        * statistics.stdev(differences)
        / math.sqrt(rows)
    )
    mean = statistics.fmean(differences)
    assert compared.difference == pytest.approx(mean)
    assert (compared.low, compared.high) == pytest.approx((mean - half, mean + half), abs=0.08 * half)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    intervals = [compare(*pair(normal(60, 0.3, seed), champion=1.0)) for seed in range(200)]
    covered = sum(compared.low <= 0.3 <= compared.high for compared in intervals)
    assert 180 <= covered <= 198


def test_very_many_rows_take_little_memory():
    candidate, champion = pair([0.001 * (i % 7) for i in range(300_000)])
    # What is allocated from here on; the most that the process ever had may be an earlier test's.
    tracemalloc.start()
    try:
        assert compare(candidate, champion).outcome == "no worse"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300e6  # bytes; 10,000 draws of all take 24 GB


def test_without_a_positive_mean_the_difference_is_absolute():
    compared = compare({"a": 0.5, "b": 0.5}, {"a": 0.0, "b": 0.0})
    assert (compared.difference, compared.outcome) == (0.5, "worse")


def test_the_interval_is_absolute_where_losses_are_below_zero():
    champion = {str(row): row - 20.0 for row in range(30)}
    compared = compare({row: loss - 0.5 for row, loss in champion.items()}, champion)
    assert (compared.low, compared.high) == pytest.approx((-0.5, -0.5))
    assert compared.outcome == "better"


def test_how_likely_an_equal_model_passes_is_said_where_it_may_have_decided():
    better, worse = (compare(*pair([by + 0.01 * (row % 7) for row in range(40)])) for by in (-2.0, 2.0))
    assert (better.outcome, worse.outcome) == ("better", "worse")
    assert "an equal model" not in str(better)
    assert "an equal model passes with probability" in str(worse)


@pytest.mark.parametrize(
    ("candidate", "champion", "said"),
    [
        ({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0}, "different rows: 'b' and 1 more"),
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}, "different rows: 'b'"),
        ({}, {"a": 1.0}, "different rows: 'a'"),
        ({}, {}, "no held-out row"),
        ({"a": math.nan}, {"a": 1.0}, "not a finite number"),
        ({"a": 1.0}, {"a": math.inf}, "not a finite number"),
    ],
)
def test_losses_that_cannot_be_compared(candidate, champion, said):
    with pytest.raises(NbshipError, match=said):
        compare(candidate, champion)
    with pytest.raises(NbshipError, match=said):
        judge(gate(thresholds={}), {}, candidate, champion)


def test_a_champion_is_never_passed_over_for_want_of_losses():
    with pytest.raises(NbshipError, match="different rows"):
        judge(gate(), {"evaluate.rmse": 1}, None, {"a": 1.0})


@pytest.mark.parametrize(
    ("require", "mean", "passed"),
    [
        ("no worse", -1.0, True),
        ("no worse", 0.1, True),
        ("no worse", 0.5, False),
        ("better", -1.0, True),
        ("better", 0.1, False),
        ("better", 0.5, False),
    ],
)
def test_the_gate_says_what_a_candidate_must_be(require, mean, passed):
    candidate, champion = pair(normal(200, mean))
    verdict = judge(gate(require=require), {"evaluate.rmse": 1}, candidate, champion)
    assert verdict.passed == passed
    assert verdict.reasons[0].startswith(str(verdict.comparison))


def test_a_failed_threshold_rejects_a_better_candidate():
    verdict = judge(gate(), {"evaluate.rmse": 4}, *pair(normal(200, -1)))
    assert verdict.comparison.outcome == "better"
    assert (verdict.passed, verdict.reasons) == (False, ("rmse 4 is not ≤ 3.2",))


def compared(outcome, difference, low, high, **changes):
    values = {"candidate": 1, "champion": 1, "confidence": 0.95, "tolerance": 0.05, "rows": 78}
    kind = type(compare({"a": 1.0}, {"a": 1.0}))
    return kind(outcome=outcome, difference=difference, low=low, high=high, **values | changes)


def test_a_rejection_says_why():
    assert plain(compared("worse", 0.035, -0.039, 0.134)) == (
        "worse than the champion: mean loss +3.5 %, 95 % interval −3.9 % to +13 %, "
        "where at most +5 % counts as no worse (78 rows)"
    )
    assert plain(compared("better", -0.2, -0.33, -0.06, rows=1, confidence=0.995)) == (
        "better than the champion: mean loss −20 %, 99.5 % interval −33 % to −6 % (1 row)"
    )
    verdict = judge(gate(require="better"), {"evaluate.rmse": 1}, {"a": 1.0}, {"a": 1.0})
    assert [plain(reason) for reason in verdict.reasons] == [
        "no worse than the champion: mean loss 0 %, 95 % interval 0 % to 0 %, "
        "where at most +5 % counts as no worse (1 row); the gate asks for better"
    ]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.05, "+5 %"), (-0.0123, "−1.2 %"), (0.2, "+20 %"), (-0.996, "−100 %"), (0.0, "0 %"), (-0.0001, "0 %")],
)
def test_percentages(share, text):
    assert plain(percent_text(share)) == text


def test_a_check_can_be_read_without_a_gate():
    assert str(Check(metric="r2", value=0.91, min=0.8, max=None, passed=True)) == "r2 0.91 ≥ 0.8"


# Losses from a file


@pytest.fixture
def losses_file(tmp_path):
    def write(content):
        path = tmp_path / "losses.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@given(
    st.dictionaries(st.text("abc1,\"' \u00e4", max_size=5), st.floats(allow_nan=False, allow_infinity=False))
)
def test_losses_read_back_as_pandas_writes_them(tmp_path_factory, losses):
    import pandas as pd

    path = tmp_path_factory.mktemp("losses") / "losses.csv"
    pd.DataFrame({"row": list(losses), "loss": list(losses.values()), "more": 1}).to_csv(path)
    assert read_losses(path) == losses


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "losses.csv: has the columns none"),
        ("row,los\n1,2\n", "losses.csv: has the columns row, los"),
        ("row,loss\n1,2\n2,3\n1,2\n", "losses.csv, line 4: row '1' is there twice"),
        ("row,loss\n1,two\n", "losses.csv, line 2: loss 'two' is not a finite number"),
        ("row,loss\n1,2\n2\n", "losses.csv, line 3: loss 'None' is not a finite number"),
        ("row,loss\n1,nan\n", "losses.csv, line 2: loss 'nan' is not a finite number"),
        ("row,loss\n1,inf\n", "losses.csv, line 2: loss 'inf' is not a finite number"),
        ("loss,row\n1\n", "losses.csv, line 2: "),
        (b"row,loss\n\xff,1\n", "losses.csv: cannot be read: "),
        (f"row,loss\n{'1' * 200_000},1\n", "losses.csv: cannot be read: field larger than field limit"),
    ],
)
def test_losses_that_cannot_be_read(losses_file, content, said):
    with pytest.raises(NbshipError) as error:
        read_losses(losses_file(content))
    assert error.value.message.startswith(said)
    assert error.value.hint


def test_a_byte_order_mark_does_no_harm(losses_file):
    assert read_losses(losses_file(b"\xef\xbb\xbfrow,loss\r\na,1\r\n")) == {"a": 1.0}


def test_a_folder_where_losses_should_be(tmp_path):
    with pytest.raises(NbshipError, match="cannot be read"):
        read_losses(tmp_path)


# A champion's mean loss is estimated too


def test_equal_mean_losses_beyond_the_tolerance_pass_as_rarely_as_the_confidence_says():
    """At the edge of the tolerance one in forty may pass; with the champion's mean as known, 1 in 18 did."""
    import numpy as np

    generator = np.random.default_rng(0)
    passed = 0
    for _ in range(300):
        old, other = generator.standard_normal((2, 78))
        new = math.sqrt(1.05) * (0.99 * old + math.sqrt(1 - 0.99**2) * other)
        losses = ({str(i): float(x * x) for i, x in enumerate(of)} for of in (new, old))
        passed += compare(*losses).outcome != "worse"
    assert passed <= 12  # 4 %; 2.5 % is meant


def test_the_interval_knows_that_the_champions_mean_is_uncertain():
    candidate, champion = {"a": 2.0, "b": 20.0, "c": 200.0}, {"a": 1.0, "b": 10.0, "c": 100.0}
    compared = compare(candidate, champion)
    # Twice the loss in each row is twice the loss in any sample of rows.
    assert (compared.low, compared.high) == (pytest.approx(1), pytest.approx(1))


def test_no_loss_at_all_in_a_sample_of_rows():
    rare = {str(i): float(i == 0) for i in range(40)}
    assert compare(rare, rare).outcome == "no worse"
    worse = {**rare, "1": 1.0}
    compared = compare(worse, rare)
    assert (compared.outcome, compared.high) == ("worse", math.inf)
    assert (
        Verdict.model_validate_json(
            Verdict(passed=False, reasons=(), comparison=compared).model_dump_json()
        ).comparison
        == compared
    )


@given(st.dictionaries(st.text(max_size=3), st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(0, 1))
def test_losses_below_zero_are_compared_as_they_are(champion, tolerance):
    compared = compare({row: loss + 1 for row, loss in champion.items()}, champion, tolerance)
    assert compared.absolute == (min(champion.values()) < 0 or max(champion.values()) <= 0)
    if compared.absolute:
        assert compared.difference == pytest.approx(1, abs=1e-6)


# Recipes


def folds(differences, champion=10.0, train_rows=80, rows=20):
    made = [
        Fold(train_rows=train_rows, rows=rows, candidate=champion + d, champion=champion) for d in differences
    ]
    return Refits(folds=made)


def test_recipes_are_compared_by_the_corrected_resampled_t_interval():
    differences = normal(25, 0.1, sigma=0.3)
    compared = compare_recipes(folds(differences))
    # Nadeau and Bengio: the variance of a mean of 25 folds counts as 1/25 + 20/80, and t has 24 degrees.
    half = 2.0639 * math.sqrt((1 / 25 + 20 / 80) * statistics.variance(differences)) / 10
    mean = statistics.fmean(differences) / 10
    assert compared.difference == pytest.approx(mean)
    assert (compared.low, compared.high) == pytest.approx((mean - half, mean + half), rel=1e-4)
    assert (compared.rows, compared.folds) == (100, 25)
    assert "25 refits of both on 100 rows" in str(compared)


@pytest.mark.parametrize(
    ("mean", "outcome"), [(-1.0, "better"), (0.0, "no worse"), (0.2, "no worse"), (2.0, "worse")]
)
def test_recipes_have_the_same_three_outcomes(mean, outcome):
    assert compare_recipes(folds(normal(25, mean, sigma=0.2))).outcome == outcome


def test_no_loss_falls_by_more_than_all_of_it():
    compared = compare_recipes(folds([*normal(9, 30, sigma=30), 400.0]))
    assert (compared.low, compared.outcome) == (-1, "worse")


def test_where_recipes_were_compared_they_decide():
    candidate, champion = pair(normal(40, 1.0, sigma=8))
    assert compare(candidate, champion).outcome == "worse"
    verdict = judge(gate(), {"evaluate.rmse": 1}, candidate, champion, folds(normal(25, 0, sigma=0.1)))
    assert verdict.passed
    assert verdict.comparison.folds == 25
    assert verdict.held_out == compare(candidate, champion)


def test_a_good_recipe_whose_model_is_shown_to_be_worse_is_rejected():
    """As where something went wrong with the rows that this very model was fitted to."""
    candidate, champion = pair(normal(100, 5))
    verdict = judge(gate(), {"evaluate.rmse": 1}, candidate, champion, folds([0.0] * 25))
    assert not verdict.passed
    assert verdict.objections[0].startswith("on held-out rows it is shown to be worse")


def test_recipes_that_were_not_compared_leave_it_to_the_held_out_rows():
    candidate, champion = pair(normal(200))
    verdict = judge(gate(), {"evaluate.rmse": 1}, candidate, champion, Refits(reason="too many rows"))
    assert (verdict.comparison, verdict.held_out) == (compare(candidate, champion), None)
    assert verdict.notes == ("too many rows",)


@pytest.mark.parametrize("differences", [normal(60, 0, sigma=1), normal(60, 0, sigma=3)])
def test_the_chance_of_an_equal_model_is_that_of_the_rows_drawn_again(differences):
    """The chance is worked out from one sample; here are as many samples as it takes to see it."""
    candidate, champion = pair(differences)
    spread = statistics.stdev(differences)
    passed = [
        compare(*pair(normal(len(differences), 0, seed, spread))).outcome != "worse" for seed in range(150)
    ]
    assert compare(candidate, champion).power == pytest.approx(statistics.fmean(passed), abs=0.13)


# Rows that the champion has seen


def test_rows_that_the_champion_was_trained_on_are_left_out():
    candidate, champion = pair([*normal(60, 3), *normal(60, -1)])
    seen = frozenset(map(str, range(60)))
    verdict = judge(gate(), {"evaluate.rmse": 1}, candidate, champion, known=Known(seen=seen))
    assert verdict.comparison.rows == 60
    assert verdict.comparison.outcome == "better"
    assert verdict.notes == ("the champion was trained on 60 of 120 held-out rows, which are left out",)


def test_with_too_few_rows_left_thresholds_decide_and_it_is_said():
    candidate, champion = pair(normal(85, 3))
    known = Known(seen=frozenset(map(str, range(72))), above_best=0.03, tries=2, held_out_set="these")
    verdict = judge(gate(), {"evaluate.rmse": 1}, candidate, champion, known=known)
    assert (verdict.passed, verdict.comparison) == (True, None)
    assert verdict.notes == (
        "the champion was trained on 72 of 85 held-out rows; 13 are left, too few to compare on",
    )
    assert verdict.reasons == ("only the thresholds were applied", "rmse 1 ≤ 3.2")
    assert (verdict.above_best, verdict.tries, verdict.held_out_set) == (0.03, 2, "these")
    assert not judge(gate(require="better"), {"evaluate.rmse": 1}, candidate, champion, known=known).passed
    assert not judge(gate(), {"evaluate.rmse": 9}, candidate, champion, known=known).passed


def test_a_few_rows_of_which_none_was_seen_are_compared():
    assert judge(gate(), {"evaluate.rmse": 1}, *pair([0.0] * 5)).comparison.rows == 5


# Many tries, small losses


def test_twenty_equal_models_seldom_seem_better():
    false = [0, 0]
    for look in range(20):
        compared = [compare(*pair(normal(40, 0, 1000 * look + number)), tries=20) for number in range(20)]
        false[0] += any(each.high < 0 for each in compared)
        false[1] += any(each.outcome == "better" for each in compared)
    assert false[0] > 3
    assert false[1] <= 2


def test_many_tries_are_told_and_do_not_make_no_worse_harder():
    candidate, champion = pair(normal(100, -0.2))
    one, twenty = compare(candidate, champion), compare(candidate, champion, tries=20)
    assert (one.outcome, twenty.outcome) == ("better", "no worse")
    assert (one.low, one.high, one.highest) == (twenty.low, twenty.high, one.high)
    assert twenty.highest > 0 > one.high
    assert one.tried == ""
    assert plain(twenty.tried).startswith(
        "20 models were tried on these held-out rows, so better asks for 99.75 %"
    )
    reasons = judge(
        gate(require="better"), {"evaluate.rmse": 1}, candidate, champion, known=Known(tries=20)
    ).reasons
    assert "20 models were tried" in reasons[0]


def test_small_losses_do_not_add_up():
    """Of twenty releases, each 1 % worse than the one before, the first that is too far off is refused."""
    above, passed = 0.0, 0
    for _ in range(20):
        candidate, champion = pair(normal(400, 0.1, sigma=0.2))
        verdict = judge(gate(), {"evaluate.rmse": 1}, candidate, champion, known=Known(above_best=above))
        if not verdict.passed:
            break
        above, passed = verdict.above_best, passed + 1
    assert passed in (4, 5)
    assert verdict.comparison.outcome == "no worse"
    assert "small losses add up" in verdict.reasons[0]


@pytest.mark.parametrize(("before", "passed"), [(0.5, True), (0.75, False)])
def test_what_is_tolerated_is_tolerated_to_its_edge(before, passed):
    losses, same = pair([0.0] * 50)
    settings = gate(tolerance=0.5)
    verdict = judge(settings, {"evaluate.rmse": 1}, losses, same, known=Known(above_best=before))
    assert (verdict.passed, verdict.above_best) == (passed, before)


def test_a_better_model_makes_up_for_small_losses():
    candidate, champion = pair(normal(400, -0.5, sigma=0.2))
    verdict = judge(gate(), {"evaluate.rmse": 1}, candidate, champion, known=Known(above_best=0.04))
    assert verdict.above_best == 0
    candidate, champion = pair(normal(400, -0.2, sigma=0.2))
    verdict = judge(gate(), {"evaluate.rmse": 1}, candidate, champion, known=Known(above_best=0.04))
    assert verdict.above_best == pytest.approx(0.02, abs=0.003)


# Refits from a file


def test_refits_read_back(tmp_path):
    path = tmp_path / "refits.json"
    path.write_text(folds([0.5, -0.5]).model_dump_json())
    assert read_refits(path) == folds([0.5, -0.5])
    path.write_text('{"reason": "too many rows"}')
    assert read_refits(path) == Refits(reason="too many rows")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "refits.json: "),
        ("[]", "refits.json: content: "),
        ('{"folds": [{"rows": 1, "train_rows": 1, "candidate": 1}]}', "refits.json: folds.0.champion: "),
        (
            '{"folds": [{"rows": 0, "train_rows": 1, "candidate": 1, "champion": 1}]}',
            "refits.json: folds.0.rows",
        ),
        ('{"folds": [{"rows": 1, "train_rows": 1, "candidate": 1, "champion": 1}]}', "refits.json: one fold"),
        ('{"folds": [{"rows": 1, "train_rows": 1, "candidate": NaN, "champion": 1}]}', "refits.json: "),
    ],
)
def test_refits_that_cannot_be_read(tmp_path, content, said):
    path = tmp_path / "refits.json"
    path.write_text(content)
    with pytest.raises(NbshipError) as error:
        read_refits(path)
    assert error.value.message.startswith(said)
    with pytest.raises(NbshipError, match="cannot be read"):
        read_refits(tmp_path / "none.json")
