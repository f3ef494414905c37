"""How numbers, shares, times, settings, lists and names are said, everywhere alike, to a reader who is no engineer."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

DECIDES = (0.0, 1.0)
"""Where most intervals decide: no difference, the same size, the best score."""
MORE_DECIMALS = 3
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def span(low: float, high: float) -> str:
    """From one number to another, or the one number.

    >>> span(0.92, 1.0), span(0.5, 0.5)
    ('0.92 to 1', '0.5')
    """
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def figure(value: float, digits: int = 4) -> str:
    """`value` with so many significant digits; powers of ten only for the very small and large.

    >>> figure(0.0767157), figure(11.51658), figure(-0.000024, 2), figure(3.2e-9, 2)
    ('0.07672', '11.52', '−0.000024', '3.2 × 10⁻⁹')
    """
    if value and not 1e-6 <= abs(value) < 1e7:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        text = f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)}"
    else:
        text = f"{value:.{decimals(value, digits)}f}"
    return text.replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """A difference, with its sign."""
    return ("+" if value > 0 else "") + figure(value, digits)


def interval(
    low: float | None,
    high: float | None,
    digits: int = 3,
    *,
    places: int | None = None,
    decides: Sequence[float] = DECIDES,
) -> str | None:
    """Both bounds with the decimals of the larger one, or `places` of them; None where there is no interval.

    A bound is never printed at or beyond a number of `decides` that it does not reach; where that would say little of
    either, there are more decimals.

    >>> interval(0.072509, 0.081474), interval(-0.0012, 0.013, 2), interval(0.841, 0.9999, places=2)
    ('0.0725 to 0.0815', '−0.001 to 0.013', '0.84 to < 1')
    >>> interval(0.9991, 1.0004, places=2)
    '0.999 to > 1'
    """
    if low is None or high is None:
        return None
    largest = max(abs(low), abs(high))
    if places is None and largest and not 1e-6 <= largest < 1e7:
        return f"{figure(low, digits)} to {figure(high, digits)}"
    places = decimals(largest, digits) if places is None else places
    for more in range(MORE_DECIMALS + 1):
        ends = [bound(end, places + more, decides) for end in (low, high)]
        if not all(end.startswith(("<", ">")) for end in ends):
            break
    return " to ".join(ends)


def with_interval(value: float, low: float | None, high: float | None, places: int) -> str:
    """A value, and its interval in brackets where it has one, with so many decimals.

    >>> with_interval(0.92, 0.841, 0.9999, 2), with_interval(-0.3, None, None, 2)
    ('0.92 (0.84 to < 1)', '−0.30')
    """
    ends = interval(low, high, places=places)
    return bound(value, places, ()) + (f" ({ends})" if ends else "")


def bound(value: float, places: int, decides: Sequence[float] = DECIDES) -> str:
    """An end of an interval with so many decimals, on the side of each number of `decides` that it is on.

    >>> bound(0.9999, 2), bound(-0.0001, 2), bound(1.0204, 2, [1.02]), bound(1.018, 2, [1.02]), bound(0.84, 2)
    ('< 1', '< 0', '> 1.02', '< 1.02', '0.84')
    """
    text = f"{value:.{places}f}"
    rounded = float(text)
    for number in decides:
        if value < number <= rounded:
            return f"< {number:g}".replace("-", "−")
        if value > number >= rounded:
            return f"> {number:g}".replace("-", "−")
    return (text if rounded else text.replace("-", "")).replace("-", "−")


def compared(value: float, reference: float) -> str:
    """How `value` stands to `reference`, to be followed by whose it is.

    >>> compared(2.5, 1), compared(1.003, 1), compared(0.4, 1), compared(1, 1)
    ('2.5 times', '0.30 % above', '0.40 times', 'the same as')
    """
    if value == reference:
        return "the same as"
    if reference <= 0 or value < 0:
        return f"{figure(value)} against {figure(reference)} of"
    ratio = value / reference
    if 0.9 < ratio < 1.1:
        return f"{_percent(ratio)} % {'above' if ratio > 1 else 'below'}"
    return "more than 1000 times" if ratio > 1000 else f"{_times(ratio)} times"


def ratio(value: float, reference: float) -> str:
    """The same in the fewest signs.

    >>> ratio(2.5, 1), ratio(1.003, 1), ratio(0.999, 1), ratio(1, 1)
    ('× 2.5', '+0.30 %', '−0.10 %', 'unchanged')
    """
    if value == reference:
        return "unchanged"
    if reference <= 0 or value < 0:
        return f"{signed(value - reference)}"
    share = value / reference
    if abs(share - 1) < 1e-4:
        return "under 0.01 %"
    if 0.9 < share < 1.1:
        return f"{'+' if share > 1 else '−'}{_percent(share)} %"
    return "× 1000 or more" if share > 1000 else f"× {_times(share)}"


def duration(seconds: float) -> str:
    """
    >>> duration(5.94), duration(105), duration(7260)
    ('5.9 s', '1 min 45 s', '2 h 1 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(text: str | None) -> str:
    """An ISO time or date in words, UTC where it says so; other text as it is.

    >>> moment("2026-11-21T09:59:16+00:00"), moment("2026-11-03")
    ('21 November 2026, 09:59 UTC', '3 November 2026')
    """
    if not text:
        return "not stated"
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    day = f"{when.day} {MONTHS[when.month - 1]} {when.year}"
    if len(text) <= len("2026-11-03"):
        return day
    zone = {"UTC": " UTC", "UTC+00:00": " UTC"}.get(
        when.tzname() or "", f" {when.tzname()}" if when.tzname() else ""
    )
    return f"{day}, {when:%H:%M}{zone}"


def setting(value: Any) -> str:
    """A setting's value in words."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{name_of(key)} {setting(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(setting(inner) for inner in value) or "none"
    return str(value)


def name_of(key: object) -> str:
    """A key of the record as words."""
    return str(key).replace("_", " ")


def counted(count: int, singular: str, plural: str = "") -> str:
    """
    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1200 images')
    """
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def magnitude(count: float) -> str:
    """A large count in three digits.

    >>> magnitude(812), magnitude(1612), magnitude(86_567_656)
    ('812', '1.61 thousand', '86.6 million')
    """
    for unit, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if count >= unit:
            return f"{count / unit:.3g} {word}"
    return f"{count:g}"


def sentence(text: str) -> str:
    """
    >>> sentence("the model may be untrained"), sentence("Is it?")
    ('The model may be untrained.', 'Is it?')
    """
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def several(names: Sequence[str], most: int = 5) -> str:
    """The first of `names`, each made printable, and how many more there are.

    >>> several(["a", "b"]), several(["a", "b", "c", "d"], 2)
    ('a, b', 'a, b and 2 more')
    """
    rest = len(names) - most
    return ", ".join(printable(name) for name in names[:most]) + (f" and {rest} more" if rest > 0 else "")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """ "; did you mean 'cats'?" or nothing."""
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean '{printable(near[0])}'?" if near else ""


def printable(text: str) -> str:
    r"""`text` on one line that any terminal and any UTF-8 file can take.

    >>> printable("a\nb\udcff<b>")
    'a\\nb\\udcff<b>'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_lines(text: str) -> str:
    r"""`text` of several lines, each of them `printable`: nothing in it can steer a terminal.

    >>> printable_lines("one\n\x1b[2Jtwo\n")
    'one\n\\x1b[2Jtwo\n'
    """
    return "\n".join(printable(line) for line in text.split("\n"))


def shortened(value: object, most: int = 80) -> str:
    """A value from outside as Python writes it, printable, cut where it is long.

    >>> shortened("fine"), shortened([1] * 100, 9)
    ("'fine'", '[1, 1, 1,...')
    """
    text = printable(repr(value))
    return text if len(text) <= most else text[:most] + "..."


def decimals(value: float, digits: int) -> int:
    """Decimals that show `digits` significant digits of `value`."""
    return max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0


MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip


def _percent(share: float) -> str:
    percent = abs(share - 1) * 100
    return "less than 0.01" if percent < 0.01 else figure(percent, 2)


def _times(share: float) -> str:
    return f"{share:.0f}" if share >= 10 else f"{share:.1f}" if share >= 1 else figure(share, 2)
