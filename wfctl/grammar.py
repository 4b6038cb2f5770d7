"""The language inside `${{ }}`: one expression becomes a function of the names, and a list of what it names.

Knows nothing of the text around an expression, nor which names there are.

A parser and evaluator of our own, not simpleeval: that asks Python objects for attributes before it looks into a
mapping (`nodes.x.items` would be a method), walks every value it meets (a loop over a long list costs its square),
keeps its limits in module globals, and needs Python's parser, which cannot read `nodes.call-variants.import`. Here an
expression becomes a nest of closures over plain data; what the grammar does not name does not exist."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NoReturn

from wfctl.errors import Where, nearest
from wfctl.functions import (
    ARITHMETIC,
    COMPARISONS,
    FUNCTIONS,
    MAX_DIGITS,
    UNKNOWN,
    Budget,
    ExpressionError,
    Missing,
    Unknown,
    cut,
    look_up,
    negate,
)
from wfctl.record import dataclass

MAX_SOURCE = 10_000  # characters of one expression
MAX_NESTING = 40  # brackets in brackets; with MAX_OPERATORS it keeps us far from Python's limit of recursion
MAX_OPERATORS = 300
TURN = 20  # steps of the budget that one turn of a comprehension costs


@dataclass(frozen=True, slots=True)
class Slip:
    """A fault in the text of an expression. `offset` counts characters into the text that holds it; where that text
    was found inside a list or mapping, `where` leads to it."""

    message: str
    hint: str = ""
    offset: int = 0
    where: Where = ()


class ExpressionSyntax(ValueError):
    """A text cannot be read; every reason that was found is in `slips`."""

    def __init__(self, slips: list[Slip]) -> None:
        self.slips = slips
        super().__init__("; ".join(slip.message for slip in slips))


@dataclass(frozen=True, slots=True)
class Reference:
    """A name and the names that follow it, as far as they are written out: `nodes.a.output["x"][i].y` has the path
    `("nodes", "a", "output", "x")`. `guarded`: it stands in the first argument of `default`, so it may be missing."""

    path: tuple[str, ...]
    offset: int
    guarded: bool = False


class Scope(Budget):
    """One evaluation: the names, the variables of comprehensions, and the work that may still be done."""

    __slots__ = ("bound", "names")

    def __init__(self, names: Mapping[str, object]) -> None:
        super().__init__()
        self.names = names
        self.bound: dict[str, object] = {}


Evaluate = Callable[[Scope], object]


@dataclass(frozen=True, slots=True)
class Code:
    """What the text of one expression means, wherever it stands: offsets count from its own start."""

    evaluate: Evaluate
    references: tuple[Reference, ...]
    slips: tuple[Slip, ...] = ()
    is_path: bool = False  # nothing but a name and names: its value is data that exists already


_SIMPLE = re.compile(r"([A-Za-z_]\w*)((?:\.[A-Za-z_][\w-]*)*)", re.ASCII)
_TOKEN = re.compile(
    r"""\s*(?: (?P<number> \d[\w.]*(?:(?<=[eE])[+-]\d+)? )
          | (?P<text> "(?>(?:[^"\\]|\\.)*)" | '(?>(?:[^'\\]|\\.)*)' )
          | \.\s*(?P<member> [A-Za-z_][\w-]* )
          | (?P<name> [A-Za-z_]\w* )
          | (?P<sign> ==|!=|<=|>=|//|\*\*|[-+*/%<>()\[\]{},:] ) )""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_NUMBER = re.compile(r"(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "/": "/"}
_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None}
_FOREIGN = {"True": "true", "False": "false", "None": "null", "is": "=="}
_FOREIGN |= {"&&": "and", "||": "or", "!": "not", "=": "=="}
_KEYWORDS = {"and", "or", "not", "in", "if", "else", "for", "is", "lambda", "True", "False", "None"}

_TERNARY, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _POWER = range(1, 10)
_BINDING = {"if": _TERNARY, "or": _OR, "and": _AND, "+": _SUM, "-": _SUM, "**": _POWER}
_BINDING |= dict.fromkeys(("*", "/", "//", "%"), _PRODUCT) | dict.fromkeys((*COMPARISONS, "not"), _COMPARE)


