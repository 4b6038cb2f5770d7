"""One run as one HTML page that needs nothing else: no network, no library, no server.

Knows no store and no run: it is given plain data. All foreign text is data in it: JSON that no browser obeys, which the
page's own script shows by `textContent` alone, under a policy that lets nothing else run."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wfctl.renderers import content_policy, graph_explorer, graph_svg, reason
from wfctl.renderers.advice import Advice
from wfctl.renderers.picture import Picture
from wfctl.renderers.plain import because, counted
from wfctl.renderers.text import LOOKS, duration, look, plural, safe, state_word
from wfctl.renderers.undo import THEN

_PARTS = Path(__file__).with_name("page")
_COLORS = re.compile("\x1b\\[[0-9;:]*m")

_GOES_ON = ("failed", "interrupted", "waiting_input", "committing", "rollback_failed", "rolled_back")
_BAD = ("failed", "timed_out", "undo_failed")
_LIVE = ("running", "rolling_back", "restarting")

ORDER = (
    "failed", "timed_out", "undo_failed", "waiting_input", "interrupted", "running", "retrying", "undoing", "undone",
    "succeeded", "cached", "tolerated", "skipped", "cancelled", "ready", "waiting",
)  # fmt: skip
"""States, what wants attention first."""


def render(
    dossier: Mapping[str, Any],
    picture: Picture | None = None,
    made: float | None = None,
    insides: Mapping[str, Picture] | None = None,
) -> str:
    """The page of a run. `picture` is its graph, `insides` are those of what its boxes hold, by node; `made` is now, in
    seconds since the epoch."""
    place = {name: i for i, name in enumerate(dossier["nodes"])}
    levels = {} if picture is None else {-1: picture} | {place[name]: one for name, one in (insides or {}).items()}
    graphs = (
        f'<div class="level" data-of="{of}" hidden>{graph_svg.drawing(one)}</div>\n'
        for of, one in levels.items()
    )
    rules = graph_svg.style([":root[data-theme=dark]"]) + graph_explorer.style()
    style = rules + (_PARTS / "report.css").read_text("utf-8")
    script = graph_explorer.script() + (_PARTS / "report.js").read_text("utf-8")
    run = dossier["state"]
    title = safe(f"{state_word(run)}: {dossier['workflow']} {dossier['id']}")
    return "".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            content_policy.element(style, script) + "\n",
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n',
            f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n",
            f"<noscript>{_unscripted(dossier, title, made)}</noscript>\n",
            *graphs,
            f'<script type="application/json" id="data">{_inert(_data(dossier, made))}</script>\n',
            f"<script>{script}</script>\n</body>\n</html>\n",
        )
    )


def _unscripted(dossier: Mapping[str, Any], title: str, made: float | None) -> str:
    """What is there to read where no script may run, as in the viewers of some CI servers."""
    bad = [(name, node) for name, node in dossier["nodes"].items() if node["state"] in _BAD]
    failed = [safe(f"{name}: {_note(node) or state_word(node['state'])}") for name, node in bad[:20]]
    lines = [f"{word}: {command}" for word, command in _next(dossier)]
    told = [_headline(dossier, made), *failed, *lines, "to see all of it, let this page run the script that is in it"]
    return f"<h1>{html.escape(title)}</h1>" + "".join(f"<p>{html.escape(line)}</p>" for line in told)


def _inert(data: object) -> str:
    """Data as JSON in which nothing can end the element that it stands in, or be taken for a comment."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\x7f", "\\u007f")


class _Texts:
    """Each text once, however often it is said; 0 is that which says nothing."""

    def __init__(self) -> None:
        self.all: list[str] = [""]
        self._place = {"": 0}

    def of(self, text: str | None, *, lines: bool = False) -> int:
        """The place of a foreign text, made safe."""
        if not text:
            return 0
        shown = safe(text, lines=lines)
        place = self._place.setdefault(shown, len(self.all))
        if place == len(self.all):
            self.all.append(shown)
        return place


