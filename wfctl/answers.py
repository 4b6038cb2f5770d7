"""What people have answered to the questions of a run: left in its folder by one process, taken by its engine.

Knows nothing of what is asked, and records nothing in the journal."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from wfctl.errors import UsageError
from wfctl.history import file_name
from wfctl.jobs import Answer
from wfctl.journal import refusal, sync_folder
from wfctl.store import RunFolder

_LARGEST = 1 << 20  # bytes of one; a reason is a sentence
_LONGEST_LINE = 4096


def leave(folder: RunFolder, answer: Answer, attempt: int) -> None:
    """Leave an answer to the question that a node asks in this attempt, for good. Raises StateError, and UsageError
    where somebody was quicker."""
    told = {"node": answer.node, "attempt": attempt, "choice": answer.choice, "by": answer.by, "reason": answer.reason}
    path = _path(folder, answer.node, attempt)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with open(draft, "w", encoding="utf-8", errors="surrogatepass") as file:
            json.dump(told, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # the first one counts: a rename would take its place
        except FileExistsError:
            if (before := read(folder, answer.node, attempt)) is not None:
                who = f'"{before.choice}" by {before.by}'
                raise UsageError(f'"{answer.node}" was answered before: {who}') from None
            os.replace(draft, path)  # what is there says nothing
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise refusal("write", path, error) from None


def read(folder: RunFolder, node: str, attempt: int) -> Answer | None:
    """The answer that was left to the question which a node asks in that attempt."""
    try:
        with open(_path(folder, node, attempt), encoding="utf-8", errors="surrogatepass") as file:
            told = json.loads(file.read(_LARGEST))
        return Answer(node=node, choice=str(told["choice"]), by=str(told["by"]), reason=str(told["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(folder: RunFolder, node: str, attempt: int) -> Path:
    return folder.path / "answers" / f"{file_name(node)}.{attempt}.json"


Asking = Callable[[], Sequence[tuple[str, int, Sequence[str]]]]
"""The nodes that ask now, each with its attempt and what can be answered."""


class Ear:
    """Hears what is answered, in the run's folder and on the terminal. `tell` says what could not be understood.

    `fd` is where somebody may type, -1 where nobody does; who that is says `by`."""

    def __init__(
        self, folder: RunFolder, asking: Asking, tell: Callable[[str], None], *, fd: int = -1, by: str = ""
    ) -> None:
        self._folder = folder
        self._asking = asking
        self._tell = tell
        self.fd = fd
        self._by = by

    def answers(self) -> list[Answer]:
        """What was answered to the questions that are asked now."""
        typed = list(self._typed()) if self.fd >= 0 else []
        asking = self._asking()
        left = [(read(self._folder, node, attempt), choices) for node, attempt, choices in asking]
        found = [answer for answer, choices in left if answer is not None and answer.choice in choices]
        for line in typed:
            open_ = [one for one in asking if not any(answer.node == one[0] for answer in found)]
            if typed_answer := self._understood(line, open_):
                found.append(typed_answer)
        return found

    def _typed(self) -> Iterator[str]:
        """The lines that were typed since the last time; none while the terminal is another's."""
        import select

        try:
            if os.tcgetpgrp(self.fd) != os.getpgrp() or not select.select([self.fd], [], [], 0)[0]:
                return
            text = os.read(self.fd, _LONGEST_LINE).decode("utf-8", "replace")
        except OSError:
            return
        yield from (line.strip() for line in text.splitlines() if line.strip())

    def _understood(self, line: str, asking: Sequence[tuple[str, int, Sequence[str]]]) -> Answer | None:
        """`approve`, or where several ask `node approve`, with a reason behind it."""
        for node, _, choices in asking:
            rest = line.removeprefix(f"{node} ") if len(asking) > 1 else line
            if len(asking) > 1 and rest == line:
                continue
            for choice in sorted(choices, key=len, reverse=True):
                if rest.casefold() == choice.casefold() or rest.casefold().startswith(f"{choice.casefold()} "):
                    return Answer(node=node, choice=choice, by=self._by, reason=rest[len(choice) :].strip())
        if asking:
            node, _, choices = asking[0]
            named = f"{node} " if len(asking) > 1 else ""
            self._tell(f'"{line[:60]}" is no answer; type {" or ".join(f"{named}{one}" for one in choices)}')
        return None


def who(environ: dict[str, str] | os._Environ[str]) -> str:
    """The name of who answers here."""
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    behind = environ.get("SUDO_USER")
    return f"{behind} ({name})" if behind and behind != name else name
