"""Finds secret values in bytes, however they are spelt there, and puts stars in their place.

Knows nothing of where values come from, nor whose text it is."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import NamedTuple

SHORTEST = 4
"""Characters of a secret at least: to hide a shorter one would hide much that is none."""

_BLOCK = 1024 * 1024
_BREAKS = re.compile(rb"[\r\n]")
_ORDINARY = re.compile(rb"[A-Za-z0-9]+")
_KEPT = re.compile(rb"[^\r\n]")
# Backslashes together, with the sign that they may be taken to escape: one by one, a pattern would try every sum.
_SIGNS = re.compile(r"\\+[^\\A-Za-z0-9]?|[ \t]{2,}|[^\\]", re.DOTALL)

_LETTERS = dict(zip("\a\b\t\n\v\f\r\x1b", ("a", "b", "t", "n", "v", "f", "r", "[eE]"), strict=True))
_ENTITIES = {'"': "&quot;", "&": "&amp;", "<": "&lt;", ">": "&gt;"}
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class Span(NamedTuple):
    """Where the secret of that name stands in a text, in bytes."""

    name: str
    start: int
    end: int


class _Form:
    """One way to spell a value. `wrapped`: line breaks may stand anywhere in it, as `base64` makes them."""

    def __init__(self, name: str, pattern: bytes, sample: bytes, longest: int, *, wrapped: bool = False) -> None:
        self.name = name
        self.wrapped = wrapped
        self.longest = 2 * longest if wrapped else longest
        # Every match holds it, and to look for plain bytes costs a tenth of what a pattern does.
        self.anchor = max(_ORDINARY.findall(sample), key=len, default=b"")
        self._pattern = pattern
        self._compiled: re.Pattern[bytes] | None = None

    def spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        if self.anchor in text:
            if self._compiled is None:
                self._compiled = re.compile(self._pattern)
            for found in self._compiled.finditer(text):
                yield found.span()


class Mask:
    """Hides some secrets, given by name.

    Found are the value itself, as shells, JSON, URLs, HTML and programs escape it; base64 of it or of a longer text
    that it stands in, both alphabets, wrapped or not; hexadecimal; and each line of a value of several.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._forms = [form for name, value in values.items() for form in _forms(name, value)]
        self.reach = max((form.longest for form in self._forms), default=1)
        """Bytes that the longest form can take: so much must be seen at once to find it."""

    def spans(self, text: bytes) -> list[Span]:
        """Every place of a secret in the text. They may overlap."""
        flat = text.translate(None, b"\r\n")
        found = []
        breaks: list[int] | None = None
        for form in self._forms:
            for start, end in form.spans(flat if form.wrapped else text):
                if form.wrapped and len(flat) < len(text):
                    if breaks is None:
                        breaks = [place.start() - i for i, place in enumerate(_BREAKS.finditer(text))]
                    start, end = _with_breaks(start, breaks), _with_breaks(end - 1, breaks) + 1
                found.append(Span(form.name, start, end))
        return found

    def hide(self, text: bytes) -> bytes:
        """The text of the same length, with stars for every byte of a secret but line breaks."""
        spans = self.spans(text)
        if not spans:
            return text
        hidden = bytearray(text)
        for _, start, end in spans:
            hidden[start:end] = _stars(text[start:end])
        return bytes(hidden)

    def names_in(self, text: bytes) -> set[str]:
        """The names of the secrets in a text."""
        return {span.name for span in self.spans(text)}

    def scrub(self, path: str) -> set[str]:
        """Hide the secrets in a file, in its place and for good; the names of those that it held.

        What is no file of its own (it is not there, is a symlink, a pipe) is passed over. Raises OSError.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            if not stat.S_ISREG(_mode(path)):
                return set()
            raise
        try:
            return self._scrub(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else set()
        finally:
            os.close(fd)

    def _scrub(self, fd: int) -> set[str]:
        names: set[str] = set()
        seen = b""  # the end of what was looked at: a secret may go on in the next block
        place = 0
        while block := os.pread(fd, _BLOCK, place):
            text = seen + block
            before = place - len(seen)
            for name, start, end in self.spans(text):
                os.pwrite(fd, _stars(text[start:end]), before + start)
                names.add(name)
            seen = text[-self.reach :]
            place += len(block)
        if names:
            os.fdatasync(fd)
        return names


class Veil:
    """Hides secrets in a text that comes piece by piece: the end of it is held back, for a secret may begin there."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self.held = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be shown once this piece has come."""
        text = self._mask.hide(self.held + piece)
        self.held = text[-self._mask.reach :]
        return text[: len(text) - len(self.held)]

    def rest(self) -> bytes:
        """What was held back, when nothing more comes."""
        held, self.held = self.held, b""
        return held


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def _stars(text: bytes) -> bytes:
    return _KEPT.sub(b"*", text)


def _with_breaks(place: int, breaks: list[int]) -> int:
    """The place in a text of one in the same text without its line breaks, which lay at these places of the latter."""
    from bisect import bisect_right

    return place + bisect_right(breaks, place)


