"""A terminal as far as a live view uses one: lines, a cursor, clearing and scrolling.

Refuses every sequence that it does not know, and so any that would change a mode."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Terminal:
    """`write` takes what a program writes; `text` is what stands on the screen and above it."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows
        self.lines = [""]
        self.row = self.column = 0

    def size(self) -> tuple[int, int]:
        return self.columns, self.rows

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n") + "\n"

    def write(self, text: str) -> None:
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            assert found is not None, f"not known here: {text[at : at + 20]!r}"
            at = found.end()
            number, act, move, plain = found.groups()
            if act is not None:
                self._act(int(number or 0) if act in "AJK" else 0, act)
            elif move == "\r":
                self.column = 0
            elif move == "\n":
                self._down()
            else:
                self._put(plain)

    def _act(self, number: int, act: str) -> None:
        if act == "A":
            # The cursor cannot leave the screen.
            self.row = max(self.row - max(1, number), len(self.lines) - self.rows, 0)
        elif act in "JK":
            assert number == 0
            self.lines[self.row] = self.lines[self.row][: self.column]
            if act == "J":
                del self.lines[self.row + 1 :]
        else:
            assert act == "m", f"not known here: {act}"

    def _down(self) -> None:
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.lines):
            self.lines.append("")

    def _put(self, text: str) -> None:
        for char in text:
            if self.column == self.columns:
                self._down()
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
            self.column += 1
