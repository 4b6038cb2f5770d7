"""Text for eyes: foreign text made harmless, widths in columns, figures in people's units, colours.

Knows nothing of what is shown, nor where."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

# What a terminal or a page would obey and not show: control characters (ESC and the 8-bit CSI among
# them), marks that turn the direction of writing, invisible letters, line separators, surrogates.
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    "\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_HARMFUL_IN_LINES = re.compile(_HARMFUL.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_NOT_ASCII = re.compile("[^\x20-\x7e]")
_NOT_ASCII_IN_LINES = re.compile("[^\t\n\x20-\x7e]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def safe(text: str, *, lines: bool = False, unicode: bool = True) -> str:
    """The text with everything shown and nothing obeyed: the door of all foreign text to any screen.

    Control characters and their like become `\\x1b`; bytes that were no UTF-8 (read with
    `surrogateescape`) become `\\xff`. `lines` keeps newline and tab. Without `unicode` the result is
    ASCII. Printable text, backslashes too, stays as it is.
    """
    if unicode:
        harmful = _HARMFUL_IN_LINES if lines else _HARMFUL
    else:
        harmful = _NOT_ASCII_IN_LINES if lines else _NOT_ASCII
    return harmful.sub(_visible, text)


def json_text(data: object, *, indent: int | None = None) -> str:
    """Plain data as JSON of printable ASCII: what a terminal, or a CI service, would obey is escaped, and nothing is
    lost."""
    import json

    # ASCII to json, and a control character to terminals, is DEL; it can only stand in a text.
    text = json.dumps(data, indent=indent, ensure_ascii=True).replace("\x7f", "\\u007f")
    return text.replace("##[", "##\\u005b")  # by which GitHub's runner knows a command, wherever it stands


def _visible(found: re.Match[str]) -> str:
    char = found[0]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    if code < 0x100:
        return _SHORT.get(char) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def char_width(char: str) -> int:
    """Columns that one character takes: 0 for combining ones, 2 for wide ones; rather too many than too few, for a line
    that is longer than was thought costs a row."""
    if char < "\u0300":
        return 1
    if char == "\ufe0f":  # makes a picture of what stands before it, which many terminals show wide then
        return 1
    kind = unicodedata.category(char)
    if kind in ("Mn", "Me", "Cf"):
        return 0
    wide = unicodedata.east_asian_width(char) in ("W", "F")
    return 2 if wide or (kind == "Cn" and char >= "\U0001f000") else 1  # pictures that are newer than this Python


def width_of(text: str) -> int:
    """Columns that the text takes on a terminal. It must be safe and hold no colours."""
    return len(text) if text.isascii() else sum(map(char_width, text))


def clip(text: str, columns: int, *, unicode: bool = True, middle: bool = False) -> str:
    """The text in at most so many columns; where something was cut off, `…` (or `~`) says so: at the end, or in the
    `middle`, for names that differ at their ends."""
    if width_of(text) <= columns:
        return text
    if columns <= 0:
        return ""
    behind = (columns - 1) // 2 if middle else 0
    room, end = columns - 1 - behind, 0
    for char in text:
        room -= char_width(char)
        if room < 0:
            break
        end += 1
    begin = len(text)
    while begin and (behind := behind - char_width(text[begin - 1])) >= 0:
        begin -= 1
    while begin < len(text) and not char_width(text[begin]):  # it would stand on the dots
        begin += 1
    return text[:end] + ("…" if unicode else "~") + text[begin:]


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """The text filled with blanks to so many columns; `right` puts the blanks before it."""
    blanks = " " * (columns - width_of(text))
    return blanks + text if right else text + blanks


def duration(seconds: float) -> str:
    """A time for people, in at most seven columns: `4ms 0.42s 5.1s 42s 1m 05s 2h 03m 3d 04h`."""
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 0.0005:
        return "0s"
    if seconds < 0.00995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 0.995:
        return f"{seconds:.2f}s"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole // 60 % 60:02d}m"
    days = whole // 86400
    return f"{days}d {whole // 3600 % 24:02d}h" if days < 100 else f"{days}d"


def size(bytes: float) -> str:
    """An amount of bytes for people: `0 B`, `512 MiB`, `1.5 GiB`."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    place = 0
    while place < len(units) - 1 and abs(bytes) >= 1023.95:
        bytes, place = bytes / 1024, place + 1
    return f"{number(bytes)} {units[place]}"


