"""Inputs that went wrong: bytes after a few edits, and trees of JSON with a value that nobody expected."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

NASTY = (
    b"\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x1b[2J\x1b]0;x\x07", b"\xef\xbb\xbf", b"\xff\xfe", b"\r",
    b"\n", b"\t", b";", b",", b'"', b"'", b"#", b"*", b"..", b"/", b"\\", b"~", b"%00", b"[[[[", b"{", b"&a [*a, *a]",
    b"!!python/object/apply:os.system [x]", b"<<: *x", b"1e999", b"NaN", b"-1", b"9" * 400, "\u202egnp.exe".encode(),
)  # fmt: skip
ODD_TEXTS = (
    "",
    " ",
    "\x00",
    "\x1b[31m",
    "../../etc/passwd",
    "/dev/zero",
    "a" * 5000,
    "\ud800",
    "NaN",
    "-1",
    "1e400",
)
ODD_NUMBERS = (
    0,
    -1,
    1,
    2,
    1 << 31,
    1 << 63,
    1 << 70,
    10**30,
    0.0,
    -0.0,
    1e308,
    1e-308,
    float("inf"),
    float("nan"),
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(ODD_NUMBERS),
    st.integers(-1000, 100_000),
    st.floats(),
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=12),
    st.lists(st.integers(-3, 3) | st.text(max_size=3), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(-3, 3), max_size=3),
)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` after one to four edits: bytes set, put in, taken out or repeated, and the end cut off."""
    content = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        # a header decides more than a pixel does
        place = draw(st.integers(0, min(len(content), 64)) | st.integers(0, len(content)))
        length = draw(st.integers(1, 16) | st.integers(1, 4096))
        edit = draw(st.sampled_from(("set", "put in", "take out", "repeat", "cut", "nasty")))
        if edit == "set":
            new = draw(st.binary(min_size=1, max_size=4))
            content[place : place + len(new)] = new
        elif edit == "put in":
            content[place:place] = draw(st.binary(max_size=16))
        elif edit == "nasty":
            content[place:place] = draw(st.sampled_from(NASTY))
        elif edit == "take out":
            del content[place : place + length]
        elif edit == "repeat":
            content[place:place] = content[place : place + length] * 3
        else:
            del content[place:]
    return bytes(content)


@st.composite
def altered(draw: st.DrawFn, tree: Any) -> Any:
    """A JSON value with one to three of its entries replaced, left out or added to."""
    changed = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(changed))
        if not places:
            return draw(ODD)
        holder, key = draw(st.sampled_from(places))
        edit = draw(st.sampled_from(("replace", "replace", "leave out", "add", "nest")))
        if edit == "replace":
            holder[key] = draw(ODD)
        elif edit == "leave out":
            del holder[key]
        elif edit == "nest":
            for _ in range(draw(st.sampled_from((1, 2, 100)))):
                holder[key] = [holder[key]] if draw(st.booleans()) else {"a": holder[key]}
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = draw(ODD)
        else:
            holder.append(draw(ODD))
    return changed


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Each entry of a tree: what holds it, and under which key."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield tree, key
        yield from _places(value)