def _data(dossier: Mapping[str, Any], made: float | None) -> dict[str, Any]:
    texts = _Texts()
    began = dossier["began"]
    place = {name: i for i, name in enumerate(dossier["nodes"])}

    def at(moment: float | None) -> int | None:
        """Milliseconds from the beginning of the run."""
        return None if moment is None else round((moment - began) * 1000)

    nodes = [_node(name, node, place, at, texts) for name, node in dossier["nodes"].items()]
    planned = dossier["plan"]
    for name, (start, finish) in planned["nodes"].items():
        if name in place:
            nodes[place[name]]["plan"] = [at(start), at(finish)]
    for chain, sign in ((dossier["critical_path"], "critical"), (dossier["longest"], "longest")):
        for name in chain:
            if name in place and (len(chain) > 1 or sign == "longest"):
                nodes[place[name]][sign] = 1
    kinds = list(dict.fromkeys(event[1] for event in dossier["events"]))
    number = {kind: i for i, kind in enumerate(kinds)}
    return {
        "run": _run(dossier, at, made),
        "looks": {state: [one.mark, _color(state)] for state, one in LOOKS.items()} | {"tolerated": ["✗", "mute"]},
        "order": list(ORDER),
        "resources": [{**one, "name": safe(one["name"])} for one in dossier["resources"]],
        "planned": {"from": planned["from"], "note": _of_the_plan(planned)},
        "breaks": [[at(begin), at(end)] for begin, end in dossier["breaks"]],
        "plans": [[at(one["time"]), one["reason"]] for one in dossier["plans"]],
        "nodes": nodes,
        "rollback": _rollback(dossier, place, at),
        "checkpoints": [
            [safe(one["name"]), at(one["time"]), [safe(file) for file in one["files"]], one["bytes"]]
            for one in dossier["checkpoints"]
        ],
        "kinds": [kind.replace("_", " ") for kind in kinds],
        "events": [
            [at(time), number[kind], place.get(node, -1), texts.of(detail)]
            for time, kind, node, detail in dossier["events"]
        ],
        "events_left_out": dossier["events_left_out"],
        "texts": texts.all,
    }


def _color(state: str) -> str:
    """The word of the style for a state: the page has six of them, each for light and for dark."""
    style = look(state).style
    for word, color in (("red", "bad"), ("green", "good"), ("yellow", "warn"), ("cyan", "live"), ("magenta", "undo")):
        if word in style:
            return color
    return "mute"




# -- the run


def _run(dossier: Mapping[str, Any], at: Any, made: float | None) -> dict[str, Any]:
    outputs = dossier["outputs"]
    return {
        "id": dossier["id"],
        "workflow": safe(dossier["workflow"]),
        "file": safe(dossier["file"]),
        "folder": safe(dossier["folder"]),
        "state": dossier["state"],
        "live": dossier["state"] in _LIVE,
        "headline": _headline(dossier, made),
        "error": safe(dossier["error"] or "", lines=True),
        "began": round(dossier["began"] * 1000),
        "end": at(dossier["ended"]),
        "last": at(dossier["time"]),
        "made": None if made is None else round(made * 1000),
        "exit": dossier["exit_code"],
        "version": safe(dossier["version"]),
        "policy": dossier["policy"],
        "params": [[safe(name), _value(value)] for name, value in dossier["params"].items()],
        "outputs": [[safe(name), _value(value)] for name, value in outputs.items()],
        "next": list(_next(dossier)),
        "transactions": [f"{safe(one['node'])}: {safe(one['name'])}" for one in dossier["transactions"]],
    }


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return safe(text if len(text) <= 2000 else f"{text[:2000]}…", lines=True)


