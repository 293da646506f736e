"""Strict YAML: what could be read in two ways is refused, at its place, and nothing is ever constructed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidConfiguration, Problem
from gateway.files.mappings import ListOf, Shape, may, need
from gateway.files.nodes import Mapping, Node, Place, Reported, Scalar
from gateway.files.source import MAX_FILE_BYTES, parse_document, read_file
from gateway.files.values import Bool, Field, Int, Text, date_field, duration_field, is_text
from gateway.files.yaml_text import MAX_DEPTH


def faults(content: bytes | str) -> list[str]:
    """The problems of a document's form, as `line:column: message`."""
    raw = content if isinstance(content, bytes) else content.encode()
    try:
        _, problems = parse_document("f.yaml", raw)
    except InvalidConfiguration as exc:
        problems = list(exc.problems)
    return [str(problem).removeprefix("f.yaml:") for problem in problems]


REFUSED_FORMS: dict[str, tuple[bytes | str, str]] = {
    "duplicate key": ("max: 5\nmax: 5000\n", "2:1: duplicate key 'max': it stands in line 1 already"),
    "duplicate key, once in quotes": ('max: 5\n"max": 5000\n', "2:1: duplicate key 'max': it stands in line 1 already"),
    "anchor": ("a: &x 1\n", "1:4: an anchor is not allowed"),
    "alias": ("a: *x\n", "1:4: an alias is not allowed: write the value again"),
    "tag that runs code": (
        "a: !!python/object/apply:os.system [id]\n",
        "1:4: a tag is not allowed: types come from the field",
    ),
    "tag of a string": ("a: !!str 5\n", "1:4: a tag is not allowed: types come from the field"),
    "non-specific tag": ("a: ! 5\n", "1:4: a tag is not allowed: types come from the field"),
    "merge key": ("a: 1\n<<: {b: 2}\n", "2:1: a merge key is not allowed: write the members again"),
    "key that is a list": ("? [a]\n: 1\n", "1:3: a key is a single value, not a list"),
    "second document": ("a: 1\n---\nb: 2\n", "2:1: a second document: a file holds one"),
    "directive": ("%YAML 1.1\n---\na: 1\n", "1:1: a % directive is not allowed"),
    "empty file": ("", "1:1: the file is empty"),
    "comments only": ("# nothing\n", "1:1: the file is empty"),
    "empty document": ("---\n", "2:1: the document is empty"),
    "byte order mark": (b"\xef\xbb\xbfa: 1\n", "1:1: a byte order mark: save the file as plain UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "1:1: a byte order mark: save the file as plain UTF-8"),
    "not UTF-8": (b"a: 1\nb: \xff\n", "2:4: not UTF-8"),
    "NUL": ("a: 1\nb: \0\n", "2:4: the character U+0000 is not allowed: a reader would not see it"),
    "line end of YAML 1.1 only": ("a: 1 # x\u2028b: 2\n", "1:9: the character U+2028 is not allowed"),
    "text direction": ("a: 1 # \u202e\n", "1:8: the character U+202E is not allowed"),
    "lone carriage return": ("a: 1 # x\rb: 2\n", "1:9: the character U+000D is not allowed"),
    "too deep": ("[" * (MAX_DEPTH + 1), f"1:{MAX_DEPTH + 1}: nested deeper than {MAX_DEPTH}"),
    "far too deep": ("[" * 1_000_000, f"1:{MAX_DEPTH + 1}: nested deeper than {MAX_DEPTH}"),
    "not YAML": ("a: [1\n", "2:1: not YAML"),
}


@pytest.mark.parametrize("name", REFUSED_FORMS)
def test_a_form_with_two_readings_is_refused_at_its_place(name: str) -> None:
    """Every form that another YAML reader could take differently has a position and a sentence."""
    content, expected = REFUSED_FORMS[name]
    assert [fault[: len(expected)] for fault in faults(content)] == [expected]


def test_a_windows_line_end_is_a_line_end() -> None:
    """CRLF files load, so that an editor's habit is no outage."""
    node, problems = parse_document("f.yaml", b"a: b\r\nc: d\r\n")
    assert problems == []
    assert isinstance(node, Mapping)
    assert [key.text for key, _ in node.members] == ["a", "c"]


def test_all_problems_of_form_are_reported_at_once() -> None:
    """One run of `check` shows every fault, not the first."""
    assert [fault.split(":")[0] for fault in faults("a: &x 1\nb: *x\na: 2\nc: !t 3\n")] == ["1", "2", "4", "3"]


def test_a_file_over_the_bound_is_refused_unread(tmp_path: Path) -> None:
    """A file larger than 4 MiB is never parsed."""
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(InvalidConfiguration, match="larger than 4194304 bytes"):
        read_file(path)


def test_a_fifo_in_the_place_of_a_file_does_not_hold_up_the_start(tmp_path: Path) -> None:
    """Only regular files are read."""
    import os

    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InvalidConfiguration, match="not a regular file"):
        read_file(tmp_path / "pipe.yaml")


@given(st.text() | st.text(alphabet="[]{}:,-#&*!|>'\"%@`? \n\tab01\\xuU<=~"))
def test_reading_a_document_is_total(text: str) -> None:
    """Any text gives a document or InvalidConfiguration, never another error."""
    faults(text.encode("utf-8", "surrogatepass"))


@given(st.binary())
def test_reading_bytes_is_total(content: bytes) -> None:
    """Any bytes give a document or InvalidConfiguration, never another error."""
    faults(content)


def scalar(text: str, *, plain: bool = True) -> Scalar:
    return Scalar(Place("f", 1, 1), text, plain)


