"""The values of a run's secrets, and how they are taken out of all that its processes leave behind.

Records nothing, and forgets the values with the engine."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wfctl import outputs
from wfctl.decide import Leavings
from wfctl.jobs import Completion, Ending, Job, Place
from wfctl.journal import refusal
from wfctl.mask import Mask
from wfctl.result import LARGEST, draft_of, file_of


def names_of(job: Job) -> tuple[str, ...]:
    """The secrets that the process of a job is handed."""
    return tuple(sorted({name for sealed in job.sealed.values() for name in sealed[1::2]}))


class Secrets:
    """The values of a run's secrets, by name."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)
        self._masks: dict[tuple[str, ...], Mask] = {}

    def mask(self, names: tuple[str, ...]) -> Mask:
        """What hides these secrets."""
        found = self._masks.get(names)
        if found is None:
            found = self._masks[names] = Mask({name: self.values[name] for name in names})
        return found

    def scrub(self, place: Place, names: tuple[str, ...]) -> None:
        """Take the secrets out of all that an attempt left there, for good. Raises StateError."""
        for path in (place.log, place.stdout, place.output, f"{place.output}.json"):
            self._scrub(path, names)
        for path in (result := file_of(place.output), draft_of(result)):  # nobody will read them any more
            _remove(path)
        if not _is_file(place.output):
            _remove(place.output)

    def _scrub(self, path: str, names: tuple[str, ...]) -> set[str]:
        try:
            return self.mask(names).scrub(path)
        except OSError as error:
            raise refusal("take the secrets out of", Path(path), error) from None

    def _scrub_log(self, path: str, names: tuple[str, ...], limit: int | None) -> set[str]:
        """Scrub it, and with a limit cut it there, but not before: half a secret could not be found."""
        if limit is None or _size(path) <= limit:
            return self._scrub(path, names)
        try:
            os.truncate(path, limit + self.mask(names).reach)
            held = self._scrub(path, names)
            os.truncate(path, limit)
        except OSError as error:
            raise refusal("cut", Path(path), error) from None
        return held

    def collect(self, job: Job, completion: Completion) -> Leavings:
        """As `outputs.collect`, once no secret is left in what lies there; an output that held one is a failure.

        Raises StateError where a file cannot be scrubbed: then the end of the attempt must not be recorded.
        """
        if not job.sealed or completion.ending is Ending.NOT_STARTED:
            return outputs.collect(job, completion)
        names = names_of(job)
        limit = job.log_limit if completion.reason == "log_limit" else None
        self._scrub_log(job.log, names, limit)
        left, held = self._of_task(job, completion, names) if job.task is not None else self._of_process(
            job, completion, names, limit
        )  # fmt: skip
        if not held:
            return left
        which = ", ".join(f'"{name}"' for name in sorted(held))
        error = f"its output held the secret {which}, and outputs are recorded; leave it out, or write it to a file"
        return replace(left, output=None, file=None, error=error, reason="secret")

    def _of_process(
        self, job: Job, completion: Completion, names: tuple[str, ...], limit: int | None
    ) -> tuple[Leavings, set[str]]:
        """What a process of its own left, and the names of the secrets that its output held."""
        held = self._scrub_log(job.stdout, names, limit) if job.stdout is not None else set()
        if not _is_file(job.output):  # a link may lead to what may not be written, and not be read either
            _remove(job.output)
            return Leavings(error="$WFCTL_OUTPUT is no file; write one there, or nothing"), set()
        if _size(job.output) <= LARGEST:
            held |= self._scrub(job.output, names)
        left = Leavings() if held else outputs.collect(job, completion)
        if left.output is not None or left.error:  # JSON may have spelt it as no mask knows
            held = self._names_in([left.output, left.error], names)
            for path in (job.output, f"{job.output}.json", job.stdout) if held else ():
                _remove(path)
        if _size(job.output) > LARGEST:  # refused, and not looked through
            _remove(job.output)
        return left, held

    def _of_task(self, job: Job, completion: Completion, names: tuple[str, ...]) -> tuple[Leavings, set[str]]:
        """What a task left, with errors that hide secrets, and the names of those that its output held."""
        left = outputs.collect(job, completion, lambda text: self._hidden(text, names))
        held = self._names_in(left.output, names) if left.output is not None else set()
        result = file_of(job.output)
        # What it wrote where a command leaves its output, nobody reads.
        for path in (job.output, result, draft_of(result), *([f"{job.output}.json"] if held else ())):
            _remove(path)
        return left, held

    def _names_in(self, output: object, names: tuple[str, ...]) -> set[str]:
        return self.mask(names).names_in(json.dumps(output, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    def _hidden(self, text: str, names: tuple[str, ...]) -> str:
        """A text with stars in the place of secrets."""
        return self.mask(names).hide(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _is_file(path: str) -> bool:
    """Whether a file stands there, or nothing."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return True


def _remove(path: str | None) -> None:
    try:
        os.unlink(path or "")
    except IsADirectoryError:
        import shutil

        shutil.rmtree(path or "", ignore_errors=True)
    except OSError:
        pass
