"""The address of a database, of which parts may have been filled in: those are data wherever they stand.

Knows no database. Who reads an address sees a stand-in for each part, so no part can end another or begin one; then it
puts the parts back into what it has read."""

from __future__ import annotations

import re

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Sequence

_FIRST = 0xF0000
"""The stand-ins are characters from here on, which no text of people holds."""

_STAND_IN = re.compile("[\U000f0000-\U0010ffff]")
_HARMLESS = re.compile(r"[\w.-]*", re.ASCII)


class Address:
    """A URL, from texts that are written and texts that are filled in, in turn, a written one first and last.

    What is filled in at the very start is a URL itself, or its beginning. What could mean nothing else has no stand-in:
    a port must be a number.
    """

    def __init__(self, parts: str | Sequence[str]) -> None:
        self._parts = [parts] if isinstance(parts, str) else list(parts)
        if not self._parts[0] and len(self._parts) > 1:
            self._parts[:3] = [self._parts[1] + self._parts[2]]
        self._parts[::2] = [_STAND_IN.sub("\ufffd", part) for part in self._parts[::2]]
        self.text = "".join(
            part if i % 2 == 0 or _HARMLESS.fullmatch(part) else chr(_FIRST + i) for i, part in enumerate(self._parts)
        )
        """With the stand-ins."""

    def filled(self, text: str) -> str:
        """A text that was read from it, with what was filled in."""
        return _STAND_IN.sub(lambda found: self._part(found[0]), text)

    @property
    def quoted(self) -> str:
        """All of it, what was filled in with percent signs: for who takes them out again in every part."""
        from urllib.parse import quote

        return _STAND_IN.sub(lambda found: quote(self._part(found[0]), safe=""), self.text)

    def _part(self, stand_in: str) -> str:
        place = ord(stand_in) - _FIRST
        return self._parts[place] if place < len(self._parts) else stand_in  # that was written with percent signs
