"""The kind `files`: deletes, copies and moves files, and puts back what checkpoints have saved, inside the root alone.

Knows nothing of how that is made safe against links and others who change things: what it says is done by handles."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping

from wfctl import quantity
from wfctl.fields import Body, FieldsKind
from wfctl.paths import based, confined
from wfctl.result import Result

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from typing import Any

    from wfctl.errors import Problem, Where
    from wfctl.expr import Expression
    from wfctl.handles import Tree
    from wfctl.jobs import Job, Place, Tools

ROOT_ITSELF = "that is the root folder itself"
NAME_INSIDE = "name what lies in it, such as *"

MOST = 1_000
"""Paths of one sort that an output names."""

DONE = {"delete": "deleted", "copy": "copied", "move": "moved", "restore": "restored"}
"""What can be asked for, in the order in which it is done, and what the output calls it."""

SAVED, SAVED_IN = "saved files", "saved in"
"""Fields of a task that no workflow says: what checkpoints have saved, and the folder of the blobs."""


class Files(FieldsKind):
    """`files: {delete: GLOBS, copy: {from: GLOBS, to: PATH}, move: …, restore: GLOBS}`; `copy` and `move` may be lists.

    Paths stand on the folder of the node and lie in the root. First all is deleted, then copied, then moved, then put
    back, each file as the last checkpoint of the run has saved it that did; what can be done is done, whatever else
    cannot. The output has a list for each that was asked for, `deleted`, `copied`, `moved` and `restored`: what is
    gone, or where it is now, relative to the root and sorted, a folder as one. Of more than 1,000 the first are named,
    and `more` says how many there are besides: `{copied: 17}`.
    """

    name = "files"
    in_place = True

    def parse(self, raw: Mapping[str, Any], where: Where, shell: str | None) -> tuple[object, list[Problem]]:
        """The fields, and what is wrong with them. Paths that stand on a `cwd` are judged when that is known."""
        from wfctl.errors import Problem

        body, problems = super().parse(raw, where, shell)
        assert isinstance(body, Body)
        if raw.get("cwd") is not None:
            return body, problems
        for place, path in _texts(self.flat(body.fields), (*where, self.name)):
            try:
                if confined(path, "/") == "." and "to" not in place[len(where) :]:
                    problems.append(Problem(place, ROOT_ITSELF, NAME_INSIDE))
            except ValueError as error:
                problems.append(Problem(place, str(error)))
        return Standing(body.fields), problems

    def restores(self, body: object) -> bool:
        """Whether it says so."""
        return isinstance(body, Body) and self.flat(body.fields).get("restore") is not None

    def paths(self, body: object, key: str) -> tuple[object, ...]:
        """It reads what it copies or moves, as far as that is written down: who writes that comes first."""
        if key != "reads" or not isinstance(body, Standing):
            return ()
        return tuple(path for place, path in _texts(self.flat(body.fields), ()) if "from" in place)

    def prepare(
        self, job: Job, node: object, names: Mapping[str, object], place: Place, vars: Mapping[str, object]
    ) -> Job:
        """The job with its task. What a node has said is no glob, or it could make a cleanup as large as it likes."""
        from dataclasses import replace

        made = super().prepare(job, node, names, place, vars)
        assert made.task is not None
        said = self.flat(node.body.fields)  # type: ignore[attr-defined]
        fields = {verb: _globs(said[verb], given, names, vars) for verb, given in made.task.fields.items()}
        if self.restores(node.body):  # type: ignore[attr-defined]
            fields |= {SAVED: dict(job.saved), SAVED_IN: place.saved}
        return replace(made, task=replace(made.task, fields=fields))

    def perform(self, fields: Mapping[str, Any], tools: Tools) -> Result:
        """Do all of it."""
        try:
            work = list(_work(fields, tools))
        except ValueError as error:
            return Result(reason="not_started", error=str(error))
        doing = _Doing(tools, fields.get(SAVED) or {}, fields.get(SAVED_IN) or "")
        return doing.all_of(work, [verb for verb in DONE if verb in fields])


class Standing(Body):
    """What stands on the root, as `reads` and `writes` do."""

    __slots__ = ()


def _texts(fields: Mapping[str, Any], where: Where) -> Iterator[tuple[Where, str]]:
    """The paths that hold no expression, with their places."""
    for verb in DONE:
        for place, said in _each(fields.get(verb), (*where, verb)):
            parts = [((*place, key), said.get(key)) for key in ("from", "to")] if isinstance(said, Mapping) else ()
            for inner, path in (part for at, value in parts or [(place, said)] for part in _each(value, at)):
                if isinstance(path, str):
                    yield inner, path


def _each(value: object, where: Where) -> Iterator[tuple[Where, object]]:
    if isinstance(value, (list, tuple)):
        yield from (((*where, i), part) for i, part in enumerate(value))
    else:
        yield where, value


# -- globs

_SAID = ("item", "index", "key", "output", "error")
"""Names of what nodes have said, as `nodes.X.output` is."""


def _globs(written: object, given: object, names: Mapping[str, object], vars: Mapping[str, object]) -> object:
    """The value `given` of what is `written`, in which a `*` that a node has said stands for itself."""
    from wfctl import expr

    if isinstance(written, Mapping) and isinstance(given, Mapping):
        return {key: value if key == "to" else _globs(written[key], value, names, vars) for key, value in given.items()}
    if isinstance(written, (list, tuple)) and isinstance(given, list):
        return [_globs(one, value, names, vars) for one, value in zip(written, given, strict=True)]
    if not isinstance(written, expr.Template) or not any(_is_said(part, vars) for part in written.expressions):
        return given
    if written.whole:
        return _escaped(given)
    texts = (
        part if isinstance(part, str) else _escaped(expr.as_text(part.evaluate(names))) if _is_said(part, vars)
        else expr.as_text(part.evaluate(names))
        for part in written.parts
    )  # fmt: skip
    return "".join(map(str, texts))


def _is_said(expression: Expression, vars: Mapping[str, object]) -> bool:
    """Whether its value comes from a node. What the file says, or who runs it, may be a glob by whatever name."""
    from wfctl import expr, values

    for reference in expression.references:
        path = reference.path
        if path[0] in _SAID or (path[0] == "nodes" and path[2:3] not in (("writes",), ("state",))):
            return True
        inner = values.within(vars, path[1:2]) if path[0] == "vars" else None
        if any(_is_said(other, vars) for _, template in expr.templates_of(inner) for other in template.expressions):
            return True
    return False


def _escaped(value: object) -> object:
    if isinstance(value, list):
        return [_escaped(part) for part in value]
    if isinstance(value, Mapping):  # a transfer that is one expression
        return {key: part if key == "to" else _escaped(part) for key, part in value.items()}
    return "".join(f"[{c}]" if c in "*?[" else c for c in value) if isinstance(value, str) else value


# -- what is to be done


class _Step:
    """One thing to do: `paths` are plain globs, each with whether it means folders alone. Only to copy and to move has
    a `to`.

    `into`: what is put there goes into `to`, and not in its place."""

    __slots__ = ("into", "paths", "to", "verb")

    def __init__(self, verb: str, paths: list[tuple[str, bool]], to: str = "", into: bool = False) -> None:
        self.verb = verb
        self.paths = paths
        self.to = to
        self.into = into


def _work(fields: Mapping[str, Any], tools: Tools) -> Iterator[_Step]:
    """The steps, with all paths relative to the root. ValueError where one leads out of it, or is none."""
    real = os.path.realpath(tools.root)
    base = os.path.relpath(os.path.realpath(tools.folder), real)
    if base == ".." or base.startswith("../"):
        raise ValueError("the folder of the node lies outside of the root folder, behind a symlink; correct cwd")

    def place(path: object, what: str) -> str:
        root = real
        if isinstance(path, str) and path:
            if not os.path.isabs(path):
                path = based(path, base) if base != "." else path
            elif not f"{path}/".startswith(f"{real}/"):
                root = tools.root  # that may be a symlink, and called by either name
        try:
            return confined(path, root)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None

    def globs(said: object, what: str) -> list[tuple[str, bool]]:
        found = []
        for one in said if isinstance(said, list) else [said]:
            for path in one if isinstance(one, list) else [one]:  # of an expression
                plain = place(path, what)
                if plain == ".":
                    raise ValueError(f"{what}: {ROOT_ITSELF}; {NAME_INSIDE}")
                found.append((plain, str(path).endswith("/")))
        return found

    for verb in [verb for verb in DONE if verb in fields]:
        said = fields[verb]
        if verb in ("delete", "restore"):
            yield _Step(verb, globs(said, verb))
            continue
        for transfer in said if isinstance(said, list) else [said]:
            if not isinstance(transfer, Mapping):
                what = f"expected a mapping such as {{from: a, to: b}}, got {quantity.shown(transfer)}"
                raise ValueError(f"{verb}: {what}")
            to: Any = transfer["to"]
            sources, plain = globs(transfer["from"], f"{verb}: from"), place(to, f"{verb}: to")
            yield _Step(verb, sources, plain, into=os.path.basename(to) in ("", ".", ".."))


# -- doing it


class _Stopped(Exception):
    """The attempt is to end."""


class _Doing:
    """What has been done in one attempt, and what could not be."""

    def __init__(self, tools: Tools, saved: Mapping[str, Any], saved_in: str) -> None:
        self.tools = tools
        self.saved = saved
        self.saved_in = saved_in
        self.stopped = False
        self.first = ""
        self.wrong = 0
        self.done: dict[str, set[str]] = {}

    def all_of(self, work: list[_Step], asked: list[str]) -> Result:
        """Do all steps; `asked` is what the output has lists of."""
        from wfctl.handles import Tree

        self.tools.when_stopped(self.stop)
        self.done = {verb: set() for verb in asked}
        try:
            tree = Tree(self.tools.root, _draft(self.tools.key), self.complain, self.go_on)
        except OSError as error:
            return Result(reason="not_started", error=f"the root folder cannot be entered: {error.strerror}".lower())
        try:
            with tree:
                for step in work:
                    self.take(step, tree)
        except _Stopped:
            return Result(output=self.output(), reason="files", error="stopped")
        wrong = self.first + (f", and {self.wrong - 1:,} more" if self.wrong > 1 else "")
        return Result(output=self.output(), reason="files" if wrong else "", error=wrong)

    def output(self) -> dict[str, Any]:
        named: dict[str, Any] = {DONE[verb]: sorted(paths)[:MOST] for verb, paths in self.done.items()}
        more = {DONE[verb]: len(paths) - MOST for verb, paths in self.done.items() if len(paths) > MOST}
        return {**named, "more": more} if more else named

    def take(self, step: _Step, tree: Tree) -> None:
        if step.verb == "restore":
            self.restore(step, tree)
            return
        sources = [path for glob in step.paths for path in self.found(step, glob, tree)]
        if step.verb == "delete":
            for path in sources:
                if tree.delete(path):
                    self.done["delete"].add(path)
            return
        for source, target in self.pairs(step, list(dict.fromkeys(sources)), tree):
            if source == target:
                self.complain(f'"{source}" is there already: it cannot be put onto itself')
            elif f"{target}/".startswith(f"{source}/"):
                self.complain(f'"{source}" cannot be put into itself, as "{target}"')
            elif tree.put(source, target, moves=step.verb == "move"):
                self.done[step.verb].add(target)

    def restore(self, step: _Step, tree: Tree) -> None:
        """Put back what was saved of these, whatever is there by now."""
        from pathlib import Path

        from wfctl.blobs import Blobs
        from wfctl.handles import matching

        blobs = Blobs(Path(self.saved_in))
        for glob, folders in step.paths:
            found = matching(glob, self.saved, folders)
            if not found:
                self.complain(f'no checkpoint of this run has saved anything at "{glob}"')
            for path in found:
                self.go_on()
                digest, mode, _ = self.saved[path]
                try:
                    with blobs.opened(digest) as reader:
                        if tree.fill(path, reader, mode):
                            self.done["restore"].add(path)
                except OSError as error:
                    why = (error.strerror or str(error)).lower()
                    self.complain(f'what was saved of "{path}" cannot be read: {why}')

    def found(self, step: _Step, glob: tuple[str, bool], tree: Tree) -> list[str]:
        """What is there of a glob. Only to delete may it be nothing."""
        from wfctl.handles import Refused

        before = self.wrong
        try:
            found = tree.find(*glob)
        except Refused as refused:
            self.complain(str(refused))
            return []
        if not found and step.verb != "delete" and self.wrong == before and not self.was_moved(step, glob[0], tree):
            self.complain(f'nothing is there of "{glob[0]}"')
        return found

    def was_moved(self, step: _Step, path: str, tree: Tree) -> bool:
        """Whether an earlier attempt, of which nobody heard how it ended, has moved what is not there any more."""
        from wfctl.handles import Refused, is_glob

        if step.verb != "move" or not self.tools.unsure:
            return False
        try:
            if is_glob(path):
                return tree.status(step.to) is not None
            inside = os.path.normpath(os.path.join(step.to, os.path.basename(path)))
            for target in (inside, *([] if step.into else [step.to])):
                if tree.status(target) is not None:
                    self.done["move"].add(target)
                    return True
        except Refused:  # and so it is not there
            pass
        return False

    def pairs(self, step: _Step, sources: list[str], tree: Tree) -> list[tuple[str, str]]:
        """What is put where; nothing where that is not clear."""
        from wfctl.handles import Refused, followed

        try:
            there = tree.status(step.to)
            folder = there is not None and stat.S_ISDIR(there.st_mode)
            alone = len(sources) == 1 and not step.into and (not folder or self.is_folder(step, sources[0], tree))
            if there is not None and stat.S_ISLNK(there.st_mode) and self.leads_to_folder(step.to):
                raise Refused(followed(step.to))
        except Refused as refused:
            self.complain(str(refused))
            return []
        if alone:
            return [(sources[0], step.to)]
        taken: dict[str, str] = {}
        for source in sources:
            target = os.path.normpath(os.path.join(step.to, os.path.basename(source)))
            if target in taken:
                self.complain(f'"{taken[target]}" and "{source}" would both become "{target}"; name a folder for each')
                return []
            taken[target] = source
        return [(source, target) for target, source in taken.items()]

    def is_folder(self, step: _Step, source: str, tree: Tree) -> bool:
        """Whether a folder was named: that becomes `to`, also where it did so before, and does not go into itself."""
        told = tree.status(source)
        return len(step.paths) == 1 and step.paths[0][0] == source and told is not None and stat.S_ISDIR(told.st_mode)

    def leads_to_folder(self, path: str) -> bool:
        return os.path.isdir(os.path.join(self.tools.root, path))

    def stop(self) -> None:
        self.stopped = True

    def go_on(self) -> None:
        if self.stopped:
            raise _Stopped

    def complain(self, what: str) -> None:
        self.tools.log(what)
        self.first = self.first or what
        self.wrong += 1


def _draft(key: str) -> str:
    """The same for all attempts of a node: the next one throws away what one has left that was killed."""
    from hashlib import sha256

    return f".wfctl-{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}.draft"
