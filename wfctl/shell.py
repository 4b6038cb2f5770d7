"""Where an expression may stand in a shell script: each becomes a variable that the shell expands in its place.

Knows nothing of values or processes. It reads just enough of the shell's grammar to be sure of every place; what it is
not sure of is a fault, for a guess would let a value run as code."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field
from typing import NoReturn

from wfctl.expr import Expression, Slip
from wfctl.programs import ASSIGNMENTS_THAT_RUN, code_words, reads_program
from wfctl.record import dataclass

VARIABLE_PREFIX = "WFCTL_VALUE_"
HOLE = "\0"
"""Stands for an expression in the text that is scanned: no script can hold one of its own."""
HINT = 'hand it over by "args", "env" or "stdin"'

_QUOTES_HINT = f"use double quotes, or {HINT}"

_PLAIN = re.compile(r"[^\s\\'\"$`|&;<>()#\0]+")
_BLANK = re.compile(r"(?:[ \t]|\\\n)+")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\[[^\]]*\])?\+?=", re.ASCII)
_REDIRECT = re.compile(r"&>>?|<<<|<<-?|<>|<&|>&|>>|>\||[<>]")
_RESERVED = {"if", "then", "else", "elif", "fi", "while", "until", "do", "done", "{", "}", "!", "esac", "time"}
_DESCRIPTOR = re.compile(r"\d+|\{\w+\}")
_OPENING = {"if", "do", "{"}
_CLOSING = {"fi", "done", "}"}
_END_OF_CASE = re.compile(r"esac(?![^\s;&|)])")
_END_OF_CONDITION = re.compile(r"\s+\]\](?![^\s;&|)])")


class ScriptFaults(ValueError):
    """Expressions stand where they cannot; every such place is in `slips`."""

    def __init__(self, slips: list[Slip]) -> None:
        self.slips = slips
        super().__init__("; ".join(slip.message for slip in slips))


@dataclass(slots=True)
class _Word:
    """One word of a command. `literal` has its quotes taken off and a NUL for whatever is not known before the run;
    expressions `first` to `last` (exclusive) stand in it, at any depth."""

    literal: str
    quoted: bool
    first: int
    last: int = 0
    expands: bool = False  # not quoted, so that it may become any number of words, also none

    def add(self, quoted: str, is_variable: bool = False) -> None:
        """Add what stood in quotes. A dollar sign that starts it is not one of a variable, which may become anything:
        the program of `awk '$1 > 3' file` is known."""
        known = quoted.startswith("$") and not is_variable and not self.literal
        self.literal += f"\\{quoted}" if known else quoted

    @property
    def has_value(self) -> bool:
        return self.last > self.first


@dataclass(slots=True)
class _Heredoc:
    delimiter: str
    quoted: bool
    tabs: bool
    start: int  # where its operator ends
    program: bool = False  # what reads it takes it for code


@dataclass(slots=True)
class _Level:
    """One list of commands: the script, or the inside of `$(…)`, `(…)` or a branch of `case`."""

    words: list[_Word] = field(default_factory=list)
    heredocs: list[_Heredoc] = field(default_factory=list)
    start: int = 0  # the first expression of this level
    pipeline: int = 0  # the first expression of this pipeline
    depth: int = 0  # compound commands that are open
    piped: bool = False  # the command reads from a pipe
    fed: bool = False  # the command reads from a redirection
    closed: bool = False  # the command is the end of a compound one


class _Unsure(Exception):
    pass


class Scanner:
    """Walks through the script once, and writes it anew with variables in the place of expressions."""

    def __init__(self, text: str, values: tuple[Expression, ...], strict: bool) -> None:
        self.text = text
        self.end = len(text)
        self.values = values
        self.strict = strict  # a shell that computes where others read numbers
        self.at = 0
        self.seen = 0  # expressions so far
        self.out: list[str] = []
        self.copied = 0
        self.forbidden = ""  # where we are, if no expression may stand there
        self.slips: dict[int, Slip] = {}
        self.printed: set[int] = set()  # expressions that echo, printf or a here-document hands on as text
        self.assigned: set[int] = set()
        self.declared: set[int] = set()
        self.integers = False  # some variable is declared to be a number: assigning to it computes
        self.arrays = False  # or an array: declaring it again computes subscripts
        self.levels = 0
        self.document = False  # directly in a here-document, where quotes are ordinary characters
        self.inherits = False  # an interpreter reads code from whatever the commands around it read

    def scan(self) -> str:
        try:
            self.commands("")
        except _Unsure as unsure:
            for i in range(max(self.seen - 1, 0), len(self.values)):
                self.refuse(i, f"where {unsure}", HINT)
        except RecursionError:
            self.refuse(0, "in a script nested this deeply", HINT)
        if self.integers:
            for i in self.assigned:
                self.refuse(i, "in an assignment where the script declares variables as numbers", HINT)
        if self.arrays:
            for i in self.declared:
                self.refuse(i, "in a declaration where the script declares arrays", HINT)
        if self.inherits:
            for i in self.printed:
                self.refuse(i, "where an interpreter may read it as a program", HINT)
        if self.slips:
            raise ScriptFaults([self.slips[i] for i in sorted(self.slips)])
        return "".join(self.out) + self.text[self.copied :]

    # -- expressions

    def refuse(self, i: int, place: str, hint: str) -> None:
        self.slips.setdefault(i, Slip(f"{self.values[i]} cannot stand {place}", hint, self.values[i].offset))

    def refuse_all(self, first: int, last: int, place: str, hint: str = HINT) -> None:
        for i in range(first, last):
            self.refuse(i, place, hint)

    def value(self, quoted: bool) -> None:
        """Put a variable in the place of the expression here, in quotes of its own unless it is `quoted` already."""
        i = self.seen
        self.seen += 1
        name = f"${{{VARIABLE_PREFIX}{i + 1}}}"
        if self.forbidden:
            self.refuse(i, self.forbidden, _QUOTES_HINT if self.forbidden == "in single quotes" else HINT)
        self.out += (self.text[self.copied : self.at], name if quoted else f'"{name}"')
        self.at += 1
        self.copied = self.at

    def inside(self, place: str, scan: Callable[[], None]) -> None:
        """Scan what no expression may stand in, at any depth."""
        outer = self.forbidden
        self.forbidden = outer or place
        scan()
        self.forbidden = outer

    def unsure(self, why: str) -> NoReturn:
        raise _Unsure(why)

    # -- characters

    def here(self, text: str) -> bool:
        return self.text.startswith(text, self.at, self.end)

    def skip(self, text: str) -> bool:
        found = self.here(text)
        if found:
            self.at += len(text)
        return found

    def blanks(self) -> None:
        if match := _BLANK.match(self.text, self.at, self.end):
            self.at = match.end()

    def until(self, close: str, opening: str = "") -> None:
        """Everything up to the closing bracket, past quotes of all kinds and pairs of the same bracket."""
        while not self.skip(close):
            if self.at >= self.end:
                self.unsure(f'"{close}" is missing')
            if opening and self.skip(opening):
                self.until(close, opening)
            else:
                self.piece()

    def computed(self) -> None:
        """The inside of `((…))`. Where the two brackets do not close together it was a subshell, not read here."""
        self.until(")", "(")
        if not self.skip(")"):
            self.unsure('"((" is not closed by "))"')

    def piece(self) -> None:
        """One piece of text inside brackets that no expression may stand in."""
        char = self.text[self.at]
        if char == HOLE:
            self.value(quoted=True)
        elif char == "\\":
            self.escaped()
        elif char == "'":
            self.single_quotes()
        elif char == '"':
            self.double_quotes()
        elif char == "`":
            self.backticks()
        elif char == "$":
            self.dollar(quoted=False)
        else:
            self.at += 1

    def escaped(self) -> None:
        """A backslash and what it escapes."""
        self.at += 1
        if self.here(HOLE):
            self.inside("after a backslash", lambda: self.value(quoted=True))
        elif self.at < self.end:
            self.at += 1

    def single_quotes(self) -> None:
        def scan() -> None:
            self.at += 1
            while not self.skip("'"):
                if self.at >= self.end:
                    self.unsure("a single quote is not closed")
                if self.here(HOLE):
                    self.value(quoted=True)
                else:
                    self.at += 1

        self.inside("in single quotes", scan)

    def double_quotes(self) -> None:
        self.at += 1
        while not self.skip('"'):
            if self.at >= self.end:
                self.unsure("a double quote is not closed")
            self.quoted_piece()

    def quoted_piece(self) -> None:
        """One piece of what stands in double quotes, or in a here-document."""
        char = self.text[self.at]
        if char == HOLE:
            self.value(quoted=True)
        elif char == "\\":
            self.escaped()
        elif char == "`":
            self.backticks()
        elif char == "$":
            self.dollar(quoted=True)
        else:
            self.at += 1

    def backticks(self) -> None:
        def scan() -> None:
            self.at += 1
            while not self.skip("`"):
                if self.at >= self.end:
                    self.unsure("a backtick is not closed")
                if self.here(HOLE):
                    self.value(quoted=True)
                else:
                    self.at += 2 if self.here("\\") and self.text[self.at + 1 : self.at + 2] != HOLE else 1

        self.inside("in backticks", scan)

    def dollar(self, quoted: bool) -> None:
        """`$` and what it starts; `quoted` tells whether it stands in double quotes."""
        self.at += 1
        if self.skip("(("):
            self.inside("in $((…))", self.computed)
        elif self.skip("("):
            self.commands(")")
        elif self.skip("{"):
            start = self.at
            self.inside("in ${…}", lambda: self.until("}"))
            inside = self.text[start : self.at]
            if quoted and ("'" in inside or (self.document and '"' in inside)):
                self.unsure("a quote stands in ${…} in quotes")
        elif self.skip("["):
            self.inside("in $[…]", lambda: self.until("]", "["))
        elif self.here("'") and not quoted:
            start = self.at
            self.inside("in $'…'", self.single_quotes)
            if "\\" in self.text[start : self.at] and self.text[self.at - 2] == "\\":
                self.unsure("a quote is escaped in $'…'")
        elif self.here('"') and not quoted:
            self.inside('in $"…"', self.double_quotes)

    # -- commands

    def commands(self, close: str) -> str:
        """Commands up to the closing text: `)`, the end of a branch (`;;`), or the end of the script (""). Says what
        ended them, for a branch may end with `esac` too."""
        outer, self.document = self.document, False
        self.levels += 1
        level = _Level(start=self.seen, pipeline=self.seen)
        ended = self.command_list(level, close)
        if level.heredocs:
            self.unsure("a here-document starts in the last line of brackets")
        self.levels -= 1
        self.document = outer
        return ended

    def command_list(self, level: _Level, close: str) -> str:
        while True:
            self.blanks()
            if self.at >= self.end:
                if close:
                    self.unsure(f'"{close}" is missing')
                self.newline(level)
                return ""
            char = self.text[self.at]
            if char == "\n":
                self.at += 1
                self.newline(level)
            elif char == "#":
                self.inside("in a comment", self.comment)
            elif close == ")" and char == ")":
                self.at += 1
                self.finish(level)
                return ")"
            elif close == ";;" and (ending := next((e for e in (";;&", ";;", ";&") if self.here(e)), "")):
                self.at += len(ending)
                self.finish(level)
                return ending
            elif char in ";&|" and not self.here("&>"):
                self.separator(level)
            elif (redirect := _REDIRECT.match(self.text, self.at, self.end)) and not self.substitution():
                self.at = redirect.end()
                self.redirect(level, redirect[0])
            elif char in "()":
                self.parenthesis(level)
            elif self.word_of_command(level) == "esac" and close == ";;":
                return "esac"

    def comment(self) -> None:
        while self.at < self.end and self.text[self.at] != "\n":
            if self.text[self.at] == HOLE:
                self.value(quoted=True)
            else:
                self.at += 1

    def substitution(self) -> bool:
        return self.here("<(") or self.here(">(")

    def separator(self, level: _Level) -> None:
        for sign in ("&&", "||", "|&", "|", "&", ";"):
            if self.skip(sign):
                start = level.start if level.closed else level.pipeline
                self.finish(level)
                level.piped = sign in ("|", "|&")
                if level.piped:
                    level.pipeline = start
                return

    def newline(self, level: _Level) -> None:
        self.finish(level)
        documents, level.heredocs = level.heredocs, []
        for document in documents:
            if document is documents[0] and self.text.find("\n", document.start, self.at - 1) >= 0:
                self.unsure("a here-document starts in a line that goes on")
            self.heredoc(document)
        if not level.piped:  # else the pipeline goes on in this line
            level.pipeline = self.seen

    def parenthesis(self, level: _Level) -> None:
        words = level.words
        if self.here("(("):
            if words and [w.literal for w in words] != ["for"]:
                self.unsure('"((" stands in a command')
            self.at += 2
            self.inside("in ((…))", self.computed)
            level.closed = True
        elif self.skip("("):
            if len(words) == 1 and not words[0].quoted and not words[0].has_value and self.function_follows():
                words.clear()
            elif words:
                self.unsure('"(" stands in a command')
            else:
                self.commands(")")
                level.closed = True
        else:
            self.unsure('")" closes nothing')

    def function_follows(self) -> bool:
        self.blanks()
        return self.skip(")")

    def word_of_command(self, level: _Level) -> str:
        """Take one word; those that only start or end a compound command leave the next word in first place."""
        word = self.word()
        bare = "" if word.quoted or word.has_value else word.literal
        if level.words or not bare:
            level.words.append(word)
        elif bare in _RESERVED:
            level.closed = level.closed or bare in _CLOSING
            level.depth += (bare in _OPENING) - (bare in _CLOSING)
            return bare
        elif bare == "[[":
            self.inside("in [[ ]]", self.conditional)
            level.closed = True
        elif bare == "case":
            self.case()
            level.closed = True
        elif bare == "function":
            self.blanks()
            self.inside("as the name of a function", self.skip_word)
            self.blanks()
            if self.skip("(") and not self.function_follows():
                self.unsure("a function has arguments")
        else:
            level.words.append(word)
        return ""

    def skip_word(self) -> None:
        self.word()

    def conditional(self) -> None:
        while True:
            if self.at >= self.end:
                self.unsure('"]]" is missing')
            if end := _END_OF_CONDITION.match(self.text, self.at, self.end):
                self.at = end.end()
                return
            self.piece()

    def case(self) -> None:
        self.blanks()
        self.word()
        self.space()
        if self.at >= self.end or self.word().literal != "in":
            self.unsure('"in" is missing after "case"')
        while True:
            self.space()
            if _END_OF_CASE.match(self.text, self.at, self.end):
                self.at += 4
                return
            self.skip("(")
            self.inside("in a pattern of case", self.pattern)
            if self.commands(";;") == "esac":
                return

    def space(self) -> None:
        """Blanks, empty lines and comments."""
        while True:
            self.blanks()
            if self.here("#"):
                self.inside("in a comment", self.comment)
            elif not self.skip("\n"):
                return

    def pattern(self) -> None:
        while not self.skip(")"):
            self.blanks()
            if self.at >= self.end or self.text[self.at] in "\n;&<>(":
                self.unsure("a pattern of case is not closed")
            if not self.skip("|") and not self.here(")"):
                self.word()

    def redirect(self, level: _Level, sign: str) -> None:
        # What is glued to it, a number or a name in braces, is no argument: 2>file
        before = self.at - len(sign) - 1
        if level.words and self.text[before] not in " \t\n" and _DESCRIPTOR.fullmatch(level.words[-1].literal):
            level.words.pop()
        level.fed = level.fed or sign[0] == "<"
        self.blanks()
        if self.at >= self.end or (self.text[self.at] in "\n;&|<>()#" and not self.substitution()):
            self.unsure(f'nothing follows "{sign}"')
        if sign in ("<<", "<<-"):
            start = self.at
            self.inside("in the delimiter of a here-document", self.skip_word)
            raw = self.text[start : self.at]
            plain = re.sub(r"""['"\\]""", "", raw)
            if any(char in raw for char in "$`\n"):
                self.unsure("a here-document has such a delimiter")
            level.heredocs.append(_Heredoc(plain, plain != raw, sign == "<<-", start))
            return
        target = self.word()
        if sign == "<<<":
            self.printed.update(range(target.first, target.last))
        elif sign in (">&", "<&"):
            self.refuse_all(target.first, target.last, f"after {sign}")

    def word(self) -> _Word:
        """One word, with all quotes and substitutions in it."""
        word = _Word("", False, self.seen)
        start = self.at
        while self.at < self.end:
            before = self.at
            char = self.text[before]
            if plain := _PLAIN.match(self.text, before, self.end):
                self.at = plain.end()
                word.literal += plain[0]
            elif char == "#" and before > start:
                self.at += 1
                word.literal += "#"
            elif char == HOLE:
                self.value(quoted=False)
                word.literal += HOLE
            elif char == "'":
                self.single_quotes()
                word.quoted = True
                word.add(self.text[before + 1 : self.at - 1])
            elif char == '"':
                self.double_quotes()
                word.quoted = True
                inside = self.text[before + 1 : self.at - 1]
                plain_text = re.sub(r"\\([$`\"\\])", r"\1", inside)
                word.add(plain_text, is_variable=inside.startswith("$"))
            elif self.skip("\\\n"):
                pass
            elif char == "\\":
                self.escaped()
                word.quoted = True
                word.add(self.text[before + 1 : self.at])
            elif char == "`":
                self.backticks()
                word.expands = True
                word.literal += HOLE
            elif char == "$":
                self.dollar(quoted=False)
                word.expands = True
                raw = self.text[before : self.at]
                word.literal += HOLE if raw.startswith("$(") else raw
            elif self.substitution():
                self.at += 2
                self.commands(")")
                word.literal += "<(" + HOLE
            elif char == "(" and _ASSIGNMENT.fullmatch(word.literal):
                self.array()
            else:
                break
        word.last = self.seen
        if self.at == start:
            found = self.text[start : start + 1] if start < self.end else ""
            self.unsure(f"{found!r} is not understood" if found else "a word is missing at the end")
        return word

    def array(self) -> None:
        """The elements of `name=( … )`."""
        self.at += 1
        while True:
            self.space()
            if self.skip(")"):
                return
            if self.at >= self.end or (self.text[self.at] in ";&|<>(" and not self.substitution()):
                self.unsure("an array is not closed")
            element = self.word()
            if element.literal.startswith("["):
                self.refuse_all(element.first, element.last, "in the subscript of an array")

    def heredoc(self, document: _Heredoc) -> None:
        """The body, whose end is found by whole lines before anything in it is read, as the shell does."""
        start = self.at
        while True:
            if self.at >= self.end:
                self.unsure(f'the here-document "{document.delimiter}" is not closed')
            line_start = self.at
            stop = self.text.find("\n", self.at, self.end)
            stop = self.end if stop < 0 else stop
            line = self.text[line_start:stop]
            self.at = min(stop + 1, self.end)
            if (line.lstrip("\t") if document.tabs else line) == document.delimiter:
                break
            joined = not document.quoted and (len(line) - len(line.rstrip("\\"))) % 2
            if joined and self.text[self.at : self.end].split("\n", 1)[0].lstrip("\t") == document.delimiter:
                self.unsure("a backslash joins the end of a here-document to the line before")
        after = self.at
        first = self.seen
        outer_end, self.end, self.at = self.end, line_start, start
        if document.quoted:
            self.inside("in a here-document with a quoted delimiter", lambda: self.raw(line_start))
        elif document.program:
            self.inside("in a program for another interpreter", lambda: self.body(line_start))
        else:
            self.body(line_start)
        self.end, self.at = outer_end, after
        self.printed.update(range(first, self.seen))

    def raw(self, stop: int) -> None:
        while self.at < stop:
            if self.here(HOLE):
                self.value(quoted=True)
            else:
                self.at += 1

    def body(self, stop: int) -> None:
        outer, self.document = self.document, True
        while self.at < stop:
            self.quoted_piece()
        self.document = outer

    # -- what a command does with its words

    def finish(self, level: _Level) -> None:
        """The command is complete: refuse expressions where it would take them for code."""
        words, level.words = level.words, []
        if not words and not level.closed:
            return
        while words and (assignment := _ASSIGNMENT.match(words[0].literal)) is not None:
            self.assignment(words.pop(0), assignment)
        if words and words[0].literal in ("for", "select") and len(words) > 1:
            self.refuse_all(words[1].first, words[1].last, f"as the variable of {words[0].literal}")
        if words and words[0].literal.startswith("<("):
            self.unsure("a process substitution names the command")
        for i, word in enumerate(words):
            self.command(level, words[i:])
            if not word.expands:  # else it may come to nothing, and the next word is the command
                break
        level.closed = level.piped = level.fed = False
        level.pipeline = self.seen

    def command(self, level: _Level, words: list[_Word]) -> None:
        name = words[0].literal.replace(HOLE, "")  # what is not known may be nothing: $(true)eval
        literals = [name, *(word.literal for word in words[1:])]
        if words[-1].last > words[0].first:
            for i, place in code_words(literals, self.strict):
                self.refuse_all(words[i].first, words[i].last, place)
        if name in ("declare", "typeset", "local", "readonly", "export", "integer"):
            self.declaration(words)
        if name in ("echo", "printf", "print"):
            self.printed.update(range(words[0].first, words[-1].last))
        if reads_program(literals):
            nested = self.levels > 1 or level.depth > 0
            self.inherits = self.inherits or (nested and not level.piped and not level.fed)
            for i in self.printed.intersection(range(level.pipeline, self.seen)):
                self.refuse(i, f"in a program for {name}", HINT)
            for document in level.heredocs:
                document.program = True

    def assignment(self, word: _Word, assignment: re.Match[str]) -> None:
        if assignment[2] and HOLE in assignment[2]:
            self.refuse_all(word.first, word.last, "in the subscript of an array")
        if assignment[1] in ASSIGNMENTS_THAT_RUN or assignment[1].startswith("BASH_"):
            self.refuse_all(word.first, word.last, f"in {assignment[1]}, which the shell computes or runs")
        self.assigned.update(range(word.first, word.last))

    def declaration(self, words: list[_Word]) -> None:
        options = "".join(word.literal for word in words[1:] if word.literal[:1] in ("-", "+"))
        if "i" in options or words[0].literal == "integer" or (self.strict and set(options) & set("EFLRZ")):
            self.integers = True
        if set(options) & set("aA"):
            self.arrays = True
        for word in words[1:]:
            assignment = _ASSIGNMENT.match(word.literal)
            if assignment and not set(options) & set("aAn"):
                self.assignment(word, assignment)
                self.declared.update(range(word.first, word.last))
            else:
                self.refuse_all(word.first, word.last, f"in an argument of {words[0].literal} that is not NAME=value")
