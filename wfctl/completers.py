"""The shells that complete: the script for each, how it hands over a line, and how it wants to be answered.

Knows nothing of what may stand on a line of ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from wfctl.completion import Candidate, Reply
from wfctl.renderers.text import safe

# What each script calls answers with lines: on the first `OTHER GOES_ON SKIP`, which is what else may stand there
# (`words` for nothing), whether the word goes on behind it, and how many of its characters belong to no candidate; then
# the candidates. No script evaluates anything of that. The command is always the one on the PATH: what is only being
# typed must not be run.

_BASH = r"""# Completion of wfctl for bash 4.4 and newer.
_wfctl() {
    local reply line=${COMP_LINE:0:COMP_POINT}
    COMPREPLY=()
    mapfile -t reply < <(command wfctl __complete bash "$COMP_WORDBREAKS" "$line" 2> /dev/null < /dev/null)
    case ${reply[0]-} in
        files*) compopt -o default ;;
        folders*) compopt -o dirnames ;;
        *' 1 '*) compopt -o nospace ;;
    esac
    compopt -o nosort
    COMPREPLY=("${reply[@]:1}")
}
complete -F _wfctl wfctl
"""

_ZSH = r"""#compdef wfctl
# Completion of wfctl for zsh: in a file named _wfctl in a folder of $fpath, or evaluated after compinit.
_wfctl() {
    local -a reply first values shown how expl
    local line note code=1 wide=0
    reply=("${(@f)$(command wfctl __complete zsh "$PREFIX" "${(@Q)words[2,CURRENT-1]}" 2> /dev/null < /dev/null)}")
    first=(${(s: :)reply[1]})
    shift reply
    values=("${(@)reply%%$'\t'*}")
    for line in $values; do
        (( $#line > wide )) && wide=$#line
    done
    for line in $reply; do
        note=${line#*$'\t'}
        [[ -n $note ]] && how=(-l)
        shown+=("${(r:wide:)line%%$'\t'*}${note:+  -- $note}")
    done
    compset -p ${first[3]:-0}
    [[ ${first[2]} = 1 ]] && how+=(-S '')
    if (( $#reply )); then  # newest first, and no two of one description merged, as _describe would do
        _wanted -V words expl 'wfctl' compadd $how -d shown -a values && code=0
    fi
    case ${first[1]} in
        flows) _files -g '*.(yaml|yml)(-.)' && code=0 ;;
        files) _files && code=0 ;;
        folders) _files -/ && code=0 ;;
    esac
    return code
}
if [[ $funcstack[1] = _wfctl ]]; then
    _wfctl "$@"
elif (( $+functions[compdef] )); then
    compdef _wfctl wfctl
fi
"""

_FISH = r"""# Completion of wfctl for fish.
function __wfctl_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct | string collect)
    set -l reply (command wfctl __complete fish "$word" $words[2..-1] 2> /dev/null < /dev/null)
    set -l first (string split ' ' -- $reply[1])
    switch "$first[1]"
        case files
            __fish_complete_path (commandline -ct)
        case folders
            __fish_complete_directories (commandline -ct) ''
    end
    test (count $reply) -gt 1; and printf '%s\n' $reply[2..-1]
end
complete -c wfctl -f -k -a '(__wfctl_complete)'
"""

SHELLS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""The script for each shell."""


class Word(NamedTuple):
    """The word in which the cursor stands, without its quotes. A shell replaces what comes after `kept` characters, in
    `quote` where one is open."""

    text: str
    kept: int = 0
    quote: str = ""


def parsed(line: str, breaks: str = "") -> tuple[list[str], Word]:
    """The words of a line up to the cursor, as a shell would see them: nothing is expanded, and what is not closed is
    taken as far as it goes. `breaks` are those signs at which bash begins another part of a word."""
    words: list[str] = []
    text, kept, quote, begun, opened = "", 0, "", False, 0
    signs = iter(line)
    for sign in signs:
        if sign == quote:
            quote = ""
        elif sign == "\\" and quote != "'":
            following = next(signs, "")
            text += following if not quote or following in '"\\$`' else sign + following
            begun = True
        elif quote:
            text += sign
        elif sign in "'\"":
            quote, begun, opened = sign, True, len(text)
        elif sign in " \t\n":
            if begun:
                words.append(text)
            text, kept, begun = "", 0, False
        else:
            text, begun = text + sign, True
            if sign in breaks:
                kept = len(text)
    return words, Word(text, opened if quote else kept, quote)


def bash(reply: Reply, word: Word) -> list[str]:
    """The answer for bash, which neither chooses nor quotes: what replaces the word, from where bash replaces it."""
    full = [reply.prefix + candidate.value for candidate in shown(reply.candidates)]
    if reply.also == "flows":
        full += _flows(reply.prefix, word.text)
    found = [value for value in full if value.startswith(word.text)]
    also = reply.also.replace("flows", "words" if found else "files")
    goes_on = reply.goes_on or (len(found) == 1 and found[0].endswith("/"))
    texts = [_quoted(value[word.kept :], word.quote) for value in found]
    return [_first(also, goes_on), *(text for text in texts if text is not None)]


def zsh(reply: Reply, word: Word) -> list[str]:
    """The answer for zsh, which chooses, quotes and looks for files by itself."""
    lines = [f"{value}\t{note}" for value, note in shown(reply.candidates)]
    return [_first(reply.also, reply.goes_on, len(reply.prefix)), *lines]


def fish(reply: Reply, word: Word) -> list[str]:
    """The answer for fish, which chooses and quotes by itself."""
    lines = [f"{reply.prefix}{value}\t{note}" for value, note in shown(reply.candidates)]
    flows = _flows(reply.prefix, word.text) if reply.also == "flows" else []
    also = reply.also.replace("flows", "words" if flows or lines else "files")
    return [_first(also, reply.goes_on), *lines, *flows]


def shown(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that a terminal can show: none with a control character, and notes of one line."""
    return [Candidate(value, safe(note)[:80]) for value, note in candidates if value and safe(value) == value]


def _first(also: str, goes_on: bool, skip: int = 0) -> str:
    return f"{also or 'words'} {int(goes_on)} {skip}"


def _flows(prefix: str, word: str) -> list[str]:
    """The workflow files and folders that begin as what was typed does."""
    typed = word.removeprefix(prefix)
    folder, name = os.path.split(typed)
    found = []
    with os.scandir(os.path.expanduser(folder) or ".") as entries:
        for entry in entries:
            if not entry.name.startswith(name) or (entry.name.startswith(".") and not name.startswith(".")):
                continue
            path = os.path.join(folder, entry.name)
            if entry.is_dir():
                found.append(f"{prefix}{path}/")
            elif entry.name.endswith((".yaml", ".yml")):
                found.append(f"{prefix}{path}")
    return sorted(path for path in found if safe(path) == path)


_HARMLESS = frozenset("_@%+=:,./-")


def _quoted(text: str, quote: str) -> str | None:
    """Text that bash reads as itself inside an open quote, or outside of any; None where no such can be written."""
    if quote == "'":
        return text.replace("'", "'\\''")
    if quote:
        # In double quotes nothing hides this one from the history.
        return None if "!" in text else "".join(f"\\{sign}" if sign in '"\\$`' else sign for sign in text)
    return "".join(sign if sign.isalnum() or sign in _HARMLESS else f"\\{sign}" for sign in text)


def main(words: Sequence[str]) -> None:
    """Answer a script: `bash BREAKS LINE`, or `zsh|fish WORD WORDS…`. Says nothing where there is nothing to say."""
    from pathlib import Path

    from wfctl import completion
    from wfctl.cli import grammar

    shell, *rest = words
    if shell == "bash":
        before, word = parsed(rest[1], rest[0])
        before = before[1:]
    else:
        before, word = rest[1:], parsed(rest[0])[1]
    try:
        reply = completion.reply(before, word.text, grammar(before), Path.cwd(), os.environ)
    except Exception:  # a file that is being written, a folder that is gone: a key press is no place to tell
        reply = Reply()
    answer = {"bash": bash, "zsh": zsh, "fish": fish}[shell](reply, word)
    os.write(1, "".join(f"{line}\n" for line in answer).encode("utf-8", "surrogateescape"))
