"""Compares each column of a window with the reference: distribution, gaps, range, and words never seen.

Every test is one of whether the window's rows are drawn as the reference's were, and has an effect beside its
p-value. Knows nothing of models and of what follows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbship.monitoring.decision import Finding, Kind
from nbship.monitoring.values import is_number, numbers, words
from nbship.package.schema import Column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_BARS = 12
_WORDS_SHOWN = 8
_BINS = 10


@dataclass(frozen=True)
class Bars:
    """A distribution to draw.

    Attributes:
        labels: Of each bar: a word, or the lower edge of a range of numbers.
        reference: Share of the reference's rows in each.
        window: Share of the window's rows.
    """

    labels: tuple[str, ...]
    reference: tuple[float, ...]
    window: tuple[float, ...]


@dataclass(frozen=True)
class ColumnChange:
    """What became of a column.

    Attributes:
        name: The column.
        rows: Of the window.
        findings: What was tested, not yet adjusted for each other.
        psi: Population stability index, a description: it says nothing on few rows.
        bars: Both distributions; None where there is nothing to draw.
        missing: Shares of rows without a value: of the reference and of the window.
    """

    name: str
    rows: int
    findings: tuple[Finding, ...]
    psi: float | None
    bars: Bars | None
    missing: tuple[float, float]


def compare_column(
    column: Column, rows: int, sample: pd.Series[Any] | None, window: pd.Series[Any]
) -> ColumnChange:
    """Compares a column of a window with what it was in the reference.

    Args:
        column: Its description, which counts all reference rows.
        rows: How many reference rows that describes; 0 where it describes none.
        sample: Its values in a sample of these; None where there is no sample.
        window: Its values in the window, at least one.
    """
    change = _numbers_changed if is_number(column) else _words_changed
    return change(column, rows, sample, window)


def _numbers_changed(
    column: Column, rows: int, sample: pd.Series[Any] | None, window: pd.Series[Any]
) -> ColumnChange:
    import numpy as np

    new = numbers(window)
    present = new[~np.isnan(new)]
    old = None if sample is None else numbers(sample)
    known = None if old is None else old[~np.isnan(old)]
    missing_before = (column.missing, rows) if rows or old is None else (int(np.isnan(old).sum()), len(old))
    findings = _missing(column.name, *missing_before, len(new) - len(present), len(new))
    if known is not None and len(known) and len(present):
        findings.append(number_finding(column.name, known, present))
    elif known is None and column.histogram and len(present):
        findings += _histogram_finding(column, present)
    if column.minimum is not None and column.maximum is not None and rows and len(present):
        outside = int(((present < column.minimum) | (present > column.maximum)).sum())
        # Left out in turn, the smallest and the largest reference row would be out of the others' range.
        text = f"{share(outside, len(present))} beyond {column.minimum:g} to {column.maximum:g}"
        findings.append(
            _rises("range", column.name, (2, rows - column.missing), (outside, len(present)), text)
        )
    return ColumnChange(
        column.name,
        len(new),
        tuple(findings),
        _psi_of_numbers(column, known, present),
        _number_bars(column, known, present),
        (ratio(*missing_before), ratio(len(new) - len(present), len(new))),
    )


def number_finding(about: str, old: Numbers, new: Numbers, kind: Kind = "distribution") -> Finding:
    """Compares numbers by Kolmogorov and Smirnov: the largest difference of the two distribution functions.

    At least that share of rows would have to move to make them alike.
    """
    import numpy as np
    from scipy.stats import kstwo

    both = np.concatenate([old, new])
    below = [np.searchsorted(np.sort(each), both, side="right") / len(each) for each in (old, new)]
    distance = float(np.abs(below[0] - below[1]).max())
    # The distribution for one sample of the size that both together are worth; with ties it is conservative.
    worth = max(1, round(len(old) * len(new) / (len(old) + len(new))))
    p = float(np.clip(kstwo.sf(distance, worth), 0, 1))
    text = (
        f"median {number(np.median(new))}, was {number(np.median(old))}; at least "
        f"{percent(distance)} of the rows lie elsewhere"
    )
    return Finding(kind, about, p, distance, text)


def _histogram_finding(column: Column, present: Numbers) -> list[Finding]:
    import numpy as np

    histogram = column.histogram
    if histogram is None or len(histogram.edges) < 3:
        return []
    inner = histogram.edges[1:-1]
    found = np.bincount(np.searchsorted(inner, present, side="right"), minlength=len(inner) + 1)
    before = dict(enumerate(histogram.counts))
    return word_finding(column.name, before, dict(enumerate(found.tolist())), "ranges of values")


def _words_changed(
    column: Column, rows: int, sample: pd.Series[Any] | None, window: pd.Series[Any]
) -> ColumnChange:
    new = words(window)
    present = [word for word in new if word is not None]
    old = None if sample is None else [word for word in words(sample) if word is not None]
    missing = (
        (column.missing, rows)
        if rows
        else (
            0 if old is None or sample is None else len(sample) - len(old),
            0 if sample is None else len(sample),
        )
    )
    findings = _missing(column.name, *missing, len(new) - len(present), len(new))
    shares = (ratio(*missing), ratio(len(new) - len(present), len(new)))
    if column.type == "text":
        findings += _texts(column.name, old or [], present)
        return ColumnChange(column.name, len(new), tuple(findings), None, None, shares)
    before: Counter[Any] = Counter(column.categories) if column.categories else Counter(old or [])
    after: Counter[Any] = Counter(_canonical(word, before) for word in present)
    findings += word_finding(column.name, before, after, "categories")
    findings += _new_words(column.name, before, after)
    return ColumnChange(
        column.name, len(new), tuple(findings), _psi(before, after), _word_bars(before, after), shares
    )


def _canonical(word: str, known: Counter[Any]) -> str:
    """A whole number that was read as a fraction is the same category: 1.0 and 1."""
    if word in known:
        return word
    short = word.removesuffix(".0")
    return short if short in known else word


def word_finding(
    about: str, before: dict[Any, int], after: dict[Any, int], what: str, kind: Kind = "distribution"
) -> list[Finding]:
    """Compares how often each word comes by Pearson's χ²; words too rare for it count as one.

    The effect is the total variation distance: the share of rows that would have to be another word.
    """
    from scipy.stats import chi2

    totals = sum(before.values()), sum(after.values())
    if not all(totals):
        return []
    cells = _pooled([(before.get(word, 0), after.get(word, 0)) for word in {*before, *after}], totals)
    moves = {w: after.get(w, 0) / totals[1] - before.get(w, 0) / totals[0] for w in {*before, *after}}
    distance = min(1.0, sum(abs(moves[word]) for word in sorted(moves, key=str)) / 2)
    if len(cells) < 2:
        return []
    statistic = 0.0
    for pair in cells:
        for got, total in zip(pair, totals, strict=True):
            expected = sum(pair) * total / sum(totals)
            statistic += (got - expected) ** 2 / expected
    moved = max(moves, key=lambda word: (abs(moves[word]), str(word)))
    told = f"; {moved} {share(after.get(moved, 0), totals[1])}, was {share(before.get(moved, 0), totals[0])}"
    text = f"{percent(distance)} of the rows are in other {what}{told if what == 'categories' else ''}"
    return [Finding(kind, about, float(chi2.sf(statistic, len(cells) - 1)), distance, text)]


def _pooled(cells: Sequence[tuple[int, int]], totals: tuple[int, int]) -> list[tuple[int, int]]:
    """Puts the rarest together until at least five rows are to be expected in every cell."""
    smaller = min(totals) / sum(totals)
    ordered = sorted((pair for pair in cells if sum(pair)), key=sum)
    pooled: list[tuple[int, int]] = []
    rest = (0, 0)
    for pair in ordered:
        if sum(pair) * smaller >= 5 and sum(rest) == 0:
            pooled.append(pair)
        elif sum(pair) * smaller >= 5:
            if sum(rest) * smaller >= 5:
                pooled += [rest, pair]
            else:
                pooled.append((rest[0] + pair[0], rest[1] + pair[1]))
            rest = (0, 0)
        else:
            rest = (rest[0] + pair[0], rest[1] + pair[1])
    if sum(rest):
        pooled.append(rest)
    if len(pooled) > 1 and sum(pooled[-1]) * smaller < 5:
        last = pooled.pop()
        pooled[-1] = (pooled[-1][0] + last[0], pooled[-1][1] + last[1])
    return pooled


def _new_words(about: str, before: dict[Any, int], after: dict[Any, int]) -> list[Finding]:
    """Compares the share of words never seen with what the reference lets expect of the next rows.

    Left out in turn, each reference row with a word of its own would be new among the others: Good's
    estimate of the unseen (The Population Frequencies of Species, 1953).
    """
    rows, total = sum(before.values()), sum(after.values())
    if not rows or not total:
        return []
    own = sum(count for count in before.values() if count == 1)
    unseen = {word: count for word, count in after.items() if word not in before}
    count = sum(unseen.values())
    named = ", ".join(sorted(unseen, key=lambda w: (-unseen[w], str(w)))[:3])
    text = f"{share(count, total)} with values never seen{f': {named[:80]}' if named else ''}"
    return [_rises("new words", about, (own, rows), (count, total), text)]


def _texts(about: str, old: Sequence[str], new: Sequence[str]) -> list[Finding]:
    """Compares free texts by their length, and by whether they have words that no other text has."""
    import numpy as np

    if not old or not new:
        return []
    lengths = [np.array([len(text) for text in texts], dtype="float64") for texts in (old, new)]
    finding = number_finding(about, lengths[0], lengths[1])
    known = Counter(word for text in old for word in set(text.lower().split()))
    alone = sum(any(known[word] == 1 for word in set(text.lower().split())) for text in old)
    strange = sum(any(word not in known for word in set(text.lower().split())) for text in new)
    told = f"{share(strange, len(new))} with words never seen"
    return [
        Finding("distribution", about, finding.p, finding.effect, f"length in characters: {finding.text}"),
        _rises("new words", about, (alone, len(old)), (strange, len(new)), told),
    ]


def _missing(about: str, before: int, rows: int, after: int, total: int) -> list[Finding]:
    """Compares shares of gaps; a share that falls is no less of a change."""
    if not rows or not total:
        return []
    text = f"{share(after, total)} without a value, was {share(before, rows)}"
    effect = abs(after / total - before / rows)
    return [Finding("missing", about, _fisher(before, rows, after, total, "two-sided"), effect, text)]


def _rises(kind: Kind, about: str, before: tuple[int, int], after: tuple[int, int], text: str) -> Finding:
    rows = max(before[1], before[0], 1)
    effect = max(0.0, after[0] / after[1] - before[0] / rows)
    return Finding(kind, about, _fisher(before[0], rows, after[0], after[1], "greater"), effect, text)


def _fisher(before: int, rows: int, after: int, total: int, alternative: str) -> float:
    """Fisher's exact test of two shares."""
    from scipy.stats import fisher_exact, hypergeom

    if alternative == "greater":
        return float(min(1.0, hypergeom.sf(after - 1, rows + total, before + after, total)))
    return float(fisher_exact([[before, rows - before], [after, total - after]])[1])


