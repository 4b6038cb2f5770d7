"""Pictures of graphs: what they show, and that they show no edge that is not there."""

from __future__ import annotations

import json
import random
import re
from itertools import pairwise

import pytest

from wfctl.errors import UsageError
from wfctl.renderers import GRAPH_FORMATS, graph_terminal, load_graph
from wfctl.renderers.layers import crossings
from wfctl.renderers.picture import Picture, PictureEdge, PictureNode, layers, order, parts, settle, web
from wfctl.renderers.text import width_of

Edges = set[tuple[str, str]]


def picture(*chains: str, alone: str = "", critical: bool = False) -> Picture:
    """`picture("a b c", "a c")` has the edges a-b, b-c and a-c."""
    words = [chain.split() for chain in chains]
    ids = dict.fromkeys([word for chain in words for word in chain] + alone.split())
    edges = dict.fromkeys(pair for chain in words for pair in pairwise(chain))
    return Picture(
        "flow",
        tuple(PictureNode(id, "run", critical=critical) for id in ids),
        tuple(PictureEdge(source, target) for source, target in edges),
    )


def random_picture(seed: int, nodes: int, edges: int) -> Picture:
    chance = random.Random(seed)
    ids = [f"n{i}" for i in range(nodes)]
    pairs = {tuple(sorted(chance.sample(range(nodes), 2))) for _ in range(edges)} if nodes > 1 else set()
    told = list(ids)
    chance.shuffle(told)
    return Picture(
        "random",
        tuple(PictureNode(id, "run", critical=True) for id in told),
        tuple(PictureEdge(f"n{a}", f"n{b}") for a, b in sorted(pairs)),
    )


def edges_of(picture: Picture) -> Edges:
    return {(edge.source, edge.target) for edge in picture.edges}


# The drawings ---------------------------------------------------------------------------------------


def test_a_diamond_is_drawn_in_boxes() -> None:
    expected = """\
flow · 4 nodes, 4 edges

              ╭───────╮
            ╭─▶ left  ├─╮
╭─────────╮ │ ╰───────╯ │ ╭──────╮
│ extract ├─┤ ╭───────╮ ├─▶ join │
╰─────────╯ ╰─▶ right ├─╯ ╰──────╯
              ╰───────╯
"""
    assert graph_terminal.render(picture("extract left join", "extract right join")) == expected


def test_what_is_too_wide_from_left_to_right_is_drawn_downwards() -> None:
    expected = """\
flow · 4 nodes, 3 edges

╭──────────╮
│ download │
╰─────┬────╯
      │
 ╭────▼───╮
 │ unpack │
 ╰────┬───╯
      │
 ╭────▼────╮
 │ publish │
 ╰────┬────╯
      │
 ╭────▼───╮
 │ notify │
 ╰────────╯
"""
    assert graph_terminal.render(picture("download unpack publish notify"), width=40) == expected


def test_without_unicode_all_is_ascii() -> None:
    text = graph_terminal.render(picture("extract left join", "extract right join"), unicode=False)
    expected = """\
flow, 4 nodes, 4 edges

              .-------.
            .-> left  +-.
.---------. | '-------' | .------.
| extract +-+ .-------. +-> join |
'---------' '-> right +-' '------'
              '-------'
"""
    assert text == expected


def test_a_run_shows_states_by_marks_and_times_and_counts_them() -> None:
    nodes = (
        PictureNode("load", "run", "succeeded", 1.25),
        PictureNode("send", "http", "failed", 61.0, critical=True),
        PictureNode("tell", "notify", "succeeded", section="finally"),
    )
    text = graph_terminal.render(Picture("flow", nodes, (PictureEdge("load", "send"),), "failed"))
    expected = """\
flow · 3 nodes, 1 edge · ✗ failed

╭────────╮   ┏━━━━━━━━━━━━━━━┓
│ ✓ load │   ┃    ✗ send     ┃
│  1.2s  ├───▶ http · 1m 01s ┃
╰────────╯   ┗━━━━━━━━━━━━━━━┛

── finally ─────────────────────────────────────────────────────────────────────

╭────────╮
│ ✓ tell │
│ notify │
╰────────╯

✓ 2 succeeded   ✗ 1 failed
"""
    assert text == expected


