"""The kind `notify`: tells people, at one address or several.

Knows nothing of why. An address may be a secret as a whole: it is named by its place in the list, and never shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from wfctl import __version__, expr
from wfctl.errors import Problem, Where
from wfctl.fields import FieldsKind
from wfctl.jobs import Result, Tools

if TYPE_CHECKING:
    from wfctl.exchange import Line

LONGEST = 2000
"""Characters of `content`: Discord takes no more."""
PATIENCE = 30.0
"""Seconds in which an address must answer: who waits for news of it waits for those behind it too."""


class Notify(FieldsKind):
    """`notify: {to: […]}`."""

    name = "notify"
    secrets = frozenset({"to"})
    slotless = True
    in_place = True

    def check(self, fields: Mapping[str, Any], where: Where) -> Iterator[Problem]:
        """What is no address shows where it holds no expression."""
        to = fields.get("to")
        for i, address in enumerate(to if isinstance(to, list) else ()):
            if isinstance(address, str) and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://.", address):
                yield Problem((*where, "to", i), "is no URL", "write one such as https://hooks.example/…")

    def perform(self, fields: Mapping[str, Any], tools: Tools) -> Result:
        """Tell all of them, also when one cannot be reached."""
        from wfctl.exchange import Line

        line = Line()
        tools.when_stopped(line.cut)
        to = fields.get("to")
        addresses = to if isinstance(to, list) else [to]
        if not addresses:
            return Result(reason="not_started", error="to names nobody; give one URL, or more")
        title = "" if fields.get("title") is None else expr.as_text(fields["title"])
        body = fields.get("body")
        failed = []
        for i, address in enumerate(addresses):
            why = _tell(address, title, body, f"{tools.key}/{i}", tools, line)
            if why:
                failed.append({"to": i, "error": why})
                tools.log(f"to[{i}]: {why}")
        reached = [i for i in range(len(addresses)) if all(fault["to"] != i for fault in failed)]
        output = {"reached": reached, "failed": failed}
        if not failed:
            return Result(output=output)
        shown = "; ".join(f"to[{fault['to']}]: {fault['error']}" for fault in failed[:5])
        return Result(output=output, reason="notify", error=f"{len(failed)} of {len(addresses)} not reached: {shown}")


def _tell(address: object, title: str, body: object, key: str, tools: Tools, line: Line) -> str:
    """Tell one of them; why it was not reached, which does not name it."""
    if not isinstance(address, str) or "://" not in address:
        return "that is no URL"
    if line.is_cut:
        return "stopped"
    if address.strip().lower().startswith(("http://", "https://")):
        return _post(address, title, body, key, tools, line)
    return _hand_over(address, title, text_of(body), tools)


def text_of(body: object) -> str:
    """A body as people read it: text as it is, other values as JSON."""
    if body is None or isinstance(body, str):
        return body or ""
    return json.dumps(body, ensure_ascii=False, indent=2)


def document(title: str, body: object) -> dict[str, object]:
    """What is posted to a webhook. Slack and Mattermost show `text`, Discord `content`; the other two are for programs,
    the body as the value that it is. Each passes over what it does not know."""
    text = "\n".join(part for part in (title, text_of(body)) if part)
    content = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return {"title": title, "body": body, "text": text, "content": content}


def _post(url: str, title: str, body: object, key: str, tools: Tools, line: Line) -> str:
    from wfctl import exchange
    from wfctl.kinds.http import idempotency_key

    headers = {
        "User-Agent": f"wfctl/{__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "Idempotency-Key": idempotency_key(key),
    }
    try:
        content = json.dumps(document(title, body), ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return "title or body holds what cannot be encoded"
    request = exchange.Request(method="POST", url=url, headers=headers, body=content)
    try:
        with exchange.exchange(request, line, tools.environ, PATIENCE) as answer:
            if not 200 <= answer.status < 300:
                return f"HTTP {answer.status} {answer.reason}".rstrip()
    except exchange.Failure as failure:
        return str(failure)
    return ""


# -- other addresses


def _hand_over(address: str, title: str, text: str, tools: Tools) -> str:
    """Have the library tell it that knows that sort of address."""
    scheme = address.partition("://")[0].lower()
    if not re.fullmatch(r"[a-z][a-z0-9+.-]{0,30}", scheme):
        return "that is no URL"
    try:
        import apprise
    except ImportError:
        return 'only http:// and https:// are known without apprise; pip install "wfctl[notify]"'
    try:
        with _Listening(tools, address):
            told = apprise.Apprise()
            if not told.add(address):
                return "apprise knows no such address; correct it"
            return "" if told.notify(title=title, body=text or title) else "apprise could not reach it"
    except Exception as error:      # the others are told all the same
        return f"apprise failed: {type(error).__name__}"


class _Listening:
    """What apprise says in this thread goes to the log of the attempt, without any part of the address, and nowhere
    else."""

    def __init__(self, tools: Tools, address: str) -> None:
        import logging
        import threading
        from urllib.parse import unquote

        thread = threading.get_ident()
        rest = address.partition("://")[2]
        parts = {part for text in (rest, unquote(rest)) for part in re.split(r"[/:@?&=,\s]+", text) if len(part) > 3}
        hidden = re.compile("|".join(map(re.escape, sorted(parts, key=len, reverse=True))) or "(?!)", re.IGNORECASE)

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.thread == thread:
                    tools.log(f"apprise: {hidden.sub('***', unquote(record.getMessage()))}")

        self._logger = logging.getLogger("apprise")
        self._handler = Handler(logging.WARNING)

    def __enter__(self) -> None:
        self._logger.propagate = False
        self._logger.addHandler(self._handler)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self._handler)
