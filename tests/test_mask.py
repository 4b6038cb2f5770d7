"""Secrets in bytes: every way to spell one is found, wherever it stands, and nothing else is touched."""

from __future__ import annotations

import base64
import html
import json
import os
import shlex
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wfctl import mask
from wfctl.mask import Mask, Veil

AWKWARD = "p@ss w0rd/é+\"it's\\x&<\t%\U0001f600"


def wrapped(text: bytes, width: int = 76, end: bytes = b"\n") -> bytes:
    return end.join(text[i : i + width] for i in range(0, len(text), width))


def spellings(value: str) -> dict[str, bytes]:
    """What programs make of a value when they print it."""
    content = value.encode()
    encoded = base64.b64encode(b"user:" + content + b"\n")
    return {
        "plain": content,
        "base64": base64.b64encode(content),
        "base64 for URLs": base64.urlsafe_b64encode(content).rstrip(b"="),
        "base64 behind one byte": base64.b64encode(b"x" + content),
        "base64 behind two bytes, and before others": base64.b64encode(b"ab" + content + b"tail"),
        "base64 for URLs, behind one byte": base64.urlsafe_b64encode(b":" + content + b"\n"),
        "base64 in lines": wrapped(encoded, 16),
        "base64 in lines of a PC": wrapped(encoded, 20, b"\r\n"),
        "base64 in a URL": quote_plus(base64.b64encode(content)).encode(),
        "hex": content.hex().encode(),
        "hex in capitals": content.hex().upper().encode(),
        "hex in lines": wrapped(content.hex().encode(), 10),
        "URL": quote(value).encode(),
        "URL, all signs": quote(value, safe="").encode(),
        "URL in small letters": quote(value, safe="").lower().encode() if value.islower() else quote(value).encode(),
        "form": quote_plus(value).encode(),
        "as a browser does it": quote(value, safe="!'()*~").encode(),
        "JSON": json.dumps(value).encode(),
        "JSON with its letters": json.dumps(value, ensure_ascii=False).encode(),
        "JSON in JSON": json.dumps(json.dumps(value)).encode(),
        "shell": shlex.quote(value).encode(),
        "Python": repr(value).encode(),
        "bytes of Python": repr(content).encode(),
        "HTML": html.escape(value).encode(),
    }


@pytest.mark.parametrize("value", ["hunter2hunter", AWKWARD, "1234", "-----\nline one\nline two!\n"])
@pytest.mark.parametrize("spelling", list(spellings("x")))
def test_a_secret_is_hidden_however_it_is_spelt(value: str, spelling: str) -> None:
    form = spellings(value)[spelling]
    hidden = Mask({"A": value}).hide(b"before " + form + b" after")
    assert len(hidden) == len(form) + 13
    assert (hidden[:7], hidden[-6:]) == (b"before ", b" after")
    # At the ends of base64 stand digits and padding that hold less than a sign of it.
    shown = hidden[7:-6].translate(None, b"*\r\n")
    assert len(shown) <= 12
    assert value.encode() not in hidden


def test_each_line_of_a_secret_of_many_is_one_too() -> None:
    key = "-----BEGIN KEY-----\nMIIBVgIBADANBg\nkqhkiG9w0BAQ\n--\n"
    hidden = Mask({"KEY": key}).hide(b"1: MIIBVgIBADANBg\n2: kqhkiG9w0BAQ\n3: --\n")
    assert hidden == b"1: **************\n2: ************\n3: --\n"


def test_line_breaks_within_a_secret_stay() -> None:
    assert Mask({"A": "first line\nsecond"}).hide(b"first line\r\nsecond") == b"**********\r\n******"


@pytest.mark.parametrize("value", ["hunter2hunter ", " hunter2hunter", "\thunter2hunter\r", "hunter2hunter\n"])
@pytest.mark.parametrize("text", [b"hunter2hunter", b"token: hunter2hunter.", base64.b64encode(b"hunter2hunter")])
def test_blanks_around_a_secret_are_not_waited_for(value: str, text: bytes) -> None:
    """A shell drops them (`echo $TOKEN`), and so does who reads a line."""
    assert Mask({"A": value}).names_in(text) == {"A"}


def test_blanks_within_a_secret_may_become_one() -> None:
    assert Mask({"A": "hunter2  \t hunter"}).hide(b"echo hunter2 hunter") == b"echo **************"


