"""The values of a run's secrets, and how they are taken out of all that its processes leave behind.

Records nothing, and forgets the values with the engine."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from wfctl import outputs
from wfctl.decide import Leavings
from wfctl.jobs import Completion, Ending, Job, Place
from wfctl.journal import refusal
from wfctl.mask import Mask


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
        held = self._scrub_log(job.stdout, names, limit) if job.stdout is not None else set()
        if not _is_file(job.output):  # a link may lead to what may not be written, and not be read either
            _remove(job.output)
            return Leavings(error="$WFCTL_OUTPUT is no file; write one there, or nothing")
        if _size(job.output) <= outputs.LARGEST:
            held |= self._scrub(job.output, names)
        left = Leavings() if held else outputs.collect(job, completion)
        if left.output is not None or left.error:  # JSON may have spelt it as no mask knows
            text = json.dumps([left.output, left.error], ensure_ascii=False).encode("utf-8", "surrogatepass")
            held = self.mask(names).names_in(text)
            for path in (job.output, f"{job.output}.json", job.stdout) if held else ():
                _remove(path)
        if _size(job.output) > outputs.LARGEST:  # refused, and not looked through
            _remove(job.output)
        if not held:
            return left
        which = ", ".join(f'"{name}"' for name in sorted(held))
        error = f"its output held the secret {which}, and outputs are recorded; leave it out, or write it to a file"
        return Leavings(error=error, reason="secret", missing=left.missing)


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
