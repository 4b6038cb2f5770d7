"""Text for eyes: nothing foreign is obeyed, widths are right, figures are for people."""

from __future__ import annotations

import json

import pytest

from wfctl.renderers.text import LOOKS, char_width, clip, duration, json_text, pad, paint, plural, safe, size, width_of


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("plain [/bin/sh] [link=x] C:\\new", "plain [/bin/sh] [link=x] C:\\new"),
        ("naïve 列 🎉 e\u0301", "naïve 列 🎉 e\u0301"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("abc\u202edcba\u2066", "abc\\u202edcba\\u2066"),
        ("zero\u200bwidth\u200d\ufeff", "zero\\u200bwidth\\u200d\\ufeff"),
        ("two\u2028lines\u2029\x85", "two\\u2028lines\\u2029\\x85"),
        ("tag\U000e0041", "tag\\U000e0041"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\xe9"),
        ("lone \ud800", "lone \\ud800"),
    ],
)
def test_foreign_text_is_shown_whole_and_harmless(foreign: str, shown: str) -> None:
    assert safe(foreign) == shown


def test_lines_may_keep_newlines_and_tabs() -> None:
    assert safe("a\tb\r\n\x1b[2J", lines=True) == "a\tb\\r\n\\x1b[2J"


def test_without_unicode_all_becomes_ascii() -> None:
    assert safe("é列🎉\n", unicode=False) == "\\xe9\\u5217\\U0001f389\\n"
    assert safe("é\n", unicode=False, lines=True) == "\\xe9\n"


def test_every_character_that_stays_can_be_encoded_and_printed() -> None:
    text = safe("".join(map(chr, range(0x20000))))
    text.encode()
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text)


def test_json_is_printable_ascii_and_says_the_same() -> None:
    data = {"".join(map(chr, range(0x300))): ["\u202e\ud800\x7f", 1.5, None]}
    text = json_text(data)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == data


def test_json_holds_no_command_of_a_ci_service() -> None:
    data = {"a##[error]b": ["##[add-mask]x", "\\##["]}
    assert "##[" not in json_text(data)
    assert json.loads(json_text(data)) == data


def test_width_counts_columns() -> None:
    assert width_of("abc") == 3
    assert width_of("列表") == 4
    assert width_of("e\u0301") == 1
    assert width_of("⚠️") == 2, "a picture, by the sign behind it"
    assert width_of("\U0001faff") == 2, "a picture of a later Unicode"


def test_clip_says_that_something_was_cut_off() -> None:
    assert clip("extract", 7) == "extract"
    assert clip("extract", 5) == "extr…"
    assert clip("extract", 5, unicode=False) == "extr~"
    assert clip("列表列表", 5) == "列表…"
    assert clip("列表列表", 4) == "列…"
    assert clip("extract", 0) == ""


def test_what_is_cut_off_in_the_middle_keeps_both_ends() -> None:
    assert clip("align_sample_17", 15, middle=True) == "align_sample_17"
    assert clip("align_sample_17", 8, middle=True) == "alig…_17"
    assert clip("align_sample_17", 2, middle=True) == "a…"
    assert clip("列表列表", 6, middle=True) == "列…表"
    assert clip("abcde\u0301", 3, middle=True) == "a…e\u0301"
    assert clip("abcdef\u0301g", 3, middle=True) == "a…g"
    for columns in range(1, 9):
        assert width_of(clip("a列\u0301b表c列", columns, middle=True)) <= columns


def test_pad_fills_to_a_width() -> None:
    assert pad("列", 4) + "|" == "列  |"
    assert pad("ab", 4, right=True) == "  ab"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"), (0.0042, "4ms"), (0.00999, "0.01s"), (0.42, "0.42s"), (0.999, "1.0s"), (5.12, "5.1s"),
        (9.96, "10s"), (59.4, "59s"), (59.6, "1m 00s"), (65, "1m 05s"), (3599.7, "1h 00m"), (7380, "2h 03m"),
        (86400 * 3 + 3600 * 4, "3d 04h"), (-5, "-5.0s"),
    ],
)  # fmt: skip
def test_durations_are_for_people(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536 * 1024**2, "1.5 GiB"), (1024**2 - 1, "1 MiB"),
     (5000 * 1024**5, "5000 PiB")],
)  # fmt: skip
def test_sizes_are_for_people(amount: int, shown: str) -> None:
    assert size(amount) == shown


def test_plurals() -> None:
    assert [plural(1, "node"), plural(0, "node"), plural(12000, "node")] == ["1 node", "0 nodes", "12,000 nodes"]
    assert plural(2, "retry", "retries") == "2 retries"


def test_paint_does_nothing_without_colour() -> None:
    assert paint("ok", "green", False) == "ok"
    assert paint("ok", "green", True) == "\x1b[32mok\x1b[0m"


def test_every_state_has_a_mark_of_one_column_in_both_alphabets() -> None:
    assert all(char_width(look.mark) == 1 and len(look.mark) == 1 for look in LOOKS.values())
    assert all(look.ascii.isascii() and len(look.ascii) == 1 for look in LOOKS.values())


def test_states_of_a_node_can_be_told_apart_without_colour() -> None:
    nodes = ("waiting ready running retrying waiting_input interrupted succeeded cached failed timed_out skipped "
             "cancelled undoing undone undo_failed").split()  # fmt: skip
    assert len({LOOKS[state].mark for state in nodes}) == len({LOOKS[state].ascii for state in nodes}) == len(nodes)