def test_many_nodes_are_drawn_as_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_terminal, "MOST_BOXES", 0)
    expected = """\
flow · 6 nodes, 5 edges

● split
├▸● a
● │ b
╰▸┤
  ● join
  ● end

── 1 node without edges
● other
"""
    assert graph_terminal.render(picture("split a join", "split b join", "join end", alone="other")) == expected


def test_parts_without_a_connection_stand_beside_each_other() -> None:
    lines = graph_terminal.render(picture("a b", "x y")).splitlines()
    assert lines[3] == "│ a ├───▶ b │   │ x ├───▶ y │"


def test_a_needed_node_that_has_no_lane_is_named() -> None:
    crowd = random_picture(1, 80, 600)
    text = graph_terminal.render(crowd, width=40)
    assert "← needs that are not drawn as lines" in text
    assert re.search(r"n\d+  ← n\d+", text)


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("nodes", [1, 12, 60])
def test_no_line_is_wider_than_the_terminal(width: int, nodes: int, unicode: bool) -> None:
    base = random_picture(nodes, nodes, nodes * 2)
    foreign = tuple(PictureNode(n.id + "_long" * 30, "http", note="列\x1b[31m" * 20) for n in base.nodes)
    edges = tuple(PictureEdge(e.source + "_long" * 30, e.target + "_long" * 30) for e in base.edges)
    text = graph_terminal.render(Picture("t" * 300, foreign, edges), width=width, unicode=unicode)
    assert max(map(width_of, text.splitlines())) <= width
    assert "\x1b" not in text
    assert unicode or text.isascii()


def test_colour_changes_no_character() -> None:
    shown = random_picture(3, 20, 30)
    plain, painted = graph_terminal.render(shown), graph_terminal.render(shown, color=True)
    assert painted != plain
    stripped = re.sub("\x1b\\[[0-9;]*m", "", painted)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


# No wrong edges -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(150))
def test_boxes_show_exactly_the_edges(seed: int) -> None:
    shown = random_picture(seed, 2 + seed % 12, 1 + seed % 17)
    width = (60, 100, 250)[seed % 3]
    text = graph_terminal.render(shown, width=width)
    if "┏" in text:
        assert edges_in_boxes(text) == edges_of(shown)
    else:
        assert edges_in_lanes(text) == edges_of(shown)


def test_the_random_pictures_are_drawn_in_boxes_more_often_than_not() -> None:
    drawn = ["┏" in graph_terminal.render(random_picture(s, 2 + s % 12, 1 + s % 17), width=250) for s in range(50)]
    assert sum(drawn) >= 40


@pytest.mark.parametrize("seed", range(100))
def test_lanes_show_exactly_the_edges(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_terminal, "MOST_BOXES", 0)
    shown = random_picture(seed, 1 + seed % 40, seed)
    assert edges_in_lanes(graph_terminal.render(shown, width=1000)) == edges_of(shown)


@pytest.mark.parametrize("seed", range(50))
def test_crowded_lanes_show_or_name_every_edge_and_no_other(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_terminal, "MOST_BOXES", 0)
    shown = random_picture(seed, 30, 40 + seed)
    text = graph_terminal.render(shown, width=40)
    drawn, all_edges = edges_in_lanes(text), edges_of(shown)
    assert drawn <= all_edges
    named = {line.split("←")[0].split()[-1] for line in text.splitlines() if re.search("n[0-9]+  ←", line)}
    assert {target for _, target in all_edges - drawn} <= named


_SIDES = {"│": "ud", "─": "lr", "╭": "dr", "╮": "dl", "╰": "ur", "╯": "ul",
          "├": "udr", "┤": "udl", "┬": "dlr", "┴": "ulr", "┼": "udlr"}  # fmt: skip
