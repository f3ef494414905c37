"""JSON and YAML from outside: plain values, bounded in depth and size, and each fault said in one sentence."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from efface.documents import (
    MOST_DEPTH,
    Absent,
    csv_text,
    parse_json,
    parse_yaml,
    read_bytes,
    read_json,
    read_object,
    read_yaml,
    yaml_text,
)
from efface.errors import InputError


def refusal(reader, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        reader(*arguments)
    assert len(caught.value.problems) == 1
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "it is not JSON (Expecting property name enclosed in double quotes, line 1, column 2)"),
        ("[" * 100_000, "lists and sections within each other"),
        ("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), "lists and sections within each other"),
        ('{"a": 1, "b": {"x": 1, "x": 2}}', "it has 'x' twice in one place"),
        ("9" * 5000, "one of more than 64 bits"),
        ("[18446744073709551616]", "one of more than 64 bits"),
        ('{"a": NaN}', "it holds NaN"),
        ('{"a": ["b\\u0000"]}', "it holds a null character"),
        (b'"\xff"', "it is not UTF-8 text"),
        ('{"' + "k" * 10_000 + '": 1, "' + "k" * 10_000 + '": 1}', "twice in one place"),
    ],
)
def test_json_that_no_later_step_could_take_is_refused(text: str | bytes, said: str) -> None:
    message = refusal(parse_json, text, "x.json line 3")
    assert message.startswith("x.json line 3 cannot be read: ")
    assert said in message


def test_json_is_read_as_it_is() -> None:
    text = '{"a": [1, 2.5, true, null, "é\\ud800"], "b": {"c": -Infinity}}'
    assert parse_json(text, "x") == {"a": [1, 2.5, True, None, "é\ud800"], "b": {"c": -float("inf")}}
    assert parse_json(b"\xef\xbb\xbf[]", "x") == []
    deepest = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert parse_json(deepest, "x") == parse_yaml(deepest, "x")


BOMB = "x0: &a [x, x]\n" + "".join(
    f"x{i + 1}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "line 1 has a reference (& or *)"),
        ("a: 1\nb: *a\n", "line 2 has a reference (& or *)"),
        ("a: !!python/object/apply:os.system [ls]", "line 1 has a tag"),
        ("a: !!bool x", "line 1 has a tag"),
        ("[" * 3000, "lists and sections within each other"),
        ("a: [" * 3000, "lists and sections within each other"),
        ("seed: " + "9" * 5000, "one of more than 64 bits"),
        ("seed: 0x_", "one of more than 64 bits"),
        ("seed: .nan", "holds a number that is none"),
        ('retrained: "a\\0"', "it holds a null character"),
        ("a: {x: 1, y: 2, x: 3}", "'x' stands twice in one place, again on line 1"),
        ("1: a", "the key '1' on line 1 is no text"),
        ("? [a, b]\n: 1", "the key on line 1 is no text"),
        ("a: [1\n", "did not find expected"),
        ("a: \x1b[2J", "control characters"),
        (b"a: \xff", "it is not UTF-8 text"),
    ],
)
def test_yaml_that_is_more_than_plain_values_is_refused(text: str | bytes, said: str) -> None:
    message = refusal(parse_yaml, text, "c.yaml")
    assert message.startswith("c.yaml is not valid YAML: ")
    assert said in message
    assert message.isprintable()


def test_what_is_written_as_yaml_is_read_again() -> None:
    same = {"a": [1, 2.5, None, True, "2026-11-03", "yes", "é"]}
    values = {"x": same, "y": same, "z": [same, same]}
    assert parse_yaml(yaml_text(values), "x") == values


def test_a_date_in_yaml_stays_a_text() -> None:
    assert parse_yaml("a: 2026-11-03\nb: 2024-13-45\nc: 0x10", "x") == {
        "a": "2026-11-03",
        "b": "2024-13-45",
        "c": 16,
    }


@pytest.mark.parametrize("reader", [read_json, read_object, read_yaml])
def test_only_a_file_of_bounded_size_is_read(reader, tmp_path: Path) -> None:
    assert "Is a directory" in refusal(reader, tmp_path)
    assert "a pipe or a device" in refusal(reader, "/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    began = time.monotonic()
    assert "a pipe or a device" in refusal(reader, tmp_path / "pipe")
    assert time.monotonic() - began < 5
    with open(tmp_path / "large", "wb") as file:
        file.truncate(65 << 20)
    assert "it is larger than" in refusal(reader, tmp_path / "large")
    assert "File name too long" in refusal(reader, tmp_path / ("x" * 300))
    assert "null byte" in refusal(reader, "a\0b")
    with pytest.raises(Absent, match="No such file"):
        reader(tmp_path / "absent")


def test_a_name_with_an_escape_in_it_is_shown_without(tmp_path: Path) -> None:
    assert "\x1b" not in refusal(read_json, tmp_path / "\x1b[2J.json")
    assert read_bytes(__file__, 1 << 20).startswith(b'"""JSON')


@pytest.mark.parametrize("text", ["[1]", "1", '"a"'])
def test_what_holds_no_keys_is_no_object(text: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(text)
    assert "must hold keys and values" in refusal(read_object, tmp_path / "a")
    assert "must hold keys and values" in refusal(read_yaml, tmp_path / "a")


def test_no_text_in_a_table_becomes_a_formula() -> None:
    rows = [["name", "value"], ["=cmd|'/c calc'!A0", -1.5], ["+1", "-0.5"], ["@x", None], ["\tx", "cat"]]
    assert csv_text(rows) == ("name,value\n'=cmd|'/c calc'!A0,-1.5\n'+1,'-0.5\n'@x,\n'\tx,cat\n")