def _counts(dossier: Mapping[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in dossier["nodes"].values():
        word = "tolerated" if node["tolerated"] else node["state"]
        counts[word] = counts.get(word, 0) + 1
    return counts


def _headline(dossier: Mapping[str, Any], made: float | None) -> str:
    """How the run stands, in one sentence; one that is under way, as of now."""
    state, counts = dossier["state"], _counts(dossier)
    last = made if made is not None and state in _LIVE else dossier["time"]
    took = duration(max(0.0, (dossier["ended"] or last) - dossier["began"]))
    told = ", ".join(counted(counts, [*ORDER, *(word for word in counts if word not in ORDER)]))
    when = f"for {took} so far" if state in _LIVE else f"after {took}"
    return f"{state_word(state)} {when}: {told or plural(0, 'node')}"


def _next(dossier: Mapping[str, Any]) -> Iterator[list[str]]:
    """What to type next, the first thing first: what it is for, and the command."""
    run, state, nodes, advice = dossier["id"], dossier["state"], dossier["nodes"], Advice()
    asked = {name: node["question"]["choices"] for name, node in nodes.items() if node["question"]}
    stuck = [name for name, node in nodes.items() if node["state"] == "undo_failed"]
    if asked:
        yield from (["answer with", safe(text)] for text in advice.answers(run, asked))
    if stuck:
        yield ["once mended", safe(advice.retry_undo(run, stuck[0]))]
        yield ["or by hand", safe(advice.undone_by_hand(run, stuck[0]))]
    elif state in _GOES_ON and not (asked and state == "running"):
        word = "then" if asked else "once mended" if _failed(dossier) else "go on with"
        yield [word, advice.resume(run, dossier["wants_update"])]
    elif state in _LIVE and not asked:
        yield ["watch it with", advice.command("logs", run, "-f")]
    elif state == "succeeded" and dossier["outputs"]:
        yield ["print its outputs with", advice.command("output", run)]


def _failed(dossier: Mapping[str, Any]) -> bool:
    return any(node["state"] in _BAD and not node["tolerated"] for node in dossier["nodes"].values())


def _of_the_plan(planned: Mapping[str, Any]) -> str:
    """Where the planned times are from, and what they do not know."""
    if planned["from"] == "none":
        return f"The plan of the start cannot be made again: {safe(planned['why'])}."
    if planned["from"] == "journal":
        return "Planned: the plan that this run was given at its start, as it was recorded."
    text = (
        "Planned: made again from the definition and the estimates that the run began with; "
        "it takes for granted that all goes well"
    )
    if planned["kept"]:
        text += ", and does not know which kept results were there then"
    if planned["guessed"]:
        names = ", ".join(map(safe, planned["guessed"][:5]))
        text += f"; the items of {names} were not known then, and one is taken for them"
    return text + "."


def _rollback(dossier: Mapping[str, Any], place: Mapping[str, int], at: Any) -> dict[str, Any] | None:
    """What was undone, what was not and why."""
    told, begun = dossier["rollback"], dossier["rollbacks"]
    history = [
        [at(one["time"]), one["strategy"], safe(one["why"]), safe(one["by"]), THEN.get(one["then"], "")]
        for one in begun
    ]
    if told is None:
        return {"begun": history} if history else None
    analysis = told["analysis"]
    names = {
        key: [place[name] for name in analysis.get(key, ()) if name in place]
        for key in ("failed", "affected", "without", "unknown", "kept_by_pivot")
    }
    return {
        "begun": history,
        "strategy": told["strategy"],
        "state": told["state"],
        "why": safe(told["why"]),
        "consistency": analysis.get("consistency", ""),
        "complexity": analysis.get("complexity", ""),
        **names,
        "blocked": [place[name] for name in told["blocked"] if name in place],
        "steps": [
            {
                "node": place.get(one["node"], -1),
                "state": one["state"],
                "step": one["step"],
                "steps": one["steps"],
                "error": safe(one["error"] or "", lines=True),
                "how": one["how"] or "",
                "by": safe(one["by"] or ""),
                "reason": safe(one["reason"] or ""),
                "removed": [safe(file) for file in one["removed"]],
                "left": [safe(file) for file in one["left"]],
                "does": [safe(text) for text in one["does"]],
            }
            for one in told["steps"]
        ],
    }


# -- nodes


def _node(name: str, node: Mapping[str, Any], place: Mapping[str, int], at: Any, texts: _Texts) -> dict[str, Any]:
    """A node without what says nothing: of 5,000 nodes each word counts."""
    sentence, changes = reason.told(node["why"])
    estimate = round(node["estimate"] * 1000) if not node["children"] else None
    ran = node["attempts"] or node["state"] == "cached"
    found = {
        "id": safe(name),
        "kind": texts.of(node["kind"]),
        "finally": int(node["section"] == "finally"),
        "parent": place.get(node["parent"]) if node["parent"] is not None else None,
        "children": node["children"],
        "needs": [place[need] for need in node["needs"] if need in place],
        "about": texts.of(node["description"], lines=True),
        "does": texts.of(node["does"], lines=True),
        "when": texts.of(node["when"]),
        "level": 0 if node["priority"] == "normal" else texts.of(node["priority"]),
        "pivot": int(node["pivot"]),
        "state": "tolerated" if node["tolerated"] else node["state"],
        "unknown": int(node["outcome"] == "unknown"),
        "note": texts.of(_note(node), lines=True),
        "start": at(node["started"]) if ran or node["children"] else None,
        "end": at(node["finished"]) if ran or node["children"] else None,
        "tries": [_attempt(one, at, texts) for one in node["attempts"]],
        "est": estimate,
        "from": texts.of(node["estimate_from"]),
        "uses": [[safe(resource), amount] for resource, amount in node["demand"]],
        "key": node["why"]["key"] or "",
        "why": texts.of(sentence, lines=True) if ran else 0,
        "changes": [texts.of(line) for line in changes],
        "undo": [texts.of(line, lines=True) for line in node["undo"]],
        "undone": [
            [one["step"], one["n"], at(one["start"]), at(one.get("end")), one["state"], texts.of(one.get("error"))]
            for one in node["undone"]
        ],
        "out": _output(node["output"]),
        "logs": [
            [one["attempt"], safe(one["name"]), one["size"], _log(one["text"], whole=node["secret"]), int(one["cut"])]
            for one in node["logs"]
        ],
        "held": texts.of(node["held"], lines=True),
    }
    return {
        key: value for key, value in found.items() if value or (value == 0 and key in ("start", "end", "parent", "est"))
    }


def _attempt(one: Mapping[str, Any], at: Any, texts: _Texts) -> list[Any]:
    """Number, ready, start, end, state, how long its work took, exit code, what is to be said, devices, and when it is
    tried again."""
    seconds = one.get("seconds")
    reason = "its engine died; when it ended is not known" if one.get("reason") == "engine_died" else ""
    said = one.get("error") or reason or (because(one["reason"]) if one["state"] == "cancelled" else "")
    devices = " ".join(map(safe, one["devices"]))
    told: list[Any] = [
        one["n"], at(one["ready"]), at(one["start"]), at(one.get("end")), one["state"],
        None if seconds is None else round(seconds * 1000), one.get("exit_code"), texts.of(said, lines=True) or None,
        devices or None, at(one.get("again")),
    ]  # fmt: skip
    while told[-1] is None:
        told.pop()
    return told


def _note(node: Mapping[str, Any]) -> str:
    """What there is to say of a node in a line."""
    state = node["state"]
    if node["question"]:
        return str(node["question"]["message"])
    if node["waits"]:
        return f"waits for {node['waits']}, which works on the same key"
    if state == "undo_failed" and node["undone"]:
        return f"was not undone: {node['undone'][-1].get('error') or 'why is not known'}"
    if node["error"] and state not in ("succeeded", "cached"):
        return str(node["error"])
    if node["reason"] and state in ("skipped", "cancelled"):
        return because(node["reason"], node["trigger"])
    if state == "cached":
        return f"kept result {node['reason']}"
    return ""


def _output(output: Mapping[str, Any] | None) -> list[Any]:
    """The text, how long the whole is, and whether it is JSON, text, or in a file."""
    if output is None:
        return []
    how = "file" if output.get("file") else "json" if output["json"] else "text"
    return [safe(output["text"], lines=True), output["size"], how]


def _log(text: str, *, whole: bool) -> str:
    """The end of a log. Colours are left out, for they say nothing in black on white; not of a log that had secrets:
    one that they cut in two would be put together again. All else is shown."""
    text = text if whole else _COLORS.sub("", text)
    return safe(text.replace("\r\n", "\n"), lines=True)
