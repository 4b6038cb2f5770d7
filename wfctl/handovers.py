"""Who writes what others read: edges by path, and writers that come in each other's way.

Knows no plan: it is told who there is and which paths are theirs, as far as that is known before the run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from wfctl import graph
from wfctl.errors import Problem
from wfctl.instances import Instance, points
from wfctl.paths import Written, parents


def add_edges(made: Mapping[str, Instance], paths: Callable[[Instance, str], Iterable[str]]) -> list[Problem]:
    """Let each that reads a path need who writes it. What is told are two writers of one path that nothing orders.

    `paths` gives what one `reads` or `writes`.
    """
    writers: dict[str, list[str]] = {}
    reads: dict[str, list[str]] = {}  # by path: many nodes may seek the same
    for name, one in made.items():
        if (one.node.writes or one.node.reads) and not one.holds:
            for path in paths(one, "writes"):
                others = writers.setdefault(path, [])
                if name not in others:
                    others.append(name)
            if one.node.section == "nodes":
                for path in paths(one, "reads"):
                    reads.setdefault(path, []).append(name)
    if not writers:
        return []
    found, possible = _found(made, writers, reads)
    _let_need(made, found)
    if possible:
        _let_need(made, _without_circles(possible, points(made)))
    return list(_collisions(made, writers))


_Edges = dict[str, dict[str, None]]


def _found(
    made: Mapping[str, Instance], writers: Mapping[str, list[str]], reads: Mapping[str, list[str]]
) -> tuple[_Edges, _Edges]:
    """Whom each that reads must follow, for sure; and whom maybe."""
    index = Written(writers)
    found: _Edges = {}
    possible: _Edges = {}
    for path, readers in reads.items():
        for written, sure in index.matching(path):
            for writer in writers[written]:
                for name in readers if made[writer].node.section == "nodes" else ():
                    if writer != name:
                        (found if sure else possible).setdefault(name, {})[writer] = None
    return found, possible


def _let_need(made: Mapping[str, Instance], edges: Mapping[str, Iterable[str]]) -> None:
    for name, names in edges.items():
        made[name].needs = list(dict.fromkeys((*made[name].needs, *names)))


def _collisions(made: Mapping[str, Instance], writers: Mapping[str, list[str]]) -> Iterator[Problem]:
    """Two writers of a path, or one of a folder and one of what lies in it, come one after the other."""
    shared = {path: names for path, names in writers.items() if len(names) > 1}
    inside: dict[str, list[str]] = {}  # written folders, and what is written in them
    for path in writers:
        for parent in parents(path):
            if parent in writers:
                inside.setdefault(parent, []).append(path)
    if not shared and not inside:
        return
    before = points(made)
    place = {name: i for i, name in enumerate(graph.order(before))}
    for path, names in shared.items():
        ordered = sorted(names, key=lambda n: (made[n].node.section == "finally", place.get(n, 0)))
        for one, other in pairwise(ordered):
            node = made[other].node
            if made[one].node.section == node.section and not _comes_after(other, one, before, place):
                what = f'"{path}" is written by "{one}" too, and neither comes after the other'
                hint = "let one need the other, or write two files"
                yield Problem(node.at("writes"), what, hint, file=node.file)
    after = graph.successors(before) if inside else {}
    for folder, files in inside.items():
        for one in writers[folder]:
            section = made[one].node.section
            found = {n: path for path in files for n in writers[path] if made[n].node.section == section}
            for other in _strangers(one, found, before, after, place):
                node = made[other].node
                inner = f'"{found[other]}" lies in "{folder}", which "{one}" writes'
                what = f"{inner}, and neither comes after the other"
                hint = "let one need the other, or write to another folder"
                yield Problem(node.at("writes"), what, hint, file=node.file)


def _without_circles(
    possible: Mapping[str, Collection[str]], before: Mapping[str, Sequence[str]]
) -> Mapping[str, Collection[str]]:
    """Those of the possible needs that lie on no circle: what only may be must not make a sound file wrong."""
    joined = {point: {*needs, *possible.get(point, ())} for point, needs in before.items()}
    # No circle leads to the first, and from the second none can be reached.
    first, last = set(graph.order(joined)), set(graph.order(graph.successors(joined)))
    return {n: [need for need in needs if n in last or need in first] for n, needs in possible.items()}


def _comes_after(later: str, earlier: str, needs: Mapping[str, Sequence[str]], place: Mapping[str, int]) -> bool:
    """Whether a path of edges leads from `earlier` to `later`; looks at nothing that stands before `earlier`."""
    first = place.get(earlier, 0)
    seen = {later}
    todo = [later]
    while todo:
        for need in needs[todo.pop()]:
            if need == earlier:
                return True
            if need not in seen and place.get(need, 0) > first:
                seen.add(need)
                todo.append(need)
    return False


def _strangers(
    one: str,
    others: Iterable[str],
    needs: Mapping[str, Collection[str]],
    after: Mapping[str, Collection[str]],
    place: Mapping[str, int],
) -> list[str]:
    """Those of `others` that no path of edges joins with `one`; looks at nothing that stands beyond them."""
    kin = {one, *needs[one], *after[one]}  # mostly that is all
    left = [name for name in others if name not in kin]
    if not left:
        return []
    places = [place.get(name, 0) for name in (one, *left)]
    first, last = min(places), max(places)
    for steps in (needs, after):
        seen = {one}
        todo = [one]
        while todo:
            for name in steps[todo.pop()]:
                if name not in seen and first <= place.get(name, 0) <= last:
                    seen.add(name)
                    todo.append(name)
        kin |= seen
    return [name for name in left if name not in kin]