_STEP = {"u": (-1, 0), "d": (1, 0), "l": (0, -1), "r": (0, 1)}
_BACK = {"u": "d", "d": "u", "l": "r", "r": "l"}


def edges_in_boxes(text: str) -> Edges:
    """Follow every line from where it leaves a box (drawn heavy) to the arrows that it leads to.

    Lines lead to the right where they leave a box on its right, else down; nobody follows them backwards.
    """
    lines = text.splitlines()
    grid = {(r, c): char for r, line in enumerate(lines) for c, char in enumerate(line)}
    owner: dict[tuple[int, int], str] = {}
    for (row, column), char in grid.items():
        if char == "┏":
            right = next(c for c in range(column, 1000) if grid[row, c] == "┓")
            bottom = next(r for r in range(row, 1000) if grid[r, column] == "┗")
            inside = " ".join(lines[r][column + 1 : right] for r in range(row + 1, bottom))
            for r in range(row, bottom + 1):
                for c in range(column, right + 1):
                    owner[r, c] = inside.split()[0]
    found: Edges = set()
    for cell, char in grid.items():
        if char in "┯┠" and cell in owner:
            backwards = "u" if char == "┯" else "l"
            todo, seen = [(cell, _BACK[backwards])], set()
            while todo:
                (row, column), side = todo.pop()
                at = (row + _STEP[side][0], column + _STEP[side][1])
                if (at, side) in seen or grid[at] in "┯┠":
                    continue
                seen.add((at, side))
                if grid[at] in "▼▶":
                    found.add((owner[cell], owner[at]))
                elif grid[at] == "│" and side in "lr":  # passes under
                    todo.append((at, side))
                else:
                    assert _BACK[side] in _SIDES[grid[at]], f"a line ends in nothing at {at}"
                    todo += [(at, on) for on in _SIDES[grid[at]] if on not in (_BACK[side], backwards)]
    return found