def _psi(before: dict[Any, int], after: dict[Any, int]) -> float | None:
    totals = sum(before.values()), sum(after.values())
    if not all(totals):
        return None
    index = 0.0
    for word in {*before, *after}:
        # Half a row stands for none, as a logarithm must have something.
        was, came = (
            max(c.get(word, 0), 0.5) / total for c, total in zip((before, after), totals, strict=True)
        )
        index += (came - was) * math.log(came / was)
    return index


def _psi_of_numbers(column: Column, known: Numbers | None, present: Numbers) -> float | None:
    import numpy as np

    if not len(present):
        return None
    if known is not None and len(known):
        inner = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1))[1:-1])
        before = np.bincount(np.searchsorted(inner, known, side="right"), minlength=len(inner) + 1)
    elif column.histogram:
        inner = np.array(column.histogram.edges[1:-1])
        before = np.array(column.histogram.counts)
    else:
        return None
    after = np.bincount(np.searchsorted(inner, present, side="right"), minlength=len(inner) + 1)
    return _psi(dict(enumerate(before.tolist())), dict(enumerate(after.tolist())))


def _number_bars(column: Column, known: Numbers | None, present: Numbers) -> Bars | None:
    """Bars of equal width from the first to the last hundredth of both; the last ones hold what is beyond."""
    import numpy as np

    if not len(present):
        return None
    if known is not None and len(known):
        old, weights = known, np.ones(len(known))
    elif column.histogram:
        edges = np.array(column.histogram.edges)
        old, weights = (edges[1:] + edges[:-1]) / 2, np.array(column.histogram.counts, dtype="float64")
    else:
        return None
    values = np.unique(np.concatenate([old, present]))
    if known is not None and len(values) <= _BARS:
        counts = [{number(v): int((each == v).sum()) for v in values} for each in (old, present)]
        shares = [tuple(count / sum(each.values()) for count in each.values()) for each in counts]
        return Bars(tuple(counts[0]), *shares) if len(counts[0]) > 1 else None
    ends = [np.quantile(each, [0.01, 0.99]) for each in (old, present)]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if not high > low or not np.isfinite(high - low):
        return None
    edges = np.linspace(low, high, _BARS + 1)
    if not (np.diff(edges) > 0).all():
        return None
    was = np.histogram(np.clip(old, low, high), edges, weights=weights)[0] / weights.sum()
    came = np.histogram(np.clip(present, low, high), edges)[0] / len(present)
    labels = tuple(f"{edge:.0f}" if 1000 <= abs(edge) < 1e6 else f"{edge:.3g}" for edge in edges[:-1])
    return Bars(labels, tuple(was.tolist()), tuple(came.tolist()))