@lru_cache(maxsize=8192)
def compile_expression(source: str) -> Code:
    """The meaning of one expression; raises ExpressionSyntax."""
    if len(source) > MAX_SOURCE:
        slip = Slip(f"an expression of {len(source):,} characters", f"at most {MAX_SOURCE:,}; let a node compute it")
        raise ExpressionSyntax([slip])
    simple = _SIMPLE.fullmatch(source)
    if simple and simple[1] not in _KEYWORDS and simple[1] not in _WORDS:
        path = tuple(source.split("."))
        return Code(_path(path), (Reference(path, 0),), is_path=True)
    return _Parser(source).parse()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    offset: int


class _Parser:
    """Reads one expression by precedence climbing, and makes its evaluator on the way."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = list(self.scan(source))
        self.at = 0
        self.depth = 0
        self.operators = 0
        self.references: list[Reference] = []
        self.slips: list[Slip] = []

    @staticmethod
    def scan(source: str) -> Iterator[_Token]:
        at = 0
        while match := _TOKEN.match(source, at):
            kind = match.lastgroup or ""
            yield _Token(kind, match[kind], match.start(kind))
            at = match.end()
        rest = source[at:].lstrip()
        offset = len(source) - len(rest)
        if rest:
            found = rest[:2] if rest[:2] in _FOREIGN else rest[0]
            if found in "'\"":
                raise ExpressionSyntax([Slip(f"a text that starts with {found} is not closed", "", offset)])
            hint = f'write "{_FOREIGN[found]}"' if found in _FOREIGN else "expressions know + - * / // % ** and or not"
            raise ExpressionSyntax([Slip(f'"{found}" means nothing here', hint, offset)])
        yield _Token("end", "", len(source))

    def parse(self) -> Code:
        evaluate = self.expression()
        if self.token.kind != "end":
            self.unexpected("an operator")
        return Code(evaluate, tuple(self.references), tuple(self.slips))

    # -- tokens

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def sees(self, text: str) -> bool:
        """The next token is this sign or keyword; a text or member of that spelling is not."""
        token = self.tokens[self.at]
        return token.text == text and token.kind in ("sign", "name")

    def skip(self, text: str) -> bool:
        found = self.sees(text)
        self.at += found
        return found

    def expect(self, text: str) -> None:
        if not self.skip(text):
            self.unexpected(f'"{text}"')

    def fail(self, message: str, hint: str = "", offset: int | None = None) -> NoReturn:
        raise ExpressionSyntax([*self.slips, Slip(message, hint, self.token.offset if offset is None else offset)])

    def unexpected(self, wanted: str) -> NoReturn:
        token = self.token
        if token.kind == "end":
            self.fail("the expression is empty" if len(self.tokens) == 1 else f"{wanted} is missing at the end")
        hint = f'write "{_FOREIGN[token.text]}"' if token.text in _FOREIGN else ""
        found = token.text[:40] if token.kind == "text" else f'"{token.text[:40]}"'
        self.fail(f"{wanted} is missing before {found}", hint)

    # -- grammar

    def expression(self, level: int = _TERNARY) -> Evaluate:
        """An expression of operators that bind at least as strongly as the level."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            self.fail("an expression nested too deeply", "let a node compute it")
        left = self.prefix()
        while (token := self.token).kind in ("sign", "name"):
            binding = _BINDING.get(token.text, 0)
            if not binding or binding < level:
                break
            self.count()
            left = self.infix(left, binding)
        self.depth -= 1
        return left

    def count(self) -> None:
        self.operators += 1
        if self.operators > MAX_OPERATORS:
            self.fail(f"an expression of more than {MAX_OPERATORS} operators", "let a node compute it")

    def infix(self, left: Evaluate, binding: int) -> Evaluate:
        if binding == _COMPARE:
            return self.comparison(left)
        symbol = self.take().text
        if binding == _TERNARY:
            test = self.expression(_OR)
            self.expect("else")
            other = self.expression(_TERNARY)
            return lambda scope: left(scope) if test(scope) else other(scope)
        if binding == _POWER:
            return _binary(symbol, left, self.expression(_SIGN))
        right = self.expression(binding + 1)
        if symbol == "or":
            return lambda scope: left(scope) or right(scope)
        if symbol == "and":
            return lambda scope: left(scope) and right(scope)
        return _binary(symbol, left, right)

    def comparison(self, first: Evaluate) -> Evaluate:
        """A chain as in Python: `a < b < c` is `a < b and b < c`."""
        chain = []
        while (token := self.token).kind in ("sign", "name") and _BINDING.get(token.text) == _COMPARE:
            self.count()
            symbol = self.take().text
            if symbol == "not":
                self.expect("in")
                symbol = "not in"
            chain.append((COMPARISONS[symbol], symbol in ("in", "not in", "==", "!="), self.expression(_SUM)))

        def evaluate(scope: Scope) -> object:
            left = first(scope)
            for compare, walks, operand in chain:
                right = operand(scope)
                if walks:
                    scope.spend_on(right)
                if not compare(left, right):
                    return False
                left = right
            return True

        return evaluate

    def prefix(self) -> Evaluate:
        token = self.take()
        match token.kind, token.text:
            case "number", text:
                return self.postfix(_constant(self.number(token, text)))
            case "text", text:
                return self.postfix(_constant(self.unquoted(token)))
            case "name", "not":
                operand = self.expression(_NOT)
                return lambda scope: not operand(scope)
            case "name", text if text in _WORDS:
                return self.postfix(_constant(_WORDS[text]))
            case "name", text if text not in _KEYWORDS:
                return self.postfix(self.call(token) if self.sees("(") else self.path(token))
            case "sign", "-":
                operand = self.expression(_SIGN)
                return lambda scope: negate(operand(scope))
            case "sign", "+":
                return self.expression(_SIGN)
            case "sign", "(":
                return self.postfix(self.group())
            case "sign", "[":
                return self.postfix(self.list_or_comprehension())
            case "sign", "{":
                return self.postfix(self.mapping())
        self.at -= 1
        return self.unexpected("a value")

    def number(self, token: _Token, text: str) -> int | float:
        match = _NUMBER.fullmatch(text)
        if not match:
            self.fail(f'"{text[:40]}" is no number', f'as text it wants quotes: "{text[:40]}"', token.offset)
        if len(match[1]) > MAX_DIGITS:
            self.fail(f"a number of more than {MAX_DIGITS:,} digits", "", token.offset)
        value = float(text) if match[2] or match[3] else int(text)
        if value in (float("inf"), float("-inf")):
            self.fail(f'"{text[:40]}" is larger than any number here', "", token.offset)
        return value

    def unquoted(self, token: _Token) -> str:
        def escaped(match: re.Match[str]) -> str:
            code = match[1]
            if len(code) > 1:
                return chr(int(code[1:], 16))
            if code not in _ESCAPED:
                slip = Slip(f'"\\{code}" means nothing in a text', "write \\\\ for a backslash", token.offset)
                self.slips.append(slip)
            return _ESCAPED.get(code, code)

        return _ESCAPE.sub(escaped, token.text[1:-1])

    def path(self, root: _Token) -> Evaluate:
        names = [root.text]
        while True:
            if self.token.kind == "member":
                names.append(self.take().text)
            elif self.sees("[") and self.tokens[self.at + 1].kind == "text" and self.tokens[self.at + 2].text == "]":
                names.append(self.unquoted(self.tokens[self.at + 1]))
                self.at += 3
            else:
                break
        path = tuple(names)
        self.references.append(Reference(path, root.offset))
        return _path(path)

    def postfix(self, value: Evaluate) -> Evaluate:
        while True:
            if self.token.kind == "member":
                self.count()
                value = _member(value, _constant(self.take().text))
            elif self.skip("["):
                self.count()
                value = self.subscript(value)
            elif self.sees("("):
                self.fail("only functions can be called", "they are " + ", ".join(FUNCTIONS))
            else:
                return value

    def subscript(self, value: Evaluate) -> Evaluate:
        bounds: list[Evaluate] = []
        for _ in range(3):
            bounds.append(_constant(None) if self.sees(":") or self.sees("]") else self.expression())
            if not self.skip(":"):
                break
            if self.sees("]"):
                bounds.append(_constant(None))
                break
        empty = self.tokens[self.at - 1].text == "["
        if empty or not self.sees("]"):
            self.unexpected("an index" if empty else '"]"')
        self.take()
        if len(bounds) == 1:
            return _member(value, bounds[0])
        start, stop, step = (*bounds, _constant(None))[:3]

        def evaluate(scope: Scope) -> object:
            part = cut(value(scope), start(scope), stop(scope), step(scope))
            scope.spend_on(part)
            return part

        return evaluate

    def call(self, name: _Token) -> Evaluate:
        self.take()
        arguments: list[Evaluate] = []
        guards = 0, 0
        while not self.sees(")"):
            mark = len(self.references)
            arguments.append(self.expression())
            if len(arguments) == 1:
                guards = mark, len(self.references)
            if not self.skip(","):
                break
        self.expect(")")
        function = FUNCTIONS.get(name.text)
        if function is None:
            hint = nearest(name.text, FUNCTIONS) or "there are " + ", ".join(FUNCTIONS)
            self.slips.append(Slip(f'no function named "{name.text}"', hint, name.offset))
            return _failing(f'no function named "{name.text}"')
        if not function.least <= len(arguments) <= function.most:
            wanted = str(function.least) + (f" to {function.most}" if function.most > function.least else "")
            message = f"{name.text} takes {wanted} argument{'' if wanted == '1' else 's'}, not {len(arguments)}"
            self.slips.append(Slip(message, "", name.offset))
            return _failing(message)
        if name.text == "default":
            for i in range(*guards):
                self.references[i] = Reference(self.references[i].path, self.references[i].offset, guarded=True)
            return _default(*arguments)
        if name.text == "file" and (self.token.kind != "end" or name.offset):
            self.slips.append(Slip("file(x) must be the whole expression", "", name.offset))
        return _call(name.text, function.call, function.walks, arguments)

    def elements(self, close: str) -> list[Evaluate]:
        values = []
        while not self.sees(close):
            values.append(self.expression())
            if not self.skip(","):
                break
        self.expect(close)
        return values

    def group(self) -> Evaluate:
        """`(x)`; and `(a, b)`, which is a list, for there are no tuples."""
        if self.skip(")"):
            return lambda scope: []
        first = self.expression()
        if self.skip(","):
            return _list([first, *self.elements(")")])
        self.expect(")")
        return first

    def list_or_comprehension(self) -> Evaluate:
        if self.skip("]"):
            return lambda scope: []
        mark = len(self.references)
        first = self.expression()
        if self.sees("for"):
            return self.comprehension(first, mark)
        if self.skip(","):
            return _list([first, *self.elements("]")])
        self.expect("]")
        return _list([first])

    def comprehension(self, element: Evaluate, mark: int) -> Evaluate:
        loops: list[_Loop] = []
        outside: list[Reference] = []  # what is read before any variable of ours exists
        bound: set[str] = set()
        while self.skip("for"):
            self.count()
            names = self.targets()
            self.expect("in")
            start = len(self.references)
            source = self.expression(_OR)
            if not loops:
                outside = self.references[start:]
                del self.references[start:]
            bound.update(names)
            tests = []
            while self.skip("if"):
                self.count()
                tests.append(self.expression(_OR))
            loops.append(_Loop(tuple(names), source, tests))
        self.expect("]")
        inside = [reference for reference in self.references[mark:] if reference.path[0] not in bound]
        self.references[mark:] = inside + outside
        return _comprehension(element, loops)

    def targets(self) -> list[str]:
        names = []
        while True:
            token = self.take()
            if token.kind != "name" or token.text in _KEYWORDS or token.text in _WORDS:
                self.at -= 1
                self.unexpected("a name")
            names.append(token.text)
            if not self.skip(","):
                return names

    def mapping(self) -> Evaluate:
        entries = []
        while not self.sees("}"):
            key = self.expression()
            self.expect(":")
            entries.append((key, self.expression()))
            if not self.skip(","):
                break
        self.expect("}")

        def evaluate(scope: Scope) -> object:
            made: dict[str, object] = {}
            for key, value in entries:
                name = key(scope)
                if not isinstance(name, str):
                    raise ExpressionError("the keys of a mapping are text")
                made[name] = value(scope)
            return made

        return evaluate


