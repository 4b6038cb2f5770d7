"""What a run leaves for others than who sits before it: a JUnit file, and what a CI service takes from a step.

Knows no verb. Nothing here can hurt a run: what cannot be written is told, and that is all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from wfctl import delivery
from wfctl.errors import Fault, UsageError, nearest
from wfctl.record import dataclass

if TYPE_CHECKING:
    from wfctl.history import Record
    from wfctl.renderers.account import Account
    from wfctl.renderers.advice import Advice
    from wfctl.renderers.plain import Plain

SERVICES = ("github", "gitlab", "off")

SUMMARY = 1024 * 1024
"""Bytes of a step's summary: GitHub takes none with more."""

_YES = ("true", "1", "yes")


def service(word: str | None, environ: Mapping[str, str]) -> str:
    """The CI service to speak to, empty for none: as it was said, else as the environment says. Raises UsageError.

    A run in a node of another run is no step: what it says stands in a log of that.
    """
    if word is not None:
        if word not in SERVICES:
            hint = nearest(word, SERVICES) or f"there are {', '.join(SERVICES)}"
            raise UsageError(f'--ci: no CI service named "{word}"; {hint}')
        return "" if word == "off" else word
    if environ.get("WFCTL_RUN_ID"):
        return ""
    if environ.get("GITHUB_ACTIONS", "").lower() in _YES:
        return "github"
    return "gitlab" if environ.get("GITLAB_CI", "").lower() in _YES else ""


@dataclass(slots=True, kw_only=True)
class Reports:
    """What is wanted of one command. All paths are whole: a run works in another folder."""

    junit: str = ""
    service: str = ""
    summary: str = ""
    root: str = "."
    """The folder that files are named from."""
    advice: Advice
    handed_out: bool = False

    @classmethod
    def wanted(
        cls, junit: str | None, word: str | None, environ: Mapping[str, str], advice: Advice
    ) -> Reports | None:
        """What the options and the environment ask for; None for nothing. Raises UsageError.

        What an earlier command has left in the place of a report goes at once: it is no answer of this one, not even
        where nothing can be run.
        """
        found = service(word, environ)
        if junit is None and not found:
            return None
        summary = environ.get("GITHUB_STEP_SUMMARY", "")
        root = {"github": environ.get("GITHUB_WORKSPACE"), "gitlab": environ.get("CI_PROJECT_DIR")}.get(found)
        return cls(
            junit=_cleared(junit) if junit is not None else "",
            service=found,
            summary=os.path.abspath(summary) if summary and found == "github" else "",
            root=root if root and os.path.isabs(root) else os.getcwd(),
            advice=advice,
        )

    def guarded(self, write: Callable[[str], None]) -> Callable[[str], None]:
        """Writes lines in which nothing but what is ours is taken for a command of the service."""
        if self.service != "github":
            return write
        from wfctl.renderers.commands import obeyed

        return lambda text: write(obeyed(text))

    def view(self, write: Callable[[str], None], record: Record, *, color: bool, unicode: bool) -> Plain | None:
        """The view of a run in the service's log; None where there is no service."""
        if not self.service:
            return None
        from wfctl import logs
        from wfctl.renderers import sections

        return sections.Sections(
            write,
            partial(logs.tail, record.folder),
            partial(logs.last_part, record.folder),
            sections.github if self.service == "github" else sections.Gitlab(),
            color=color,
            unicode=unicode,
            advice=self.advice,
        )

    def end(self, record: Record, write: Callable[[str], None], warn: Callable[[str], None]) -> None:
        """Hand out all that is wanted of a run that has ended, or was left. `write` is not guarded."""
        self.handed_out = True
        todo: list[Callable[[Account], None]] = []
        if self.junit:
            todo.append(lambda account: self._write_junit(account, warn))
        if self.service:
            todo.append(lambda account: write(self._words(account)))
        if self.summary:
            todo.append(lambda account: self._summarize(record, account, warn))
        try:
            from wfctl import audit

            account = audit.account(record, self.root, self.advice)
        except Exception as error:
            warn(f"all reports were dropped: {type(error).__name__}: {error}")
            return
        for hand_out in todo:  # each for itself: by one that goes wrong no other is lost
            try:
                hand_out(account)
            except Exception as error:
                warn(f"a report was dropped: {type(error).__name__}: {error}")

    def faults(self, faults: Iterable[Fault], write: Callable[[str], None]) -> None:
        """Faults for which nothing was run."""
        if self.service == "github":
            from wfctl.audit import shown
            from wfctl.renderers.annotations import MOST, fault

            for one in list(faults)[:MOST]:
                file = shown(os.path.abspath(one.file), self.root) if os.path.exists(one.file) else one.file
                write(fault(replace(one, file=file)))

    def _words(self, account: Account) -> str:
        if self.service == "github":
            from wfctl.renderers.annotations import render

            return render(account)
        from wfctl.renderers.annotations import places

        return places(account)

    def _write_junit(self, account: Account, warn: Callable[[str], None]) -> None:
        from wfctl.renderers import junit

        try:
            delivery.write(self.junit, junit.render(account, placed=bool(self.service)))
        except OSError as error:
            warn(f'--junit: "{self.junit}" cannot be written: {(error.strerror or str(error)).lower()}')

    def _summarize(self, record: Record, account: Account, warn: Callable[[str], None]) -> None:
        """Add the page to the summary of the step, which may have others already."""
        from wfctl import drawing, logs
        from wfctl.renderers import graph_mermaid, summary
        from wfctl.renderers.ending import ending

        words = ""
        if record.state.finished is not None:
            words = ending(record.state, partial(logs.wrote, record.folder), advice=self.advice)
        graph = graph_mermaid.render(drawing.picture(record.plan, record))
        try:
            there = os.path.getsize(self.summary) if os.path.exists(self.summary) else 0
            text = summary.render(account, words, graph, SUMMARY - there - 1)
            with open(self.summary, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{text}\n")
        except OSError as error:
            warn(f'the summary "{self.summary}" cannot be written: {(error.strerror or str(error)).lower()}')


def _cleared(path: str) -> str:
    """The whole path of a JUnit file, where none is any more. Raises UsageError, also for a file that can be none."""
    whole = delivery.check("--junit", path)
    if delivery.beginning(whole).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] not in (b"", b"<"):
        raise UsageError(f'--junit: "{path}" is there, and is no XML; name another file, or remove it')
    delivery.discard(whole)
    return whole