# -- forms


def _forms(name: str, value: str) -> Iterator[_Form]:
    value = value.strip()  # `echo $TOKEN` does it too
    yield _spelt(name, value)
    lines = {line.strip() for line in value.split("\n")} if "\n" in value else set()
    for line in sorted(lines):
        if len(line) >= SHORTEST:
            yield _spelt(name, line)
    content = _bytes(value)
    for digits in {content.hex().encode(), content.hex().upper().encode()}:
        yield _Form(name, digits, digits, len(digits), wrapped=True)
    for shift in range(3):
        yield _base64(name, content, shift)


def _spelt(name: str, text: str) -> _Form:
    """The text itself, each sign of it plain or escaped."""
    plain = _bytes(text)
    pattern = re.escape(plain) + b"|" + b"".join(map(_spellings, _SIGNS.findall(text)))
    longest = sum(1 if _is_ordinary(sign) else 48 for sign in text)
    return _Form(name, pattern, plain, longest)


def _is_ordinary(sign: str) -> bool:
    return sign.isascii() and sign.isalnum()


def _spellings(sign: str) -> bytes:
    """A pattern of all ways to write one sign, or a run of blanks, or of backslashes with what follows.

    Letters and digits are never escaped. Where two ways could part the same bytes otherwise, the longer one is taken
    and stays: to try all of them takes for ever.
    """
    if _is_ordinary(sign):
        return sign.encode()
    if after := sign.lstrip("\\"):
        if len(after) < len(sign):
            return b"(?>" + _spellings(sign[: -len(after)]) + _spellings(after) + b")"
        if len(sign) > 1:  # a shell makes one of many blanks
            return b"(?:" + b"".join(map(_spellings, sign)) + rb"|[ \t])"
    else:
        return rb"(?:\\{%d,%d}|(?i:%%5c){%d}|(?i:\\{1,8}x5c){%d})" % (len(sign), 8 * len(sign), len(sign), len(sign))
    plain = _bytes(sign)
    units = sign.encode("utf-16-be", "surrogatepass")
    ways = [
        b"".join(b"(?i:%%%02x)" % byte for byte in plain),
        b"".join(rb"\\{1,8}(?i:x%02x)" % byte for byte in plain),
        b"".join(rb"\\{1,8}0?%03o" % byte for byte in plain),
        b"".join(rb"\\{1,8}(?i:u%s)" % units[i : i + 2].hex().encode() for i in range(0, len(units), 2)),
        rb"\\{1,8}(?i:x%02x|u%08x)" % (ord(sign), ord(sign)),
        b"(?i:&#(?:0{0,6}%d|x0{0,6}%x);)" % (ord(sign), ord(sign)),
    ]
    if sign in _LETTERS:
        ways.append(rb"\\{1,8}" + _LETTERS[sign].encode())
    if sign in _ENTITIES:
        ways.append(_ENTITIES[sign].encode())
    if sign == "\n":
        ways += [rb"\r\n", rb"\\{1,8}r\\{1,8}n", b"(?i:%0d%0a)"]
    elif sign == " ":
        ways.append(rb"\+")
    elif sign == "'":
        ways += [rb"'\\{1,8}''", rb"'\\{0,8}\"'\\{0,8}\"'"]
    ways.append(rb"\\{0,8}" + re.escape(plain))  # JSON in JSON in a shell: each doubles them
    return (b"(?>" if sign == "'" else b"(?:") + b"|".join(ways) + b")"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _base64(name: str, content: bytes, shift: int) -> _Form:
    """Base64 of a text in which `content` follows a multiple of three bytes, and `shift` more.

    At both ends one digit may share its bits with a neighbour: of that one every value that it may have is taken."""
    from base64 import b64encode

    bits = 8 * (shift + len(content))
    digits = b64encode(bytes(shift) + content + bytes(2)).decode()
    first, last = -(-8 * shift // 6), bits // 6
    core = digits[first:last]
    pattern = b"".join(map(_digit, core))
    if shift:
        known = (1 << (6 * first - 8 * shift)) - 1  # its lower bits
        pattern = _any_digit(digits[first - 1], known) + pattern
    if bits % 6:
        known = 0b111111 & ~((1 << (6 - bits % 6)) - 1)  # its upper bits
        pattern += _any_digit(digits[last], known)
    return _Form(name, pattern, core.encode(), 3 * (len(core) + 2), wrapped=True)


def _any_digit(like: str, known: int) -> bytes:
    """A pattern of the digits that have these bits as that one has them."""
    value = _DIGITS.index(like) & known
    return b"(?:" + b"|".join(_digit(d) for i, d in enumerate(_DIGITS) if i & known == value) + b")"


def _digit(digit: str) -> bytes:
    """A digit of base64 in either alphabet, escaped or not."""
    if digit == "+":
        return b"(?:-|" + _spellings("+") + b")"
    if digit == "/":
        return b"(?:_|" + _spellings("/") + b")"
    return digit.encode()