# ---- evaluators


@dataclass(frozen=True, slots=True)
class _Loop:
    """One `for … in … if …` of a comprehension."""

    names: tuple[str, ...]
    source: Evaluate
    tests: list[Evaluate]


def _constant(value: object) -> Evaluate:
    return lambda scope: value


def _failing(message: str) -> Evaluate:
    def evaluate(scope: Scope) -> NoReturn:
        raise ExpressionError(message)

    return evaluate


def _binary(symbol: str, left: Evaluate, right: Evaluate) -> Evaluate:
    compute = ARITHMETIC[symbol]

    def evaluate(scope: Scope) -> object:
        value = compute(left(scope), right(scope))
        if not isinstance(value, (int, float)):
            scope.spend_on(value)
        return value

    return evaluate


def _member(value: Evaluate, key: Evaluate) -> Evaluate:
    return lambda scope: look_up(value(scope), key(scope))


def _list(elements: list[Evaluate]) -> Evaluate:
    return lambda scope: [element(scope) for element in elements]


def _default(first: Evaluate, second: Evaluate) -> Evaluate:
    def evaluate(scope: Scope) -> object:
        bound = scope.bound
        try:
            value = first(scope)
        except Missing:
            scope.bound = bound
            value = None
        return second(scope) if value is None else value

    return evaluate