def edges_in_lanes(text: str) -> Edges:
    """Read lanes as a person would: down, and across to the node of the row, or from the node above."""
    found: Edges = set()
    open_lanes: dict[int, set[str]] = {}
    last, name = -1, ""
    for line in text.split("\n\n")[1].splitlines():
        if line.startswith(("──", "←")):
            break
        match = re.match(r"([ │─╭╮╰╯├┤┬┴┼▸◂]*)(?:(◆)([ │─╭╮╰╯├┤┬┴┼▸◂]*)(\w+))?", line)
        assert match
        left, node_mark, right, node = match.groups(default="")
        row = left + node_mark + right
        met = [i // 2 for i in range(0, len(row), 2) if row[i] in _SIDES and set(_SIDES[row[i]]) & {"l", "r"}]
        met = [slot for slot in met if row[2 * slot] != "─"]
        down = {i // 2: row[i] in _SIDES and "d" in _SIDES[row[i]] for i in range(0, len(row), 2)}
        up = {i // 2: row[i] in _SIDES and "u" in _SIDES[row[i]] for i in range(0, len(row), 2)}
        assert all(open_lanes.get(slot) for slot, there in up.items() if there), f"from nowhere: {line}"
        following = {slot: open_lanes[slot] for slot in up if up[slot] and down[slot]}
        if node:
            own = len(left) // 2
            sources = set().union(open_lanes.get(own, set()), *(open_lanes[slot] for slot in met))
            found |= {(source, node) for source in sources}
            following[own] = {node}
            last = own
            name = node
        else:
            for slot in met:
                arrow = row[2 * slot - 1] == "▸" if slot > last else row[2 * slot + 1 : 2 * slot + 2] == "◂"
                if slot != last:
                    assert arrow == up[slot], f"an arrow where no lane is joined, or none where one is: {line}"
                    following[slot] = following.get(slot, set()) | {name}
            if not down[last]:
                following.pop(last, None)
        open_lanes = following
    return found


# Order and layers -----------------------------------------------------------------------------------


def test_nodes_come_after_what_they_need_and_else_as_they_were_told() -> None:
    net = web(picture("c a", alone="b"), "nodes")
    assert [net.nodes[i].id for i in order(net)] == ["c", "a", "b"]


def test_a_cycle_cannot_be_put_in_order() -> None:
    with pytest.raises(ValueError, match="cycle"):
        order(web(picture("a b a"), "nodes"))


def test_rows_are_ordered_so_that_nothing_crosses_when_nothing_must() -> None:
    lay = layers(web(picture("a d", "b e", "c f", "a e", "b f", alone="x"), "nodes"))
    assert crossings(lay.rows, lay.below) == 0


def test_parts_are_what_no_edge_connects() -> None:
    assert [[n.id for n in part.nodes] for part in parts(web(picture("a b", "x y", "b c"), "nodes"))] == [
        ["a", "b", "c"],
        ["x", "y"],
    ]


def test_things_side_by_side_settle_near_to_where_they_want_to_be() -> None:
    assert settle([5, 5, 20], [2, 2, 2], [1, 1, 1], 30) == [4, 6, 20]
    assert settle([-3, 50], [2, 2], [1, 1], 10) == [0, 8]


# Formats for programs -------------------------------------------------------------------------------


def test_json_is_nodes_and_edges_with_the_state_where_there_is_one() -> None:
    shown = Picture(
        "flow",
        (PictureNode("a", "run", "succeeded", 1.5), PictureNode("b", "http")),
        (PictureEdge("a", "b"), PictureEdge("a", "b", "file")),
    )
    assert json.loads(load_graph("json")(shown)) == {
        "nodes": [{"id": "a", "kind": "run", "state": "succeeded", "seconds": 1.5}, {"id": "b", "kind": "http"}],
        "edges": [{"from": "a", "to": "b"}],
    }


HOSTILE = 'x["end"]\\N</script>#quot;\n`b`&\x1b%%{init}%%'


def test_mermaid_knows_no_foreign_word_outside_of_quotes() -> None:
    shown = Picture(
        "flow",
        (PictureNode("end", "run", "failed", critical=True), PictureNode(HOSTILE, "run", section="finally")),
        (PictureEdge("end", HOSTILE, "file", critical=True),),
    )
    expected = """\
---
title: "flow"
---
flowchart TD
  n0["✗ end"]:::failed
  subgraph last["finally"]
    n1["x[#34;end#34;]#92;N#60;/script#62;#35;quot;#92;n#96;b#96;#38;#92;x1b#37;#37;{init}#37;#37;"]
  end
  n0 -.-> n1
  classDef failed fill:#ffdce0,stroke:#cf222e,color:#111
  classDef critical stroke-width:3px
  class n0 critical
  linkStyle 0 stroke-width:3px
"""
    assert load_graph("mermaid")(shown) == expected


def test_dot_quotes_names_and_labels() -> None:
    shown = Picture("flow", (PictureNode(HOSTILE, "http"), PictureNode("b", "run")), (PictureEdge(HOSTILE, "b"),))
    text = load_graph("dot")(shown)
    name = '"x[\\"end\\"]\\\\N</script>#quot;\\\\n`b`&\\\\x1b%%{init}%%"'
    assert f'  {name} -> "b"\n' in text
    assert f'{name} [label={name[:-1].replace("&", "&amp;")}\\nhttp",' in text
    assert text.startswith('digraph "flow" {\n')
    assert text.endswith("}\n")


@pytest.mark.parametrize("format", GRAPH_FORMATS)
def test_every_format_draws_an_empty_and_a_full_picture_and_ends_with_a_newline(format: str) -> None:
    draw = load_graph(format)
    for shown in (Picture("flow", (), ()), random_picture(7, 40, 60)):
        assert draw(shown, width=60, color=False, unicode=True).endswith("\n")


def test_an_unknown_format_is_told_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match='no graph format named "mermade"; did you mean "mermaid"'):
        load_graph("mermade")