def test_secrets_that_overlap_are_hidden_whole() -> None:
    assert Mask({"A": "abcdef", "B": "defghi"}).hide(b"-abcdefghi-") == b"-*********-"


def test_the_names_of_what_was_found_are_told() -> None:
    found = Mask({"A": "hunter2hunter", "B": "swordfish"}).names_in(b"sword swordfish \n" + b"hunter".hex().encode())
    assert found == {"B"}


def test_a_pattern_of_many_backslashes_is_found_in_no_time() -> None:
    assert Mask({"A": "\\" * 40 + "x"}).hide(b"\\" * 5000 + b"y") == b"\\" * 5000 + b"y"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\\&" * 12 + "X", b"X " + (b"\\" * 8 + b"&") * 12 + b"Y"),
        ("\\\n" * 12 + "X", b"X " + (b"\\" * 8 + b"n") * 12 + b"Y"),
        ("abcd" + "'" * 60 + "X", b"X abcd" + b"'\\''" * 80 + b"Y"),
    ],
    ids=["signs", "line breaks", "quotes"],
)
def test_what_is_nearly_a_secret_in_many_ways_is_looked_at_in_no_time(value: str, text: bytes) -> None:
    began = time.process_time()
    assert Mask({"A": value}).hide(text) == text
    assert time.process_time() - began < 5  # in any other way it takes longer than anybody waits


# -- properties

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0*"), min_size=mask.SHORTEST, max_size=40)
FORMS = list(spellings("x"))


@given(TEXTS, st.lists(st.tuples(st.binary(max_size=30), st.sampled_from(FORMS)), max_size=6), st.binary(max_size=30))
def test_whatever_stands_around_it_no_form_is_left_and_the_rest_is_as_it_was(
    value: str, parts: list[tuple[bytes, str]], tail: bytes
) -> None:
    assume(len(value.strip()) >= mask.SHORTEST)
    forms = spellings(value)
    veil = Mask({"A": value})
    text = b"".join(before + forms[form] for before, form in parts) + tail
    hidden = veil.hide(text)
    assert len(hidden) == len(text)
    assert not veil.spans(hidden)
    assert not [name for name, form in forms.items() if form in hidden]
    assert all(new in (old, 0x2A) for old, new in zip(text, hidden, strict=True))
    places = {place for span in veil.spans(text) for place in range(span.start, span.end)}
    assert all(new == old for place, (old, new) in enumerate(zip(text, hidden, strict=True)) if place not in places)


@given(TEXTS, st.binary(max_size=300), st.sampled_from(FORMS), st.integers(1, 40))
def test_in_pieces_it_is_hidden_as_in_one(value: str, around: bytes, form: str, size: int) -> None:
    assume(len(value.strip()) >= mask.SHORTEST)
    text = around + spellings(value)[form] + around
    veil = Veil(Mask({"A": value}))
    pieces = [veil.feed(text[i : i + size]) for i in range(0, len(text), size)]
    shown = b"".join(pieces) + veil.rest()
    assert len(shown) == len(text)
    assert value.encode() not in shown
    assert not Mask({"A": value}).spans(shown)


# -- files


@pytest.mark.parametrize("shift", [-28, -27, -14, -1, 0])
def test_a_file_is_scrubbed_where_two_blocks_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: int) -> None:
    monkeypatch.setattr(mask, "_BLOCK", 1000)
    secret = "the quick brown fox"
    form = base64.b64encode(secret.encode())
    log = tmp_path / "log"
    log.write_bytes(b"." * (1000 + shift) + form + b"\n" + b"." * 3000 + secret.encode())
    before = log.stat()
    assert Mask({"A": secret}).scrub(str(log)) == {"A"}
    content = log.read_bytes()
    assert len(content) == before.st_size
    assert log.stat().st_ino == before.st_ino
    assert not Mask({"A": secret}).spans(content)
    assert content.startswith(b"." * (1000 + shift) + b"*")
    assert content.endswith(b"." * 3000 + b"*" * len(secret))


def test_a_file_without_secrets_is_not_written(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"nothing here")
    log.chmod(0o600)
    before = log.stat().st_mtime_ns
    assert Mask({"A": "hunter2"}).scrub(str(log)) == set()
    assert log.stat().st_mtime_ns == before


def test_what_is_no_file_of_its_own_is_passed_over(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("hunter2")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe", "missing"):
        assert Mask({"A": "hunter2"}).scrub(str(tmp_path / name)) == set()
    assert target.read_text() == "hunter2"