def _call(name: str, function: Callable[..., object], walks: bool, arguments: list[Evaluate]) -> Evaluate:
    def evaluate(scope: Scope) -> object:
        values = [argument(scope) for argument in arguments]
        if walks:
            for value in values:
                scope.spend_on(value)
        try:
            value = function(*values)
        except Missing as error:
            raise Missing(f"{name}: {error}") from None
        except ExpressionError as error:
            raise ExpressionError(f"{name}: {error}") from None
        if walks:
            scope.spend_on(value)
        return value

    return evaluate


def _comprehension(element: Evaluate, loops: list[_Loop]) -> Evaluate:
    def fill(scope: Scope, depth: int, made: list[object]) -> None:
        if depth == len(loops):
            made.append(element(scope))
            return
        loop = loops[depth]
        source = loop.source(scope)
        if not isinstance(source, (list, Mapping)):
            if source is UNKNOWN:
                raise Unknown("a value that is not known yet")
            raise ExpressionError("for … in … goes over a list")
        outer = scope.bound
        for item in source:
            scope.spend(TURN)
            scope.bound = outer | _bind(loop.names, item)
            if all(test(scope) for test in loop.tests):
                fill(scope, depth + 1, made)
        scope.bound = outer

    def evaluate(scope: Scope) -> object:
        made: list[object] = []
        fill(scope, 0, made)
        return made

    return evaluate


def _bind(names: tuple[str, ...], item: object) -> dict[str, object]:
    if len(names) == 1:
        return {names[0]: item}
    if not isinstance(item, list) or len(item) != len(names):
        raise ExpressionError(f"{len(names)} names want lists of {len(names)} elements")
    return dict(zip(names, item, strict=True))


def _path(path: tuple[str, ...]) -> Evaluate:
    root, rest = path[0], path[1:]

    def evaluate(scope: Scope) -> object:
        try:
            value = scope.bound[root] if root in scope.bound else scope.names[root]
        except KeyError:
            raise Missing(f'no name "{root}" here') from None
        if value is UNKNOWN:
            raise Unknown(root)
        for i, name in enumerate(rest, 1):
            value = look_up(value, name, path[:i])
        return value

    return evaluate
