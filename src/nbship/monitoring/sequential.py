"""Tests a promise row by row, so that looking at it every day does not add up to a false alarm.

Testing by betting: a gambler who wins only if the mean loss is above the promised one. Fair play lets nobody
get rich, so riches are evidence. Knows numbers between 0 and 1, and nothing of models.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_BETS = 24
_RICHEST = 1e200


def capital(losses: Numbers, mean: float) -> Numbers:
    """Returns what a gambler who began with 1 has after each row, betting that the mean loss is above `mean`.

    Each stake grows by 1 + λ (loss - mean) a row, averaged over constant bets λ. Where a row's loss, given
    those before, has a mean of at most `mean`, that is a supermartingale: the chance that it ever reaches
    1 / α is at most α (Ville's inequality), however often one looks (Waudby-Smith and Ramdas, Estimating
    Means of Bounded Random Variables by Betting, 2024, section 4; Howard, Ramdas, McAuliffe and Sekhon,
    Time-uniform, Nonparametric, Nonasymptotic Confidence Sequences, 2021). Of the 1 a share of 1 / j (j + 1)
    is first staked on row j, so that a long good time does not use all of it up before a bad one begins.

    Args:
        losses: In the order in which they became known, each from 0 to 1.
        mean: The promised mean loss.
    """
    import numpy as np

    bets = _bets(mean)
    staked, found = np.zeros(_BETS), np.empty(len(losses))
    for place, loss in enumerate(losses.tolist(), start=1):
        staked = np.minimum((staked + 1 / (place * (place + 1))) * (1 + bets * (loss - mean)), _RICHEST)
        found[place - 1] = staked.mean() + 1 / (place + 1)
    return found


def upper_bound(losses: Numbers, level: float) -> float:
    """Returns a mean loss that the true one is above with a chance of at most `level`.

    The smallest mean at which a gambler who bets on less gets rich on these rows, in whatever order.

    Args:
        losses: Each from 0 to 1, at least one.
        level: Such as .005.
    """
    low, high = float(losses.mean()), 1.0
    for _ in range(40):
        middle = (low + high) / 2
        rich = 1 - middle > 1e-9 and _at_once(1 - losses, 1 - middle) >= 1 / level
        low, high = (low, middle) if rich else (middle, high)
    return high


def _at_once(losses: Numbers, mean: float) -> float:
    """The capital after all rows, staked from the first on."""
    import numpy as np
    from scipy.special import logsumexp

    won = np.log1p(_bets(mean)[:, np.newaxis] * (losses - mean)).sum(axis=1)
    return float(np.exp(min(float(logsumexp(won)) - math.log(_BETS), 700.0)))


def _bets(mean: float) -> Numbers:
    """No bet may lose more than all there is: λ is below 1 / mean."""
    import numpy as np

    return np.geomspace(0.01, 0.98, _BETS) / max(mean, 1e-9)
