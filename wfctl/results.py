"""The kept results of the nodes of one run: served where they hold, and kept when a node has succeeded.

Knows no queue and no event but the end of an attempt, and not how results lie on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wfctl import events as ev
from wfctl import expr, keys, values
from wfctl.attempt import declared
from wfctl.blobs import Blobs
from wfctl.cache import PATIENCE, Cache, Kept
from wfctl.digests import Digests, folded
from wfctl.errors import StateError
from wfctl.jobs import Busy, Claimed, Kind, Served
from wfctl.keys import Idempotency
from wfctl.node import Node
from wfctl.noderun import SUCCEEDED
from wfctl.paths import confined
from wfctl.plan import Plan, Planned
from wfctl.record import dataclass
from wfctl.scope import During, Scope

if TYPE_CHECKING:
    from wfctl.state import RunState
    from wfctl.store import RunFolder
    from wfctl.twins import Twins

MOST_FILES = 1000
"""Files of one declared path that are told one by one; of more there is one hash in all."""

AHEAD = 5.0
"""Seconds by which a result may come from the future, by a clock that was put right. One from further ahead has no age:
where there is a `ttl`, it has expired."""

REMEMBERED = 8
"""Keys of a node that are remembered, to say what has changed since it last ran or was served."""


_SAYING = ("env", "args", "stdin", "cwd", "reads", "writes", "idempotency")
"""Keys of a node beside the kind's own that decide its result and may hold expressions."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is sought for a node at a moment: its key, and what that is made of."""

    meaning: Idempotency
    key: str
    parts: Mapping[str, Any]
    at: float


_ROW = 4096  # bytes that a row may take: it matters only beside those of files