def number(value: float) -> str:
    """A figure with at most one digit after the point, and none where it would be 0; from 10,000 with commas."""
    figure = f"{value:,.1f}" if abs(value) >= 10_000 else f"{value:.1f}"
    return figure.removesuffix(".0")


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 node`, `2 nodes`, `12,000 nodes`; `many` where an s does not make the plural."""
    return f"{number(count)} {noun if count == 1 else many or noun + 's'}"


Style = Literal[
    "", "bold", "dim", "red", "green", "yellow", "blue", "magenta", "cyan", "bold red", "bold yellow", "bold cyan"
]

_CODES: Mapping[Style, str] = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
    "bold red": "1;31", "bold yellow": "1;33", "bold cyan": "1;36",
}  # fmt: skip


def paint(text: str, style: Style, color: bool) -> str:
    """The text in that style, when there is colour at all; widths are to be taken before."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if color and style and text else text


class Look(NamedTuple):
    """How a state is shown: a mark that reads without colour, the same in ASCII, and a style."""

    mark: str
    ascii: str
    style: Style


# No mark is an emoji or wide anywhere, so that what stands beside it keeps its column.
LOOKS: Mapping[str, Look] = {
    "waiting": Look("○", "o", "dim"),
    "ready": Look("◎", "O", "cyan"),
    "running": Look("▶", ">", "bold cyan"),
    "retrying": Look("↻", "r", "yellow"),
    "waiting_input": Look("?", "?", "bold yellow"),
    "interrupted": Look("‖", "|", "yellow"),
    "succeeded": Look("✓", "+", "green"),
    "cached": Look("≡", "=", "green"),
    "failed": Look("✗", "x", "bold red"),
    "timed_out": Look("◷", "t", "bold red"),
    "skipped": Look("-", "-", "dim"),
    "cancelled": Look("⊘", "/", "dim"),
    "undoing": Look("↶", "<", "magenta"),
    "undone": Look("◁", "u", "magenta"),
    "undo_failed": Look("!", "!", "bold red"),
    "rolling_back": Look("↶", "<", "magenta"),
    "rolled_back": Look("◁", "u", "magenta"),
    "rollback_failed": Look("!", "!", "bold red"),
    "restarting": Look("↻", "r", "yellow"),
    "committing": Look("▶", ">", "bold cyan"),
}
"""Every state of a node and of a run."""

_UNKNOWN = Look("·", ".", "")


def look(state: str) -> Look:
    """How to show this state; a state of a later version gets a plain dot."""
    return LOOKS.get(state, _UNKNOWN)


def mark(state: str, *, unicode: bool = True) -> str:
    """The one-column mark of a state."""
    return look(state).mark if unicode else look(state).ascii


def state_word(state: str) -> str:
    """A state as it stands in a sentence: `timed out`."""
    return state.replace("_", " ")


UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
_LINES = " │││─╯╮┤─╰╭├─┴┬┼"  # by the sum of the directions that meet
_ASCII_LINES = " |||-'.+-'.+-+++"


@dataclass(frozen=True, slots=True)
class Pen:
    """What can be drawn with: the width in columns, colour or none, Unicode or ASCII."""

    width: int
    color: bool
    unicode: bool

    @property
    def dash(self) -> str:
        return "─" if self.unicode else "-"

    @property
    def dot(self) -> str:
        """What stands between the words of a line."""
        return " · " if self.unicode else ", "

    def line(self, directions: int) -> str:
        """The piece of a line that leads to these sides, a sum of UP, DOWN, LEFT and RIGHT."""
        return (_LINES if self.unicode else _ASCII_LINES)[directions]

    def safe(self, text: str) -> str:
        return safe(text, unicode=self.unicode)

    def clip(self, text: str, columns: int, *, middle: bool = False) -> str:
        """Foreign text made safe, in at most so many columns."""
        return clip(self.safe(text), columns, unicode=self.unicode, middle=middle)

    def paint(self, text: str, style: Style) -> str:
        return paint(text, style, self.color)

    def mark(self, state: str) -> str:
        return mark(state, unicode=self.unicode)
