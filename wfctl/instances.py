"""From nodes as they are written to those of a run: groups opened, the items of a `for_each` counted out.

Knows no budget, no estimate and no path: who is there, inside of what, and what each needs."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from wfctl import expr
from wfctl.errors import Problem
from wfctl.items import Item, items_of
from wfctl.node import Inner, Node
from wfctl.scope import Names, Scope

END = "\0"
"""What is added to the id of a node that holds others, for the moment at which it ends: as a point of a graph."""

MOST = 1_000_000
"""Nodes of one run."""


class Instance:
    """A node of a run. `needs` are ids, `children` those inside of it. It is `open` where something is still to be
    found out before it begins: what its items are, or whether a sub-workflow takes what it is given."""

    __slots__ = ("children", "id", "inside", "item", "needs", "node", "open", "parent", "scope")

    def __init__(self, id: str, node: Node, parent: str | None, scope: Scope, needs: list[str]) -> None:
        self.id = id
        self.node = node
        self.parent = parent
        self.scope = scope
        self.needs = needs
        self.children: list[str] = []
        self.inside: Scope | None = None
        self.open = False

    @property
    def holds(self) -> bool:
        """Whether it holds others, and does no work of its own."""
        return self.node.each is not None or self.node.inner is not None


class Instances:
    """Makes the nodes of a run. `names_of` gives what expressions see in a scope, as far as it is known by now.

    `base_of` gives the folder of a sub-workflow's paths, seen from the root. Problems are collected on the way.
    """

    def __init__(
        self, names_of: Callable[[Scope], Names], base_of: Callable[[str, Scope], str], problems: list[Problem]
    ) -> None:
        self._names_of = names_of
        self._base_of = base_of
        self._problems = problems
        self.made: dict[str, Instance] = {}

    def file(self, nodes: Mapping[str, Node], scope: Scope) -> dict[str, Instance]:
        """All nodes of a file, and all inside of them."""
        for name, node in nodes.items():
            self._add(name, node, None, scope)
        return self.made

    def items(self, parent: str, node: Node, scope: Scope, items: Sequence[Item]) -> list[str]:
        """The items of a `for_each`, and all inside of them; the ids of the items."""
        assert node.each is not None
        return [self._item(parent, node.each.item, scope, item).id for item in items]

    def _add(self, id: str, node: Node, parent: str | None, scope: Scope) -> Instance:
        made = self.made[id] = Instance(id, node, parent, scope, written(node, scope))
        if len(self.made) > MOST:
            return made
        if node.each is not None:
            self._count_out(made)
        elif node.inner is not None:
            self._open(made, node.inner)
        return made

    def _count_out(self, made: Instance) -> None:
        each = made.node.each
        assert each is not None
        try:
            found = items_of(each.items, each.key, lambda: self._names_of(made.scope))
        except expr.Unknown:
            made.open = True
            return
        except expr.ExpressionError as error:
            self._problems.append(Problem(made.node.at("for_each"), str(error), file=made.node.file))
            made.open = True
            return
        for item in found:
            made.children.append(self._item(made.id, each.item, made.scope, item).id)

    def _item(self, parent: str, node: Node, scope: Scope, item: Item) -> Instance:
        return self._add(f"{parent}[{item.key}]", node, parent, Scope(outer=scope, item=item, base=scope.base))

    def _open(self, made: Instance, inner: Inner) -> None:
        prefix = f"{made.id}."
        if inner.workflow is None:
            made.inside = Scope(inner.nodes, prefix, outer=made.scope, base=made.scope.base)
        else:
            made.inside = Scope(inner.nodes, prefix, sub=inner, giver=made.scope)
            made.inside.base = self._base_of(next(iter(inner.nodes.values())).file, made.inside)
            made.open = True
        for name, node in inner.nodes.items():
            made.children.append(self._add(prefix + name, node, made.id, made.inside).id)


def written(node: Node, scope: Scope) -> list[str]:
    """The ids that a node needs as it is written, without those that paths add."""
    needs = [found for name in node.needs if (found := scope.find(name)) is not None]
    needs += [found for name in node.far if (found := scope.file.find(name)) is not None]
    return list(dict.fromkeys(needs))


class Placed(Protocol):
    """A node of a run, whether it has its place in a plan or not."""

    @property
    def id(self) -> str: ...
    @property
    def node(self) -> Node: ...
    @property
    def needs(self) -> Collection[str]: ...
    @property
    def parent(self) -> str | None: ...
    @property
    def children(self) -> list[str]: ...
    @property
    def holds(self) -> bool: ...


def points(made: Mapping[str, Placed]) -> dict[str, list[str]]:
    """What comes before what, among these. A node that holds others is two points: that at which it opens, and that at
    which it ends; what is inside lies between them."""
    if not any(one.holds for one in made.values()):
        return {one.id: [need for need in one.needs if need in made] for one in made.values()}

    def end(id: str) -> str:
        return id + END if id in made and made[id].holds else id

    before: dict[str, list[str]] = {}
    for one in made.values():
        before[one.id] = [end(need) for need in one.needs if need in made]
        if one.parent in made:
            assert one.parent is not None
            before[one.id].append(one.parent)
        if one.holds:
            before[one.id + END] = [one.id]
    for one in made.values():
        before[one.id + END if one.holds else one.id] += _inside(one, made, end)
    return before


def _inside(one: Placed, made: Mapping[str, Placed], end: Callable[[str], str]) -> list[str]:
    """What must have ended before a node that holds others can; and before the last of a sub-workflow begin."""
    ends = [end(child) for child in one.children if child in made]
    if one.node.last and one.parent is not None and one.parent in made:
        siblings = made[one.parent].children
        ends += [end(other) for other in siblings if other in made and not made[other].node.last]
    return ends


def at(point: str) -> str:
    """The node of a point."""
    return point.removesuffix(END)


def base(folder: str, file: str, root: object, top: str) -> str:
    """Where the paths of a sub-workflow stand, seen from the root `top` of the run. ValueError where that is outside.

    `folder` is that of the workflow which `file` is named from; `root` is what the sub-workflow says of its own.
    """
    own = posixpath.normpath(posixpath.join(folder, posixpath.dirname(file), str(root)))
    found = posixpath.relpath(own, top) if posixpath.isabs(own) == posixpath.isabs(top) else own
    if found == ".." or found.startswith("../") or posixpath.isabs(found):
        raise ValueError(f'the root of "{file}" lies outside of the root folder; set root: .. where that is meant')
    return "" if found == "." else found


def lifted(made: Mapping[str, Instance], needs: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """What the nodes of the file itself need, with all that lies inside of them."""
    top: dict[str, str] = {}
    found: dict[str, dict[str, None]] = {}
    for one in made.values():  # what is inside comes behind what it is in
        top[one.id] = one.id if one.parent is None else top[one.parent]
        found.setdefault(top[one.id], {})
    for one in made.values():
        own = top[one.id]
        for need in needs[one.id]:
            if need in top and top[need] != own:
                found[own][top[need]] = None
    return {name: list(names) for name, names in found.items()}
