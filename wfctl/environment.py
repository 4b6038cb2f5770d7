"""The variables that a run takes from outside: those of this process, with those of an `--env-file` over them.

Knows no workflow. Of the values nothing is kept on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from wfctl.errors import Fault, Invalid, UsageError

_LARGEST = 16 * 1024 * 1024


def variables(env_file: str | None = None) -> dict[str, str]:
    """Name to value. Raises Invalid with the faults of the file, UsageError where it cannot be read."""
    return {**os.environ, **read(env_file)} if env_file is not None else dict(os.environ)


def read(file: str) -> dict[str, str]:
    """What a file of `NAME=value` lines says, as it stands there: nothing is filled in. Raises as `variables`."""
    try:
        with open(file, "rb") as stream:  # a pipe is welcome: --env-file <(pass show deploy)
            source = stream.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError(f'--env-file "{file}": {reason}; name a file of NAME=value lines') from None
    if len(source) > _LARGEST:
        raise UsageError(f'--env-file "{file}": is over 16 MiB; name a file of NAME=value lines')
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        what = f"the byte 0x{source[error.start]:02x} is not UTF-8"
        raise Invalid([Fault(file, line, 1, "", what, "save it as UTF-8")]) from None
    values, faults = _parse(file, text)
    if faults:
        raise Invalid(faults)
    return values


def _parse(file: str, text: str) -> tuple[dict[str, str], list[Fault]]:
    import io

    from dotenv.parser import parse_stream

    values: dict[str, str] = {}
    faults: list[Fault] = []

    def fault(line: int, message: str, hint: str) -> None:
        faults.append(Fault(file, line, 1, "", message, hint))

    for binding in parse_stream(io.StringIO(text, newline="")):
        said = binding.original.string
        line = binding.original.line + said[: len(said) - len(said.lstrip())].count("\n")
        name, value = binding.key, binding.value
        if binding.error:  # its words are not shown: they may be a secret
            fault(line, "is no NAME=value", 'write one variable a line; quote a value of several lines, or with "#"')
        elif name is None:
            continue  # a comment, or an empty line
        elif value is None:  # nor is this name: it may be a line of a key
            fault(line, "has no value", "write NAME=value; quote a value of several lines")
        elif "=" in name:
            fault(line, 'the name of a variable cannot hold "="', "take it out")
        elif "\0" in value or "\0" in name:
            fault(line, "holds a NUL character, which no variable can", "take it out")
        else:
            values[name] = value
    return values, faults


def secrets(names: Iterable[str], variables: Mapping[str, str]) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """The values of these secrets; and by name what is wrong with the others, with the way out."""
    from wfctl.mask import SHORTEST
    from wfctl.values import LONGEST

    values: dict[str, str] = {}
    wrong: dict[str, tuple[str, str]] = {}
    for name in names:
        value = variables.get(name, "")
        size = len(value.encode("utf-8", "surrogateescape"))
        if not value:
            how = "is empty" if name in variables else "is missing"
            hint = f"set it: {name}=… wfctl …, or name a file that has it: --env-file FILE"
            wrong[name] = f'the secret "{name}" {how} in the environment', hint
        elif len(value.strip()) < SHORTEST:
            what = f'the secret "{name}" has less than {SHORTEST} characters'
            wrong[name] = f"{what}, too few to be told from other text in a log", "take a longer one, or use env"
        elif size > LONGEST:
            what = f'the secret "{name}" is {size // 1024} KiB, and more than 100 KiB cannot be handed to a process'
            wrong[name] = what, "make the path of a file the secret's place, and hand that over"
        else:
            values[name] = value
    return values, wrong