AMBIGUOUS = [
    *("yes", "no", "on", "off", "y", "N", "true", "False", "null", "~", "Null"),
    *("12", "-1", "+1", "0100", "0o17", "0x1F", "0b1", "1_000", "1:30", "12:30:45"),
    *("1e3", "1.5", ".5", "1.", ".inf", "-.INF", ".nan", "2026-01-01", "2026-01-01T00:00:00Z", "=", "<<"),
]


@pytest.mark.parametrize("text", [*AMBIGUOUS, ""])
def test_a_plain_scalar_that_is_text_for_some_readers_only_must_be_quoted(text: str) -> None:
    """`no`, `1:30` or `2026-01-01` are text in quotes only."""
    problems: list[Problem] = []
    assert Text(str).read(scalar(text), problems) is None
    assert "quote it" in problems[0].message
    assert not text or Text(str).read(scalar(text, plain=False), problems) == text


@pytest.mark.parametrize("text", ["nightly", "wfr_1", "10.0.0.1", "https://a.example/b", "24h", "2026-09", "v1.2.3"])
def test_ordinary_text_needs_no_quotes(text: str) -> None:
    """What every reader takes for a string may stand plain."""
    assert is_text(text)


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "\x1b[0m", "a\u202eb", "\ud800"])
def test_text_holds_no_controls(text: str) -> None:
    """An escape in a quoted string cannot bring in what the file itself may not hold."""
    problems: list[Problem] = []
    assert Text(str).read(scalar(text, plain=False), problems) is None
    assert problems


@pytest.mark.parametrize(
    "text", ["0100", "1e3", "1:30", "+1", "-1", "1_000", "0x1F", "\uff11\uff10", " 1", "", "1.0", "9" * 30]
)
def test_a_number_is_plain_decimal_digits(text: str) -> None:
    """What `int()` or YAML 1.1 would accept besides is refused."""
    problems: list[Problem] = []
    assert Int(0, 10**17).read(scalar(text), problems) is None
    assert len(problems) == 1


def test_a_number_in_quotes_is_text() -> None:
    """`"50"` is a string in every reader."""
    problems: list[Problem] = []
    assert Int(0, 100).read(scalar("50", plain=False), problems) is None
    assert problems[0].message == "expected a whole number, found text '50': leave the quotes out"


@given(st.integers(0, 10**6))
def test_every_number_in_range_is_read(number: int) -> None:
    """Reading is the inverse of writing."""
    assert Int(0, 10**6).read(scalar(str(number)), []) == number


@pytest.mark.parametrize("text", ["no", "off", "False", "TRUE", "0", "1", "yes", ""])
def test_a_boolean_is_true_or_false_and_nothing_else(text: str) -> None:
    """Words that only YAML 1.1 takes for booleans are refused."""
    problems: list[Problem] = []
    assert Bool().read(scalar(text), problems) is None
    assert len(problems) == 1


def test_a_boolean_in_quotes_is_refused() -> None:
    """The string `"false"` is true in many languages."""
    problems: list[Problem] = []
    assert Bool().read(scalar("false", plain=False), problems) is None
    assert problems[0].message == "expected true or false, found 'false' in quotes"


@pytest.mark.parametrize("text", ["2026-1-1", "2026-02-30", "20260101", "2026-01-01T00:00:00Z", "0000-01-01"])
def test_a_date_is_a_day_that_exists(text: str) -> None:
    """Only YYYY-MM-DD, and only days of the calendar."""
    problems: list[Problem] = []
    assert date_field().read(scalar(text), problems) is None
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("text", "expected_ms"), [("30s", 30_000), ("5m", 300_000), ("24h", 86_400_000), ("2d", 172_800_000)]
)
def test_a_duration_has_a_unit(text: str, expected_ms: int) -> None:
    """Durations are read to milliseconds."""
    assert duration_field().read(scalar(text), []) == expected_ms


@pytest.mark.parametrize("text", ["24", "0h", "024h", "1.5h", "24H", "24 h", "1h30m", "-1h", "24h\n"])
def test_a_duration_without_a_clear_reading_is_refused(text: str) -> None:
    """A number without unit could be seconds or hours."""
    problems: list[Problem] = []
    assert duration_field().read(scalar(text, plain=False), problems) is None
    assert len(problems) == 1


def test_what_was_reported_already_is_passed_over() -> None:
    """A refused part makes one problem, not two."""
    problems: list[Problem] = []
    refused: Node = Reported(Place("f", 1, 1))
    fields: list[Field[object]] = [Text(str), Int(0, 1), Bool(), ListOf(Bool()), Shape(dict, {})]
    for field in fields:
        assert field.read(refused, problems) is None
    assert problems == []


def test_a_shape_describes_what_it_reads() -> None:
    """The JSON Schema comes from the reader itself."""
    shape: Shape[dict] = Shape(dict, {"n": need(Int(1, 9)), "flags": may(ListOf(Bool()))})
    schema = shape.json_schema()
    assert schema["required"] == ["n"]
    assert schema["additionalProperties"] is False
    assert schema["properties"] == {
        "n": {"type": "integer", "minimum": 1, "maximum": 9},
        "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 10_000, "minItems": 1},
    }


def test_a_tab_between_key_and_value_is_refused_by_every_loader() -> None:
    """One takes it and another does not, so a policy would load on one machine and be refused on the next."""
    with pytest.raises(InvalidConfiguration) as refused:
        parse_document("p.yaml", b"teams:\t[x]\n")
    assert [str(problem)[:12] for problem in refused.value.problems] == ["p.yaml:1:7: "]