class Shelf:
    """Where the results of one scope lie: a database and the files beside it. Opened when it is first asked."""

    def __init__(self, folder: Path, make: bool = True) -> None:
        self.folder = folder
        self._make = make
        self._opened: Cache | None = None
        self._asked = False
        self.blobs = Blobs(folder / "blobs")
        self.kept: list[Kept] = []  # not written yet, as all that follows
        self.lasts: dict[str, str] = {}
        self.failed: dict[str, dict[str, Any]] = {}
        self.used: list[str] = []

    @property
    def cache(self) -> Cache | None:
        """The database; None where there can be none."""
        if not self._asked:
            self._asked = True
            if self._make or os.path.exists(self.folder / "cache" / "cache.db"):
                self._opened = Cache.open(self.folder / "cache", PATIENCE)
        return self._opened

    def give_up(self) -> None:
        """Do without the database from here on."""
        self.close()
        self.kept, self.lasts, self.failed, self.used = [], {}, {}, []

    def close(self) -> None:
        """Give back the database."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def shelves(
    state: Path, environ: Mapping[str, str], scopes: Collection[str] = keys.SCOPES, *, make: bool = True
) -> dict[str, Shelf]:
    """Where results lie, by their scope: hashes of files are remembered with those of the workflow. Without `make`
    nothing is made where there is nothing. Raises StateError where the folder of the machine is to be used, and is not
    ours alone."""
    from wfctl.upkeep import machine_folder

    found = {"workflow": Shelf(state, make)}
    if "machine" in scopes:
        machine = machine_folder(environ, make=make)
        if machine is None and make:
            what = "there is no folder of yours alone for the results of all the machine"
            raise StateError(f"{what}; set XDG_CACHE_HOME to one, or leave scope: machine out")
        found["machine"] = Shelf(machine if machine is not None else state / "nowhere", make)
    return found


class Results:
    """What is kept of the nodes of one run, as `jobs.Keeping` has it.

    `shelves` are where results lie by their scope, and `twins` who works on which key, where others can. `folder` is
    that of the run: a large output is put there. Without one nothing is claimed, kept or put back: that is a plan.
    """

    def __init__(
        self,
        plan: Plan,
        state: RunState,
        during: During,
        kinds: Callable[[str], Kind | None],
        shelves: Mapping[str, Shelf],
        *,
        folder: RunFolder | None = None,
        place_of: Callable[[str], str] = str,
        twins: Mapping[str, Twins] = {},
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._plan = plan
        self._state = state
        self._during = during
        self._kinds = kinds
        self._shelves = shelves
        self._folder = folder
        self._place_of = place_of
        self._twins = twins
        self._warn = warn
        self._asked: dict[str, Asked] = {}
        self._held: dict[tuple[str, str], str] = {}  # scope and key: the node that works on it
        self._held_back: dict[tuple[str, str], Kept] = {}  # what the run may still undo, by scope and key
        self._busy: dict[str, set[str]] = {}  # keys of others, by scope, that are waited for
        self._read_anew: dict[str, list[Any]] = {}  # hashes of large files, to be remembered
        state_folder = str(shelves["workflow"].folder)
        without = state_folder if os.path.isdir(state_folder) else ""
        self._digests = Digests(plan.root, self._recall, self._remember, without)
        self._whys: dict[str, Mapping[str, Any]] = {}  # of a plan: why nodes would run
        self.unknown: set[str] = set()  # nodes of a plan of which only a run can tell
        self.kept_bytes = 0  # by this run, about
        self._is_told = False  # that nothing can be kept

    # -- as `jobs.Keeping`

    @property
    def fds(self) -> list[int]:
        """Each is readable when it is worth asking again."""
        return [twins.fd for twins in self._twins.values()]

    @property
    def whys(self) -> Mapping[str, Mapping[str, Any]]:
        """Of the nodes of a plan for which nothing is kept that would do: why that is."""
        return self._whys

    def look(self, node: str, now: float) -> Served | None:
        """What would do in place of the work of a node."""
        try:
            asked = self._ask(node, now)
            if asked is None:
                return None
            kept = self._result(asked)
            against = self._against(kept, asked, now) if kept is not None else None
            if kept is not None and not against and (served := self._serve(node, kept, asked)):
                return served
            if self._folder is None:
                self._whys[node] = against or self._why(node, asked)
            return None
        except expr.Unknown:
            self.unknown.add(node)
            return None

    def claim(self, node: str, now: float, *, forced: bool) -> Served | Claimed | Busy | None:
        """The same, and else the right to work on it."""
        if self._folder is None:
            return None
        asked = self._ask(node, now)
        if asked is None:
            return None
        scope = asked.meaning.scope
        held_back = self._held_back.get((scope, asked.key))
        if held_back is not None and not forced and not self._against(held_back, asked, now):
            if (served := self._serve(node, held_back, asked)) is not None:
                return served
        holder = self._holder(scope, asked.key) if held_back is None else ""
        if holder:
            self._busy.setdefault(scope, set()).add(asked.key)
            return Busy(key=asked.key, holder=holder)
        self._held[scope, asked.key] = node
        why: dict[str, Any] = {"word": "forced"}
        if not forced:
            kept = self._result(asked)
            why = self._against(kept, asked, now) if kept is not None else self._why(node, asked)
            if kept is not None and not why and (served := self._serve(node, kept, asked)):
                self.release(node)
                return served
        return Claimed(key=asked.key, why=why or {"word": "gone"})

    def ended(self, event: Any) -> bool:
        """How an attempt ended that had claimed its key; whether others may have that now."""
        asked = self._asked.get(event.node)
        if asked is None or not isinstance(event, (ev.NodeSucceeded, ev.NodeFailed, ev.NodeRetrying)):
            return True
        shelf = self._shelves[asked.meaning.scope]
        facts: dict[str, Any] = {"workflow": self._plan.name, "node": event.node, "run": self._state.id}
        facts.update(attempt=event.attempt)
        facts.update(at=event.time, seconds=event.seconds, exit_code=event.exit_code)
        parts = {**keys.brief(asked.parts), **self._named(event.node)}
        shelf.lasts[self._place(event.node)] = asked.key
        if not isinstance(event, ev.NodeSucceeded):
            shelf.failed[asked.key] = {**facts, "reason": event.reason, "error": event.error, "parts": parts}
            return True
        try:
            if changed := self._changed(event.node, asked):
                self._warn(f'the result of {event.node} is not kept: "{changed}" was changed while it ran')
                return True
            writes, size = self._written(event.node, shelf if asked.meaning.keep else None)
            output, blob, large = self._output(event, shelf)
        except (OSError, expr.ExpressionError) as error:
            self._warn(f"the result of {event.node} is not kept: {_told(error)}")
            return True
        shelf.failed.pop(asked.key, None)
        kept = Kept(
            **facts, key=asked.key, output=output, blob=blob, size=size + large, parts=parts, writes=writes,
            saved=asked.meaning.keep,
        )  # fmt: skip
        if self._plan.nodes[event.node].node.compensate and self._plan.rollback.strategy != "none":
            self._held_back[asked.meaning.scope, asked.key] = kept  # the run may still undo it
            return False
        shelf.kept.append(kept)
        return True

    def settled(self, succeeded: bool) -> list[str]:
        """The run can no longer undo what it did: the nodes whose keys others may have now."""
        held, self._held_back = self._held_back, {}
        for (scope, _), kept in held.items() if succeeded else ():
            shelf = self._shelves[scope]
            shelf.kept.append(kept)
            shelf.lasts[self._place(kept.node)] = kept.key
        return [kept.node for kept in held.values()]

    def undone(self, node: str) -> None:
        """What is kept of a node holds no longer."""
        key = self._state.nodes[node].key
        for shelf in self._shelves.values():
            if shelf.cache is not None:
                shelf.cache.withdraw(key)

    def keep(self) -> None:
        """Keep for good what has ended."""
        for shelf in self._shelves.values():
            if shelf.lasts and shelf.cache is not None:
                self._write(shelf)
            elif shelf.lasts and not self._is_told:
                self._is_told = True
                self._warn(f'results could not be kept: "{shelf.folder / "cache"}" cannot be opened')

    def release(self, node: str) -> bool:
        """Whether the node had claimed a key."""
        for (scope, key), holder in list(self._held.items()):
            if holder == node:
                del self._held[scope, key]
                if scope in self._twins:
                    self._twins[scope].release(key)
                return True
        return False

    def stand_in_line(self, waiting: bool) -> None:
        """Be woken when one of the keys that were busy may be had."""
        for scope, twins in self._twins.items():
            twins.wait_for(self._busy.get(scope, ()) if waiting else ())

    def woken(self) -> None:
        """Another run has let go of something."""
        self._busy.clear()
        for twins in self._twins.values():
            twins.woken()

    def key_of(self, node: str) -> str | None:
        """The key of a node as things are; None where that is not known, or nothing is kept of it."""
        try:
            asked = self._ask(node, 0.0)
        except (expr.Unknown, expr.ExpressionError):
            return None
        return asked.key if asked is not None else None

    def close(self, now: float) -> None:
        """Note what was used, and give back what is open."""
        cache = self._shelves["workflow"].cache if self._read_anew and self._folder is not None else None
        if cache is not None:
            cache.remember_digests(self._read_anew)
        for shelf in self._shelves.values():
            if shelf.used and self._folder is not None and shelf.cache is not None:
                shelf.cache.touch(shelf.used, now)
            shelf.close()

    # -- keys

    def _ask(self, node: str, now: float) -> Asked | None:
        """What is sought for a node; None where nothing is to be kept of it. Raises ExpressionError."""
        asked = self._asked.get(node)
        if asked is not None and asked.at == now:
            return asked
        planned = self._plan.nodes[node]
        names = self._during.of(node)
        meaning = planned.node.idempotency
        if not isinstance(meaning, Idempotency):
            try:
                meaning = keys.read_idempotency(expr.evaluate_value(meaning, names))
            except ValueError as error:
                raise expr.ExpressionError(f"idempotency: {error}") from None
        if meaning is None:
            self._asked.pop(node, None)
            return None
        parts: dict[str, Any] = {"key": meaning.key} if meaning.key is not None else self._automatic(planned, names)
        if items := list(_items(planned)):
            parts["item"] = items if len(items) > 1 else items[0]
        key = keys.key_of(parts, self._plan.name if meaning.scope == "workflow" else None)
        self._asked[node] = asked = Asked(meaning, key, parts, now)
        return asked

    def _automatic(self, planned: Planned, names: Mapping[str, object]) -> dict[str, Any]:
        """All that decides the result of a node."""
        node = planned.node
        kind = self._kinds(node.kind)
        assert kind is not None  # refused at load
        vars = self._during.vars(planned.id)
        parts: dict[str, Any] = {"kind": node.kind, **kind.decides(node, names, vars)}
        env: dict[str, object] = {**self._plan.env, **self._during.env(planned.id)}
        for name, value in node.env.items():
            if name in node.sealed:
                env[name] = {"sealed": list(values.seal(value, names, vars))}
            else:
                env[name] = expr.as_text(expr.evaluate_value(value, names))
        if env:
            parts["env"] = env
        if node.receives:
            parts["secrets"] = list(node.receives)
        if node.cwd is not None:
            parts["cwd"] = expr.evaluate_value(node.cwd, names)
        if node.expect is not None:
            parts["expect"] = node.expect.text if isinstance(node.expect, expr.Template) else node.expect
        if node.writes:
            parts["writes"] = list(declared(self._plan, planned, names, "writes"))
        if node.reads:
            parts["reads"] = self._read(planned, names)
        return parts

    def _read(self, planned: Planned, names: Mapping[str, object]) -> dict[str, str]:
        """The hashes of what a node reads, by path. In a plan those are not known that others will write."""
        if self._folder is None:
            for need in planned.needs:
                other = self._plan.nodes[need]
                if self._state.nodes[need].state is SUCCEEDED and (other.node.writes or other.holds):
                    raise expr.Unknown(f"{need} writes what is read")
        found: dict[str, str] = {}
        for path in declared(self._plan, planned, names, "reads"):
            try:
                files = self._digests.of(path)
            except OSError as error:
                raise expr.ExpressionError(f"reads: {_told(error)}") from None
            if len(files) > MOST_FILES:
                found[path] = f"{len(files)} files: {folded(files)}"
            else:
                found.update(files or {path: "nothing"})
        return found

    def _recall(self, path: str) -> object:
        if path in self._read_anew:
            return self._read_anew[path]
        cache = self._shelves["workflow"].cache
        return cache.recall_digest(path) if cache is not None else None

    def _remember(self, path: str, facts: list[Any]) -> None:
        self._read_anew[path] = facts

    def _changed(self, node: str, asked: Asked) -> str:
        """What a node has read that is not any more what it was when its key was made; empty where nothing is."""
        if "reads" not in asked.parts:
            return ""
        now = self._read(self._plan.nodes[node], self._during.of(node))
        before = asked.parts["reads"]
        return next((path for path in {**before, **now} if before.get(path) != now.get(path)), "")

    def _named(self, node: str) -> dict[str, Any]:
        """The params, vars and outputs that a node names, with their values: they may be why its parts differ."""
        found: dict[str, Any] = {}
        names = self._during.of(node)
        for path in sorted(self._names_in(self._plan.nodes[node].node)):
            try:
                value: Any = names[path[0]]
                for name in path[1:]:
                    value = value[name]
                found[".".join(path)] = value
            except (expr.ExpressionError, KeyError, TypeError, IndexError):
                continue
        return {"named": keys.brief({"named": values.lasting(found)})["named"]} if found else {}

    def _names_in(self, node: Node) -> set[tuple[str, ...]]:
        """What the expressions of a node name: params, vars, variables, and the outputs of others."""
        kind = self._kinds(node.kind)
        assert kind is not None
        references = [r for key in _SAYING for r in expr.references_of(getattr(node, key))]
        references += [r for _, template in kind.expressions(node.body, ()) for r in template.references]
        return {
            r.path[:3] if r.path[0] == "nodes" else r.path[:2]
            for r in references
            if r.path[0] in ("params", "vars", "env", "nodes") and len(r.path) > 1 + (r.path[0] == "nodes")
        }

    # -- what is kept

    def _result(self, asked: Asked) -> Kept | None:
        if (held := self._held_back.get((asked.meaning.scope, asked.key))) is not None:
            return held
        cache = self._shelves[asked.meaning.scope].cache
        return cache.result(asked.key) if cache is not None else None

    def _against(self, kept: Kept, asked: Asked, now: float) -> dict[str, Any]:
        """Why a kept result does not do; empty where it does."""
        ttl, age = asked.meaning.ttl, now - kept.at
        if ttl is not None and not -AHEAD <= age < ttl:
            return {"word": "expired", "age": round(age, 6), "ttl": ttl, "of": kept.run, "made": kept.at}
        shelf = self._shelves[asked.meaning.scope]
        back = []
        for path, (digest, mode, _) in kept.writes.items():
            try:
                there = self._digests.file(confined(path, self._plan.root))
            except (OSError, ValueError):
                there = None
            if there == digest:
                continue
            if not (asked.meaning.keep and kept.saved and _is_plain(path)) or shelf.blobs.has(digest) is None:
                what = "is not there" if there is None else "is not as it was written"
                return {"word": "writes", "path": path, "what": what, "of": kept.run, "made": kept.at}
            back.append((path, digest, mode))
        if self._folder is None:
            return {}
        for path, digest, mode in back:
            try:
                shelf.blobs.take(digest, os.path.join(self._plan.root, path), mode)
            except OSError as error:
                what = f"cannot be put back: {(error.strerror or str(error)).lower()}"
                return {"word": "writes", "path": path, "what": what, "of": kept.run, "made": kept.at}
        return {}

    def _serve(self, node: str, kept: Kept, asked: Asked) -> Served | None:
        """What is kept, with a large output put into the run's own folder; None where that is gone."""
        shelf = self._shelves[asked.meaning.scope]
        output, stored = kept.output, False
        if kept.blob:
            try:
                if self._folder is None:
                    output = json.loads(shelf.blobs.read(kept.blob))
                else:
                    path = f"{self._place_of(node)}.kept.json"
                    shelf.blobs.link(kept.blob, path)
                    output, stored = {"file": f"outputs/{os.path.basename(path)}"}, True
            except (OSError, ValueError):
                return None
        shelf.used.append(kept.key)
        return Served(key=kept.key, of=kept.run, made=kept.at, output=output, stored=stored)

    def _output(self, event: ev.NodeSucceeded, shelf: Shelf) -> tuple[object, str, int]:
        """The output of an attempt, or the hash and the size of the file that has it."""
        if not event.stored or self._folder is None:
            return event.output, "", 0
        assert isinstance(event.output, Mapping)
        return None, *shelf.blobs.put_own(str(self._folder.path / event.output["file"]))

    def _written(self, node: str, shelf: Shelf | None) -> tuple[dict[str, list[Any]], int]:
        """What a node has written: by path the hash, the mode and the size; and all sizes. With a shelf it is saved."""
        planned = self._plan.nodes[node]
        found: dict[str, list[Any]] = {}
        total = 0
        for path in declared(self._plan, planned, self._during.of(node), "writes") if planned.node.writes else ():
            for file, digest in self._digests.of(path).items():
                if len(digest) != 64:  # an empty folder, a link: nothing that could be put back
                    continue
                full = os.path.join(self._plan.root, file)
                status = os.stat(full)
                if shelf is not None:
                    shelf.blobs.put(full, digest)
                    total += status.st_size
                found[file] = [digest, status.st_mode & 0o777, status.st_size]
        return found, total

    def _write(self, shelf: Shelf) -> None:
        assert shelf.cache is not None
        lasts = {}
        for place, key in shelf.lasts.items():
            before = self._lasts(shelf, place)
            if not before or before[0] != key:
                lasts[place] = {"keys": [key, *(one for one in before if one != key)][:REMEMBERED]}
        if shelf.kept or lasts:
            kept = shelf.cache.keep(shelf.kept, lasts)
            self.kept_bytes += sum(kept.size + _ROW for kept in shelf.kept)
            if not kept:  # to try it again each turn could cost so much patience each time
                self._warn("results could not be kept: the cache cannot be written; this run keeps none from here on")
                self._is_told = True
                shelf.give_up()
                return
        for key, facts in shelf.failed.items():
            shelf.cache.fail(key, facts)
        shelf.kept, shelf.lasts, shelf.failed = [], {}, {}

    # -- why

    def _place(self, node: str) -> str:
        return f"{self._plan.name}/{node}"

    def _lasts(self, shelf: Shelf, place: str) -> list[str]:
        last = shelf.cache.last(place) if shelf.cache is not None else None
        found = last.get("keys") if last is not None else None
        return [key for key in found if isinstance(key, str)] if isinstance(found, list) else []

    def _why(self, node: str, asked: Asked) -> dict[str, Any]:
        """Why nothing is kept under the key of a node: it failed, or what decides it is not what it was."""
        shelf = self._shelves[asked.meaning.scope]
        if shelf.cache is None:
            return {"word": "never"}
        failure = shelf.cache.failure(asked.key)
        if failure is not None:
            return {"word": "failed", "of": failure.get("run", ""), "made": failure.get("at")}
        lasts = self._lasts(shelf, self._place(node))
        if asked.key in lasts[:1]:
            return {"word": "dropped"}
        last = self._latest(shelf, lasts)
        if last is None:
            return {"word": "dropped" if lasts else "never"}
        run, made, parts = last
        changes = keys.difference(parts, {**keys.brief(asked.parts), **self._named(node)})
        more = len(changes) - keys.MOST_CHANGES
        why = {"word": "changed", "of": run, "made": made, "changes": changes[: keys.MOST_CHANGES]}
        return {**why, "more": more} if more > 0 else why

    def _latest(self, shelf: Shelf, lasts: list[str]) -> tuple[str, float, Mapping[str, Any]] | None:
        """Of the remembered keys of a node that which was used last: the run, when, and its parts."""
        assert shelf.cache is not None
        used = shelf.cache.used(lasts)
        found: list[tuple[float, str, Mapping[str, Any]]] = []
        for key in lasts:
            if (kept := shelf.cache.result(key)) is not None:
                found.append((max(kept.at, used.get(key, 0.0)), kept.run, kept.parts))
            elif (failure := shelf.cache.failure(key)) is not None and isinstance(failure.get("parts"), dict):
                found.append((float(failure["at"]), str(failure["run"]), failure["parts"]))
        at, run, parts = max(found, key=lambda one: one[0], default=(0.0, "", {}))
        return (run, at, parts) if found else None

    def _holder(self, scope: str, key: str) -> str:
        """Claim a key; else who has it, of this run or another."""
        if (node := self._held.get((scope, key))) is not None:
            return f"node {node}"
        twins = self._twins.get(scope)
        return twins.claim(key) if twins is not None else ""


def _items(planned: Planned) -> Iterator[object]:
    """The values of the items that a node is in, the innermost first."""
    scope: Scope | None = planned.scope
    while scope is not None:
        if scope.item is not None:
            yield scope.item.value
        scope = scope.outer


def _is_plain(path: str) -> bool:
    """Whether a path that was read from the cache leads nowhere else than below the root."""
    try:
        return confined(path, "/") == path
    except ValueError:
        return False


def _told(error: Exception) -> str:
    """What an error says, with the file."""
    if isinstance(error, OSError) and error.filename:
        return f'"{error.filename}": {(error.strerror or "").lower()}'
    return str(error)
