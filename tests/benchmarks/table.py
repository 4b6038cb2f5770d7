"""Shows results as they come: for a terminal, or as Markdown for the documents.

Knows nothing of how they were measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tests.benchmarks.lines import Cell, Result

HEAD = ("line", "measured", "wfctl s", "other s", "median", "min to max", "rounds", "target", "")
WIDTHS = (16, 44, 9, 9, 8, 16, 6, 7, 0)
ALIGN = "<<>>>>>><"


class Table:
    """Prints the facts, then a row for each result, then the seconds of all programs side by side."""

    def __init__(self, *, markdown: bool) -> None:
        self.markdown = markdown

    def facts(self, facts: Mapping[str, str]) -> None:
        if self.markdown:
            self._head(("", ""), "<<")
        for name, fact in facts.items():
            self._row((name, fact), (12, 0), "<<")
        print()
        if self.markdown:
            self._head(HEAD, ALIGN)
        else:
            self._row(HEAD, WIDTHS, ALIGN)

    def result(self, result: Result) -> None:
        figures = result.figures
        verdict = " ".join(filter(None, ("" if result.met else "MISSED", result.note)))
        row = (
            result.line,
            result.measure,
            seconds(result.ours),
            seconds(result.other),
            number(result.figure),
            f"{number(min(figures))} to {number(max(figures))}" if len(figures) > 1 else "",
            "" if result.growth else str(len(figures)),
            str(result.target or ""),
            verdict,
        )
        self._row(row, WIDTHS, ALIGN)

    def cells(self, cells: Iterable[Cell], limits: Mapping[str, str]) -> None:
        """Rows of shapes, columns of programs: seconds of all of it / of nothing to do; and who took part in less."""
        table: dict[str, dict[str, str]] = {}
        for cell in cells:
            table.setdefault(cell.line, {})[cell.program] = f"{cell.cold:.2f} / {cell.again:.2f}"
        programs = list(dict.fromkeys(program for row in table.values() for program in row))
        if not programs:
            return
        print("\nMedian seconds, cold / nothing to do (of wfctl: resume of the finished run)\n")
        widths, align = (16, *[14] * len(programs)), "<" + ">" * len(programs)
        if self.markdown:
            self._head(("", *programs), align)
        else:
            self._row(("", *programs), widths, align)
        for line, row in table.items():
            self._row((line, *[row.get(program, "-") for program in programs]), widths, align)
        if said := [f"{program}: {limits[program]}" for program in programs if program in limits]:
            print(f"\nTaking part in less: {'; '.join(said)}.")

    def _head(self, names: Sequence[str], align: str) -> None:
        self._row(names, (), align)
        print("|" + "|".join("---" if side == "<" else "--:" for side in align) + "|")

    def _row(self, cells: Sequence[str], widths: Sequence[int], align: str) -> None:
        if self.markdown:
            print("| " + " | ".join(cells) + " |", flush=True)
        else:
            padded = [f"{cell:{side}{width}}" for cell, width, side in zip(cells, widths, align, strict=True)]
            print(" ".join(padded).rstrip(), flush=True)


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
