"""Which commands take an argument, or what they read, for code: what a value must never be handed to as text.

Knows nothing of expressions; a command is the list of its words, with a NUL for what is not known before the run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from wfctl.record import dataclass

_KEYWORDS = "if then else elif fi case esac for select while until do done in function time coproc { } ! [[ ]]"
_BUILTINS = (
    ". : [ alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown echo "
    "enable eval exec exit export fc fg getopts hash help history jobs kill let local logout mapfile popd printf pushd "
    "pwd read readarray readonly return set shift shopt source suspend test times trap type typeset ulimit umask "
    "unalias unset wait"
)
_SHELL_WORDS = frozenset(f"{_KEYWORDS} {_BUILTINS}".split())

ASSIGNMENTS_THAT_RUN = frozenset(
    "RANDOM SRANDOM SECONDS LINENO HISTCMD OPTIND ENV PS0 PS1 PS2 PS4 PROMPT_COMMAND".split()
)
"""Variables whose value the shell computes or runs; those that start with `BASH_` are the same."""

_EVERY_ARGUMENT = frozenset(
    "eval trap source . alias let unset read mapfile readarray getopts bind complete compgen enable coproc fc history "
    "builtin integer float".split()
)
_NUMBERS = frozenset("exit return shift break continue test [ ulimit print".split())  # computed by zsh and ksh
_CARRIERS = frozenset(
    "sudo doas env nice ionice nohup timeout command builtin exec stdbuf setsid chroot unshare nsenter docker podman "
    "kubectl oc ssh srun flock su runuser busybox xargs parallel conda poetry uv pipx find watch".split()
)
_COMPARED = frozenset("-eq -ne -lt -le -gt -ge".split())


@dataclass(frozen=True, slots=True)
class _Program:
    """How a program reads its arguments, as far as it decides which of them are code.

    `code`: letters of options whose argument is code; `takes`: those with another argument; `files`: those that name a
    file of code in its place; `ends`: those after which all belongs to somebody else. `operands`: which operands are
    code (`first` unless an option gave it, `later` all but the first, `all`, or none). `mixed`: options may follow.
    """

    code: str = ""
    takes: str = ""
    files: str = ""
    ends: str = ""
    long_code: tuple[str, ...] = ()
    long_takes: Mapping[str, int] = field(default_factory=dict)
    operands: str = ""
    mixed: bool = True
    shell: bool = False  # -c makes its first operand code
    reads: int | None = None  # takes its input for code when it has fewer operands than that, and no code


_SHELL = _Program("c", "oO", long_takes={"--rcfile": 1, "--init-file": 1}, mixed=False, shell=True, reads=1)
_AWK = _Program("e", "Fvilo", files="fE", long_code=("--source",), operands="first", mixed=False)
_PROGRAMS: Mapping[str, _Program] = {
    **dict.fromkeys(("sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "rbash", "fish", "shell"), _SHELL),
    **dict.fromkeys(("python", "pypy", "ipython"), _Program("c", "WX", ends="m", mixed=False, reads=1)),
    "perl": _Program("eE", "I", mixed=False, reads=1),
    "ruby": _Program("e", "ICrE", mixed=False, reads=1),
    **dict.fromkeys(
        ("node", "nodejs", "bun"),
        _Program("ep", "rC", long_code=("--eval", "--print"), long_takes={"--require": 1}, mixed=False, reads=1),
    ),
    "php": _Program("rBRE", "dfcz", mixed=False, reads=1),
    "lua": _Program("e", "l", mixed=False, reads=1),
    **dict.fromkeys(("rscript", "r"), _Program("e", mixed=False, reads=1)),
    "julia": _Program("eE", "pLJtH", long_code=("--eval", "--print"), mixed=False, reads=1),
    **dict.fromkeys(("osascript", "groovy", "elixir", "ghc", "scala"), _Program("e", reads=1)),
    **dict.fromkeys(("pwsh", "powershell"), _Program("cC", long_code=("--command",), reads=1)),
    **dict.fromkeys(("tclsh", "expect"), _Program("c", mixed=False, reads=1)),
    "psql": _Program("c", "dhLopPRTUvF", files="f", long_code=("--command",), reads=9),
    **dict.fromkeys(("mysql", "mariadb"), _Program("e", "hPuDS", long_code=("--execute", "--init-command"), reads=9)),
    "duckdb": _Program("cs", files="f", operands="later", reads=2),
    **dict.fromkeys(("sqlite", "sqlite3"), _Program(operands="later", reads=2)),
    **dict.fromkeys(("su", "runuser"), _Program("c", "sgGw", long_code=("--command", "--session-command"), reads=9)),
    **dict.fromkeys(("script", "flock", "sg"), _Program("c", "EwIOB", long_code=("--command",))),
    "env": _Program("S", "uC", long_code=("--split-string",), mixed=False),
    "sbatch": _Program(long_code=("--wrap",), mixed=False),
    "nix-shell": _Program(long_code=("--run", "--command")),
    "make": _Program(long_code=("--eval",)),
}
# Read only where they are the command itself, or carried by another: their names are ordinary words elsewhere.
_COMMANDS: Mapping[str, _Program] = {
    **dict.fromkeys(("awk", "gawk", "mawk", "nawk"), _AWK),
    **dict.fromkeys(("sed", "gsed"), _Program("e", "l", "f", long_code=("--expression",), operands="first")),
    "jq": _Program(
        takes="L",
        files="f",
        long_takes={"--arg": 2, "--argjson": 2, "--slurpfile": 2, "--rawfile": 2, "--indent": 1},
        operands="first",
    ),
    "ssh": _Program(takes="bcDEeFIiJLlmOopQRSWw", operands="later", mixed=False, reads=2),
    "watch": _Program(takes="nq", operands="all", mixed=False),
    "parallel": _Program(takes="jaNnPS", operands="all", mixed=False, reads=1),
    "at": _Program(takes="qt", files="f", reads=9),
    "batch": _Program(reads=9),
}


def needs_shell(command: str) -> bool:
    """Whether the first word of a command means something to the shell, rather than the name of a program."""
    return command in _SHELL_WORDS or command.startswith("%")


def code_words(words: Sequence[str], strict: bool) -> Iterator[tuple[int, str]]:
    """The places of words that the command takes for code, each with what to call that place.

    `strict`: the shell is one (zsh, ksh) that computes where others only read numbers.
    """
    start = _command(words)
    command = words[start] if start < len(words) else ""
    rest = range(start + 1, len(words))
    if command in _EVERY_ARGUMENT or (strict and command in _NUMBERS):
        yield from ((i, f"in an argument of {command}") for i in rest)
    elif command == "set":
        stop = words.index("--") if "--" in words else len(words)
        yield from ((i, 'in an argument of set before "--"') for i in rest if i < stop)
    elif command == "printf":
        i = start + 1
        if words[i : i + 1] == ["-v"]:
            yield i + 1, "in an argument of printf -v"
            i += 2
        i += words[i : i + 1] == ["--"]
        yield i, "in the format of printf"
    elif command in ("test", "["):
        for i in rest:
            # -v and -R look into a subscript; a value before may turn out to be one of them.
            if words[i - 1] in ("-v", "-R") or (i > start + 1 and words[i - 1].startswith("\0")):
                yield i, f"there in {command}"
    for i, word in enumerate(words):
        program = _program(word, own=i == start or (i > start and words[start] in _CARRIERS))
        if program:
            place = f"in a program for {_name(word)}"
            yield from ((j, place) for j in _arguments(words, i, program)[0])


def reads_program(words: Sequence[str]) -> bool:
    """Whether the command takes its standard input for code."""
    start = _command(words)
    if start >= len(words):
        return False
    if words[start] in ("source", "."):
        return any(word in ("/dev/stdin", "/dev/fd/0") for word in words[start + 1 :])
    carried = words[start] in _CARRIERS
    for i in range(start, len(words) if carried else start + 1):
        program = _program(words[i], own=True)
        if program is None or program.reads is None:
            continue
        codes, operands = _arguments(words, i, program)
        if words[start] == "xargs":
            if codes and any(word.startswith(("-I", "-i", "--replace")) for word in words[start + 1 : i]):
                return True
        elif not codes or program.operands == "later":
            inputs = [j for j in operands if words[j] not in ("-", "/dev/stdin", "/dev/fd/0")]
            if len(inputs) < program.reads or (program.shell and "-s" in words[i + 1 : i + 4]):
                return True
    return False


def _command(words: Sequence[str]) -> int:
    """The place of the word that names the command, after the words that only say how to run it."""
    at = 0
    while at < len(words) and (words[at] in ("command", "exec") or (words[at] == "builtin" and len(words) > at + 1)):
        if words[at] == "builtin" and "\0" in words[at + 1]:
            return at
        at += 1
        while at < len(words) and words[at].startswith("-"):
            at += 1
    # `time` is gone already; its option is not.
    return at + 1 if at < len(words) - 1 and words[at] in ("-p", "--") else at


def _name(word: str) -> str:
    """`/usr/bin/python3.11` is `python`, and so is `"$PYTHON"`."""
    match = re.fullmatch(r"\$?\{?([a-z][a-z-]*?)[\d.]*\}?", word.rpartition("/")[2].lower())
    return match[1] if match else ""


def _program(word: str, own: bool) -> _Program | None:
    name = _name(word)
    return _PROGRAMS.get(name) or (_COMMANDS.get(name) if own else None)


@dataclass(slots=True)
class _Reading:
    """What was found so far among the arguments of a program: places of code and of operands."""

    codes: list[int] = field(default_factory=list)
    operands: list[int] = field(default_factory=list)
    given: bool = False  # an option gave the code, or a file of it
    pending: bool = False  # the first operand will be the code


def _arguments(words: Sequence[str], at: int, program: _Program) -> tuple[list[int], list[int]]:
    """The places of the words that are code, and of the operands, of the program named at `at`."""
    found = _Reading()
    i = at + 1
    while i < len(words):
        word = words[i]
        if word == "--":
            found.operands += range(i + 1, len(words))
            break
        if word == "-cmd" and program is _PROGRAMS["sqlite"]:
            found.codes.append(i + 1)
            i += 2
        elif word.startswith("--"):
            i = _long_option(word, i, program, found)
        elif len(word) > 1 and word[0] in "-+":
            i = _short_options(word, i, program, found)
        elif program.mixed or word.startswith("$"):  # a variable may hold an option, or nothing
            found.operands.append(i)
            i += 1
        else:
            found.operands += range(i, len(words))
            break
    codes, operands = found.codes, found.operands
    if found.pending or (program.operands == "first" and not found.given):
        fixed = next((k for k, j in enumerate(operands) if not words[j].startswith("$")), len(operands))
        codes += operands[: fixed + 1]
    elif program.operands == "later":
        codes += operands[1:]
    elif program.operands == "all":
        codes += operands
    # A script that is made on the spot: bash <(…)
    codes += [i for i in operands[:1] if words[i].startswith("<(")]
    return [i for i in codes if i < len(words)], operands


def _long_option(word: str, i: int, program: _Program, found: _Reading) -> int:
    """Take the option at `i`, and say where the next argument is."""
    name, equals, _ = word.partition("=")
    if name in program.long_code:
        found.given = True
        found.codes.append(i if equals else i + 1)
        return i + 1 if equals else i + 2
    return i + 1 if equals else i + 1 + program.long_takes.get(name, 0)


def _short_options(word: str, i: int, program: _Program, found: _Reading) -> int:
    """Take the options in the word at `i`, `-xec`, and say where the next argument is."""
    for k, letter in enumerate(word[1:], 2):
        rest = word[k:]
        if letter in program.code and program.shell:
            found.given = found.pending = True
        elif letter in program.code:
            found.given = True
            found.codes.append(i if rest else i + 1)
            if rest and set(rest) <= set(program.code):
                found.codes.append(i + 1)
            return i + 1 if rest else i + 2
        elif letter in program.takes + program.files:
            found.given = found.given or letter in program.files
            return i + 1 if rest else i + 2
        elif letter in program.ends:
            found.operands.append(i)  # whatever follows is somebody else's
            found.given = True
            return 1_000_000
    return i + 1