def _word_bars(before: dict[Any, int], after: dict[Any, int]) -> Bars | None:
    totals = sum(before.values()), sum(after.values())
    if not all(totals):
        return None
    shares = {w: (before.get(w, 0) / totals[0], after.get(w, 0) / totals[1]) for w in {*before, *after}}
    shown = sorted(shares, key=lambda word: (-max(shares[word]), str(word)))[:_WORDS_SHOWN]
    rest = [sum(shares[word][side] for word in shares.keys() - set(shown)) for side in (0, 1)]
    labels = [str(word) for word in shown] + (["others"] if len(shares) > len(shown) else [])
    pairs = [shares[word] for word in shown] + ([(rest[0], rest[1])] if len(shares) > len(shown) else [])
    return Bars(tuple(labels), tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


def ratio(part: int, whole: int) -> float:
    """Returns a share; 0 of nothing."""
    return part / whole if whole else 0.0


def share(part: int, whole: int) -> str:
    """Returns a share in words: 12 %."""
    return percent(ratio(part, whole))


def percent(value: float) -> str:
    """Returns a share as a percentage, with a decimal where it is small."""
    return f"{100 * value:.0f} %" if value == 0 or value >= 0.0995 else f"{100 * value:.1f} %"


def number(value: float) -> str:
    """Returns a number with four significant digits."""
    return f"{value:.4g}"
