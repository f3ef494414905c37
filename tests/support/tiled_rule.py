"""The published rule in the plainest form: every threshold against every model, masks and means, no sorting.

It is what `efface.forgetting.official` must equal. Precision as published: float32 single thresholds and rates,
float64 intervals.
"""

from __future__ import annotations

import numpy as np
import torch

DELTA = 1e-5


def epsilon(unlearned: np.ndarray, retrained: np.ndarray) -> float:
    """Epsilon of one example `[N]`, `[N]` before the cap; NaN where no attack survives."""
    positive, negative = unlearned, retrained
    if np.median(retrained) > np.median(unlearned):
        positive, negative = retrained, unlearned
    spreads = [np.ptp(positive), np.ptp(negative)]
    with np.errstate(invalid="ignore"):
        if min(spreads) / max(spreads) < 0.01:
            return 50.0
    low, high = min(positive.min(), negative.min()), max(positive.max(), negative.max())
    count = int(np.ceil((high - low) * 100))
    thresholds = torch.linspace(torch.tensor(low), torch.tensor(high), count).double().numpy()[:, None]
    found = many_attacks(positive >= thresholds, negative >= thresholds)
    peaky, other = (positive, negative) if spreads[0] < spreads[1] else (negative, positive)
    width = np.ptp(peaky)
    first, last = peaky.min() + width - 2.0, peaky.max() + 2.0
    for right in np.linspace(first, last, int(np.ceil((last - first) * 100))):
        left = np.linspace(right - width - 2.0, right - width + 2.0, 400)[:, None]
        found += many_attacks((left <= peaky) & (peaky <= right), (left <= other) & (other <= right))
    return float(np.nanmax(found)) if not np.isnan(found).all() else float("nan")


def many_attacks(on_positive: np.ndarray, on_negative: np.ndarray) -> list[float]:
    """Epsilon of attacks `[attacks, N]` that say "positive" where true."""
    fnr = (~on_positive).astype(np.float32).mean(axis=1)
    fpr = on_negative.astype(np.float32).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = np.stack([np.log(1 - DELTA - fpr) - np.log(fnr), np.log(1 - DELTA - fnr) - np.log(fpr)])
    ways = np.fmax(*ways)
    value = np.where(np.isnan(ways), np.nan, np.clip(ways, 0, None))
    value = np.where((fpr == 0) | (fnr == 0), np.nan, value)
    return np.where((fpr == 0) & (fnr == 0), np.inf, value).tolist()
