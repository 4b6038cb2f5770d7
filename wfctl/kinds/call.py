"""The kind `call`: a Python function of the user's, in a process of its own.

Knows nothing of when it runs or what becomes of its value."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping

from wfctl.fields import Body, FieldsKind
from wfctl.result import Result, called

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from types import FrameType, ModuleType
    from typing import Any

    from wfctl.errors import Problem, Where
    from wfctl.jobs import Tools
    from wfctl.node import Node

_VARIABLE_KEYWORDS = 0x08  # of a code object: it takes `**any`


class Call(FieldsKind):
    """`call: module:function` and `call: file.py:function`, with the arguments in `with`."""

    name = "call"
    keys = ("with",)

    def check(self, fields: Mapping[str, Any], where: Where) -> Iterator[Problem]:
        """What is called is code: it stands in the file, and no value can choose it."""
        from wfctl import expr
        from wfctl.errors import Problem
        from wfctl.paths import confined

        target = fields.get("call")
        if isinstance(target, expr.Template):
            what = "cannot be an expression: what is called is code, and must be known before anything runs"
            yield Problem(where, what, "write its name, and hand over what it depends on in with")
        if not isinstance(target, str):
            return
        holder = target.rpartition(":")[0]
        if _is_file(holder):
            try:
                confined(holder, "/")
            except ValueError as error:
                yield Problem(where, str(error))
        elif not all(part.isidentifier() for part in holder.split(".")):
            what = f'"{holder}" is neither a module nor a file.py'
            hint = f'write "{holder}.py:{target.rpartition(":")[2]}"' if "/" in holder else "write module:function"
            yield Problem(where, what, hint)

    def settled(self, fields: dict[str, Any], node: Node) -> dict[str, Any]:
        """An expression must have made a mapping of `with`."""
        given = fields.get("with")
        if given is not None and not isinstance(given, dict):
            from wfctl.expr import ExpressionError, as_text

            raise ExpressionError(f"with: expected a mapping of arguments, got {as_text(given)[:60]}")
        return fields

    def paths(self, body: object, key: str) -> tuple[object, ...]:
        """It reads the file that it calls: who writes that comes first."""
        assert isinstance(body, Body)
        target = body.fields.get("call")
        holder = target.rpartition(":")[0] if isinstance(target, str) else ""
        return (holder,) if key == "reads" and _is_file(holder) else ()

    def perform(self, fields: Mapping[str, Any], tools: Tools) -> Result:
        """Call the function. What it raises comes out of here."""
        target: str = fields["call"]
        given: dict[str, Any] = fields.get("with") or {}
        _stop_by_exception()
        try:
            function = _function(target, tools.root)
            if wrong := _misfit(function, target, given):
                raise _NotThere(wrong)
            return Result(output=_value(function, given))
        except _NotThere as error:
            return Result(reason="not_started", error=str(error))
        except _Stopped as error:
            _end(error, tools)
            raise
        except SystemExit as error:
            return _exited(error, tools)
        finally:
            _stop_at_once()


# -- what is called


class _NotThere(Exception):
    """What was to be called cannot be; the text says why, with the way out."""


def _is_file(holder: str) -> bool:
    return holder.endswith(".py")


def _function(target: str, root: str) -> Any:
    """The function that `module:function` or `file.py:function` names. Raises _NotThere, and what its module raises."""
    from wfctl.worker import behind_library

    holder, _, names = target.rpartition(":")
    if root not in sys.path:
        # Behind the standard library, whose modules must find each other whatever the files in the root are called.
        sys.path.insert(behind_library(), root)
    found: Any = _module_of_file(holder, root) if _is_file(holder) else _module(holder, root)
    module, way = found, holder
    for name in names.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise _NotThere(_no_attribute(found, way, name, module, root)) from None
        way = f"{way}.{name}"
    if not callable(found):
        raise _NotThere(f'"{target}" is {called(found)} and cannot be called; name a function')
    return found


def _module(name: str, root: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != name and not name.startswith(f"{missing}."):
            raise  # it is there, and lacks another
    parent = missing.rpartition(".")[0]
    folder = os.path.join(root, *parent.split("."))
    if parent and os.path.isfile(f"{folder}.py"):
        raise _NotThere(f'no module "{name}": "{parent}" is a file and holds no modules; correct the name')
    known = [f"{parent}.{module}" if parent else module for module in _modules_in(folder)]
    raise _NotThere(_no(f'no module "{missing}" in the root folder, nor installed', missing, known))


def _module_of_file(path: str, root: str) -> ModuleType:
    """The module that a file makes. Its folder is no package: that is what module:function is for."""
    import importlib.util
    from posixpath import normpath

    full = os.path.normpath(os.path.join(root, path))
    if not os.path.isfile(full):
        folder = os.path.dirname(full)
        known = [os.path.join(os.path.dirname(path), file) for file in _files_in(folder) if file.endswith(".py")]
        what = f'"{path}" is a folder' if os.path.isdir(full) else f'no file "{path}" in the root folder'
        raise _NotThere(_no(what, path, known))
    spec = importlib.util.spec_from_file_location(_name_for(normpath(os.path.relpath(full, root))), full)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as an import does: dataclasses and pickle ask for it there
    spec.loader.exec_module(module)
    return module


def _name_for(path: str) -> str:
    """The name by which a file would be imported from the root, so that other processes find what was pickled; another
    one where that is taken."""
    parts = path.removesuffix(".py").split("/")
    name = ".".join(parts)
    taken = name in sys.modules or parts[0] in sys.stdlib_module_names
    return name if all(part.isidentifier() for part in parts) and not taken else f"_{parts[-1]}_py"


def _no_attribute(found: object, way: str, name: str, module: object, root: str) -> str:
    what = f'"{way}" has no "{name}"'
    if found is module and way.partition(".")[0] in sys.stdlib_module_names:
        if os.path.isfile(os.path.join(root, f"{way}.py")):
            return f'{what}: it is a module of Python itself; for the file write "{way}.py:{name}"'
    own = [known for known, value in vars(found).items() if callable(value)] if hasattr(found, "__dict__") else []
    return _no(what, name, own)


def _no(what: str, name: str, known: Iterable[str]) -> str:
    from wfctl.errors import nearest

    public = [one for one in known if not one.startswith("_")]
    hint = nearest(name, public)
    if not hint and 0 < len(public) <= 10:
        hint = f"there are {', '.join(sorted(public))}"
    return f"{what}; {hint or 'correct the name'}"


def _files_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _modules_in(folder: str) -> Iterator[str]:
    for name in _files_in(folder):
        stem = name.removesuffix(".py")
        if stem.isidentifier() and (stem != name or os.path.isdir(os.path.join(folder, name))):
            yield stem


# -- with what


def _misfit(function: Any, target: str, given: Mapping[str, Any]) -> str:
    """Why the function does not take these arguments; empty where it does, or cannot tell."""
    if _surely_fits(function, given):
        return ""
    import inspect  # 8 ms, for words alone

    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # one that is written in C may not say
        return ""
    for p in parameters:
        if p.kind is p.POSITIONAL_ONLY and p.default is p.empty:
            return f'"{target}" takes "{p.name}" by its place alone, and with gives names; write a function around it'
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for name in given:
            if name not in named:
                from wfctl.errors import nearest

                hint = nearest(name, named) or (f"it takes {', '.join(named)}" if named else "it takes none")
                return f'"{target}" has no argument "{name}"; {hint}'
    for p in parameters:
        if p.default is p.empty and p.name in named and p.name not in given:
            return f'"{target}" needs the argument "{p.name}"; give it in with: {{{p.name}: …}}'
    return ""


def _surely_fits(function: Any, given: Mapping[str, Any]) -> bool:
    """Whether a plain function takes these arguments, as far as that can be told without `inspect`."""
    if type(function).__name__ != "function" or hasattr(function, "__wrapped__"):
        return False
    code = function.__code__
    places = code.co_varnames[: code.co_argcount]
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    needed = {*places[: code.co_argcount - len(function.__defaults__ or ())], *keywords}
    needed -= (function.__kwdefaults__ or {}).keys()
    known = {*places, *keywords} if not code.co_flags & _VARIABLE_KEYWORDS else {*places, *keywords, *given}
    return not code.co_posonlyargcount and needed <= given.keys() <= known


def _value(function: Any, given: dict[str, Any]) -> object:
    """What the function returns; awaited, where that is to be."""
    value = function(**given)
    if not hasattr(type(value), "__await__"):
        return value
    import asyncio

    async def awaited() -> object:
        return await value

    return asyncio.run(awaited())


# -- how it ends


class _Stopped(SystemExit):
    """The process was told to end: what the function has under `finally` and `with` is done within the grace."""


def _stop_by_exception() -> None:
    import signal

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # who says it twice means it
        raise _Stopped(128 + number)

    def in_child() -> None:
        if signal.getsignal(signal.SIGTERM) is stop:
            _stop_at_once()
        unblock()

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    try:
        signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: there nobody would be told
        return
    # A fork dies of the signal as any process does. Python forgets what comes between the fork and this, so it waits.
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=in_child)


def _stop_at_once() -> None:
    import signal

    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except ValueError:
        pass


def _end(stopped: _Stopped, tools: Tools) -> None:
    """Die of the signal after all, once it is written down where that met the function."""
    import signal

    from wfctl.blame import whole

    tools.log(whole(stopped).rpartition("\n")[0] + "\ntold to end (SIGTERM) there")
    _stop_at_once()
    os.kill(os.getpid(), signal.SIGTERM)


def _exited(error: SystemExit, tools: Tools) -> Result:
    """What `sys.exit` means: success, an exit code, or a text that says what went wrong."""
    code = error.code
    if code is None or code == 0:
        return Result()
    from wfctl.blame import whole

    tools.log(whole(error))
    if isinstance(code, int):
        return Result(reason="exit_code", error=f"exit code {code & 0xFF}", code=code & 0xFF)
    return Result(reason="exit_code", error=str(code))
