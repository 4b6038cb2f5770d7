"""The kind `http`: one request, and its answer as the output.

Knows nothing of retries, and not who performs it. How requests travel is `exchange`'s affair."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO
from zlib import crc32

from wfctl import __version__, expr
from wfctl.errors import Problem, Where
from wfctl.fields import Body, FieldsKind
from wfctl.jobs import Job, Place, Result, Tools

if TYPE_CHECKING:
    from wfctl.exchange import Answer, Line, Request

LARGEST = 16 * 1024 * 1024
"""Bytes of a body that becomes an output: no output may have more."""
LONGEST_RETRY_AFTER = 3600.0
"""Seconds: a server that asks for more is asked again after that all the same."""
SHOWN = 4096
"""Characters of the body of a failure that go to the log."""

OFFERED = ("application/json", "application/xml", "application/javascript", "application/x-www-form-urlencoded")
"""Types that are text, beside text/… and those that end with +json or +xml."""
BODIES = frozenset({"json", "body", "body_file"})
"""With one of these a request that says no method is a POST, as with other clients; else it is a GET."""
OWN_HEADERS = ("content-length", "transfer-encoding", "connection")
_BEHIND_HOST = re.compile(r"[a-z]+://[^/?#]*[/?#]", re.IGNORECASE | re.DOTALL)
_ODD_CODECS = frozenset("idna punycode unicode_escape raw_unicode_escape undefined utf_7".split())


class Http(FieldsKind):
    """`http: {url: …}`."""

    name = "http"
    secrets = frozenset({"url", "headers", "auth"})
    slotless = True
    in_place = True

    def flat(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Of a URL its texts and values in turn, for each value is encoded by where it stands; the file of a body apart
        from a body, for what an expression yields is never taken for the name of a file."""
        own = {key: value for key, value in super().flat(fields).items() if value is not None}
        own["url"] = pieces(own.get("url", ""))
        if isinstance(body := own.get("body"), Mapping) and "file" in body:
            del own["body"]
            own["body_file"] = body["file"]
        return own

    def check(self, fields: Mapping[str, Any], where: Where) -> Iterator[Problem]:
        """What shows before any value is known: the URL's beginning, names of headers, what excludes what else."""
        yield from _check_url(fields["url"], (*where, "url"))
        method = fields.get("method", "GET")
        if isinstance(method, str) and not _is_method(method):
            yield Problem((*where, "method"), f'"{method[:40]}" is no method', "write one such as GET, POST or DELETE")
        if len(BODIES & fields.keys()) > 1:
            yield Problem((*where, "json"), "stands beside body", "take one of them out", key=True)
        headers = fields.get("headers", {})
        if isinstance(headers, Mapping):
            yield from _check_headers(headers, "auth" in fields, (*where, "headers"))
        auth = fields.get("auth", {})
        if isinstance(auth, Mapping) and "bearer" in auth and {"user", "password"} & auth.keys():
            yield Problem((*where, "auth"), "is {user, password} and {bearer} at once", "keep one of the two")

    def paths(self, body: object, key: str) -> tuple[object, ...]:
        """The file that is sent is read, the one that is saved is written."""
        assert isinstance(body, Body)
        fields = self.flat(body.fields)
        path = fields.get("body_file" if key == "reads" else "save")
        return () if path is None else (path,)

    def prepare(
        self, job: Job, node: object, names: Mapping[str, object], place: Place, vars: Mapping[str, object]
    ) -> Job:
        """The job with its task, which knows where secrets will stand: they are shown to nobody."""
        job = super().prepare(job, node, names, place, vars)
        assert job.task is not None
        hidden = [list(where) for where in job.task.filled.values()]
        return replace(job, task=replace(job.task, fields={**job.task.fields, "hidden": hidden}))

    def perform(self, fields: Mapping[str, Any], tools: Tools) -> Result:
        """Send the request, and make of the answer what it is."""
        from wfctl import exchange

        line = exchange.Line()
        tools.when_stopped(line.cut)
        method = str(fields.get("method") or ("POST" if BODIES & fields.keys() else "GET")).upper()
        hidden = [tuple(where) for where in fields.get("hidden", ())]
        shown = method
        file: BinaryIO | None = None
        try:
            url, seen = spelt(fields["url"], {where[1] for where in hidden if where[0] == "url"})
            url, seen = with_query(url, seen, fields.get("params"))
            shown = f"{method} {seen}"
            file = _opened(fields, tools)
            request = _request(fields, method, url, file, hidden, tools)
            followed: list[str] = []
            idle = max(exchange.IDLE, tools.timeout or 0.0)     # who gives a node longer means it to wait so long
            with exchange.exchange(request, line, tools.environ, idle, followed) as answer:
                for there in followed if not any(where[0] == "url" for where in hidden) else ():
                    tools.log(f"redirected to {there}")
                return _result(answer, fields.get("save"), shown, tools, line, bool(hidden))
        except exchange.Failure as failure:
            output = {"status": failure.status, "headers": {}, "text": "", "bytes": 0}
            error = f"{shown}: {failure}"
            return Result(output=output, reason=failure.reason, error=error, unknown=failure.unknown)
        finally:
            if file is not None:
                file.close()


# -- the URL


def pieces(url: object) -> list[object]:
    """The texts of a URL and its values in turn, a text first and last."""
    if not isinstance(url, expr.Template):
        return [url]
    parts: list[object] = [""]
    for part in url.parts:
        if isinstance(part, str):
            parts[-1] = part
        else:
            parts += [expr.Template(str(part), (part,)), ""]
    return parts


def spelt(parts: list[object], hidden: set[int]) -> tuple[str, str]:
    """The URL of these pieces, and what may be seen of it. Behind the host a value stays one piece of path or query,
    whatever it holds; before, it is taken as it is, for it may be a URL itself. Raises Failure."""
    from urllib.parse import quote

    from wfctl.exchange import Failure

    url = seen = ""
    for i, part in enumerate(parts):
        if i % 2 == 0:
            text = shown = str(part)
        elif part is None:
            raise Failure("not_started", f"value {i // 2 + 1} in the URL is null")
        else:
            text = shown = expr.as_text(part)
            if _BEHIND_HOST.match(url):
                try:
                    text = shown = quote(text, safe="")
                except UnicodeEncodeError:
                    raise Failure("not_started", "a value in the URL holds what cannot be encoded") from None
            elif "://" in url and re.match(r"[^/?#]*[@\\]", text):
                what = f'value {i // 2 + 1} in the URL holds a "@" or "\\" and would choose another host'
                raise Failure("not_started", f"{what}; hand over user and password by auth")
            if i in hidden:
                shown = "***"
        url, seen = url + text, seen + shown
    return url, without_user(seen)


def without_user(url: str) -> str:
    """What may be seen of a URL: nobody's password."""
    return re.sub(r"^([a-z]+://)[^/?#]*@", r"\1", url, flags=re.IGNORECASE)


def with_query(url: str, seen: str, params: object) -> tuple[str, str]:
    """Both with these params behind them. Raises Failure."""
    from urllib.parse import quote

    from wfctl.exchange import Failure

    if not params:
        return url, seen
    if not isinstance(params, Mapping):
        raise Failure("not_started", "params is no mapping of names to values")
    pairs = []
    for name, value in params.items():
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if part is not None:
                try:
                    pairs.append(f"{quote(str(name), safe='')}={quote(expr.as_text(part), safe='')}")
                except UnicodeEncodeError:
                    raise Failure("not_started", f'params: "{name}" holds what cannot be encoded') from None
    if not pairs:
        return url, seen
    url = url.partition("#")[0]
    joint = "?" if "?" not in url else "" if url[-1] in "?&" else "&"
    query = joint + "&".join(pairs)
    return url + query, seen.partition("#")[0] + query


def _check_url(parts: list[object], where: Where) -> Iterator[Problem]:
    from urllib.parse import urlsplit

    beginning = parts[0]
    if not isinstance(beginning, str) or not beginning:     # an expression, or the schema has told of it
        return
    scheme = re.match(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?//", beginning)
    if len(parts) > 1 and scheme is None and "/" not in beginning:
        return
    if scheme is None or (scheme[1] or "").lower() not in ("http", "https"):
        yield Problem(where, f'"{without_user(beginning)[:80]}" is no URL of http or https', "write https://…")
    elif len(parts) == 1:
        try:
            split = urlsplit(beginning)
            usable = bool(split.hostname) and split.port != 0
        except ValueError:
            usable = False
        if not usable or re.search(r"[\x00-\x1f\x7f]", beginning):
            yield Problem(where, "has no host, or one that is none", "write https://host/path")


# -- the request

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _is_method(text: str) -> bool:
    return bool(_TOKEN.fullmatch(text)) and text.upper() != "CONNECT"


def _check_headers(headers: Mapping[str, Any], auth: bool, where: Where) -> Iterator[Problem]:
    known: dict[str, str] = {}
    for name, value in headers.items():
        lower = str(name).lower()
        if not _TOKEN.fullmatch(str(name)):
            yield Problem((*where, name), f'"{name}" is no name of a header', "write one such as Accept", key=True)
        elif lower in known:
            what = f'"{name}" is "{known[lower]}" once more: case does not count'
            yield Problem((*where, name), what, "take one of them out", key=True)
        elif lower in OWN_HEADERS:
            yield Problem((*where, name), f'"{name}" follows from what is sent', "take it out", key=True)
        elif lower == "authorization" and auth:
            yield Problem((*where, name), f'"{name}" stands beside auth', "take one of them out", key=True)
        elif isinstance(value, str) and re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            what = "holds a line break or another control character"
            yield Problem((*where, name), what, "take it out; a header is one line")
        known[lower] = str(name)


def _request(
    fields: Mapping[str, Any],
    method: str,
    url: str,
    file: BinaryIO | None,
    hidden: list[tuple[str | int, ...]],
    tools: Tools,
) -> Request:
    from wfctl.exchange import Failure, Request

    if not _is_method(method):
        raise Failure("not_started", "the method is none; write one such as GET, POST or DELETE")
    given = fields.get("headers") or {}
    if not isinstance(given, Mapping):
        raise Failure("not_started", "headers is no mapping of names to texts")
    own = {str(name): expr.as_text(value) for name, value in given.items() if value is not None}
    for name in own:
        if name.lower() in OWN_HEADERS:
            raise Failure("not_started", f'the header "{name}" follows from what is sent; take it out')
    body, kind = _content(fields)
    headers = {"User-Agent": f"wfctl/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
    if kind:
        headers["Content-Type"] = kind
    if method in ("POST", "PUT", "PATCH", "DELETE"):
        headers["Idempotency-Key"] = idempotency_key(tools.key)
    given_names = {name.lower() for name in own}
    headers = {name: value for name, value in headers.items() if name.lower() not in given_names} | own
    if (auth := fields.get("auth")) is not None:
        if "authorization" in given_names:
            raise Failure("not_started", "auth and a header Authorization are both given; take one of them out")
        headers["Authorization"] = _authorization(auth)
    private = frozenset(str(where[1]).lower() for where in hidden if where[0] == "headers" and len(where) > 1)
    return Request(method=method, url=url, headers=headers, private=private, body=body, file=file)


def _content(fields: Mapping[str, Any]) -> tuple[bytes | None, str]:
    """The body that stands in the fields, and its type."""
    from wfctl.exchange import Failure

    if "body_file" in fields:
        return None, "application/octet-stream"
    try:
        if "json" in fields:
            return json.dumps(fields["json"], ensure_ascii=False, allow_nan=False).encode(), "application/json"
        if "body" in fields:
            body = fields["body"]
            kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
            return expr.as_text(body).encode(), kind
    except (UnicodeEncodeError, ValueError, expr.ExpressionError):
        raise Failure("not_started", "the body holds what cannot be encoded") from None
    return None, ""


def _authorization(auth: object) -> str:
    from wfctl.exchange import Failure, basic

    match auth:
        case {"bearer": bearer, **rest} if not rest and bearer is not None:
            token = expr.as_text(bearer)
            if not re.fullmatch(r"[\x21-\x7e]+", token):
                what = "auth.bearer is empty, or holds a blank, a line break or what is not ASCII"
                raise Failure("not_started", f"{what}; correct the token")
            return f"Bearer {token}"
        case {"user": user, **rest} if user is not None and rest.keys() <= {"password"}:
            name, password = expr.as_text(user), rest.get("password")
            if ":" in name:
                raise Failure("not_started", 'auth.user holds a ":", which no user of basic authentication can')
            return basic(name, "" if password is None else expr.as_text(password))
    raise Failure("not_started", "auth is neither {user, password} nor {bearer}")


def idempotency_key(key: str) -> str:
    """A node's key as the value of a header: servers take 255 characters of ASCII."""
    from urllib.parse import quote

    text = quote(key, safe="/[]()=,;:@ ", errors="replace")
    if len(text) > 255:
        import hashlib

        return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
    return text


def _inside(path: object, tools: Tools, key: str) -> str:
    """The path below the root. Raises Failure."""
    from wfctl.exchange import Failure
    from wfctl.paths import confined

    try:
        return confined(path, tools.root)
    except ValueError as error:
        raise Failure("not_started", f"{key}: {error}") from None


def _opened(fields: Mapping[str, Any], tools: Tools) -> BinaryIO | None:
    """The file that is to be sent."""
    import stat

    from wfctl.exchange import Failure

    if "save" in fields:
        _inside(fields["save"], tools, "save")      # nothing is sent where nothing could be kept
    if "body_file" not in fields:
        return None
    path = _inside(fields["body_file"], tools, "body.file")
    try:
        fd = os.open(os.path.join(tools.root, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise Failure("not_started", f'body.file: "{path}" cannot be read: {why}; correct the path') from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Failure("not_started", f'body.file: "{path}" is no file; name one')
    return open(fd, "rb", buffering=0)


# -- the answer


def _result(answer: Answer, save: object, shown: str, tools: Tools, line: Line, secret: bool) -> Result:
    """What the answer means. Where it may repeat a secret nothing is cut that is shown: half of one is found by nobody
    who takes secrets out."""
    good = 200 <= answer.status < 300
    output: dict[str, Any] = {"status": answer.status, "headers": answer.headers}
    reason = error = ""
    if save is not None and good:
        path = _inside(save, tools, "save")
        output |= {"file": path, "bytes": _save(answer, path, tools, line)}
        return Result(output=output)
    content, size = _body(answer)
    output["bytes"] = size
    if content is None:
        what = f"{shown}: the answer has over {LARGEST >> 20} MiB, too much for an output"
        reason, error = "body", f"{what}; write it to a file with save: PATH"
    else:
        text = _text(content, answer)
        if text is None:
            kind = answer.header("content-type") or "no type said"
            what = f"{shown}: the answer is no text ({kind}, {size:,} bytes)"
            reason, error = "body", f"{what}; write it to a file with save: PATH"
        else:
            output |= _value(text, answer)
    if good:
        return Result(output=output, reason=reason, error=error, unknown=bool(reason) and line.sent_unsafe)
    if answer.reason:
        error = f"HTTP {answer.status} {answer.reason}, from {shown}"
    else:
        error = f"HTTP {answer.status}, from {shown}"
    text = "" if content is None else _text(content, answer) or ""
    if text.strip():
        tools.log(f"HTTP {answer.status} {answer.reason}:\n{text.rstrip() if secret else text.rstrip()[:SHOWN]}")
        if "html" not in answer.header("content-type"):
            first = text.strip().partition("\n")[0].strip()
            error += f": {first if secret or len(first) <= 200 else first[:199] + '…'}"
    wait = _retry_after(answer) if answer.status in (429, 503) else None
    return Result(output=output, reason="status", error=error, retry_after=wait)


def _body(answer: Answer) -> tuple[bytes | None, int]:
    """The body and its size as it came; None where it is too large."""
    if answer.length is not None and answer.length > LARGEST:
        return None, answer.length
    blocks: list[bytes] = []
    size = 0
    while block := answer.read():
        blocks.append(block)
        size += len(block)
        if size > LARGEST:
            return None, size
    content = b"".join(blocks)
    # It was asked not to be compressed. What is kept compressed is sent so all the same, by some.
    encoding = answer.header("content-encoding").lower()
    return (_unpacked(content) if content and encoding in ("gzip", "x-gzip", "deflate") else content), size


def _unpacked(content: bytes) -> bytes | None:
    import zlib

    for window in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):      # both headers are told apart; deflate may have none
        unpacker = zlib.decompressobj(window)
        try:
            unpacked = unpacker.decompress(content, LARGEST + 1)
        except zlib.error:
            continue
        return None if len(unpacked) > LARGEST else unpacked
    return content


def _type(answer: Answer) -> str:
    return answer.header("content-type").partition(";")[0].strip().lower()


def _text(content: bytes, answer: Answer) -> str | None:
    """The body as text: what is said to be text in any case, else what is UTF-8 without NUL. None for other things."""
    kind = _type(answer)
    if kind.startswith("text/") or kind in OFFERED or kind.endswith(("+json", "+xml")):
        try:
            return content.decode(_charset(answer), "replace").removeprefix("\ufeff")
        except LookupError:     # a codec of Python's that makes no text
            return content.decode(errors="replace").removeprefix("\ufeff")
    try:
        return None if b"\0" in content else content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None


def _charset(answer: Answer) -> str:
    import codecs

    found = re.search(r"""charset\s*=\s*["']?([\w.:-]+)""", answer.header("content-type"), re.IGNORECASE)
    try:
        name = codecs.lookup(found[1]).name if found else "utf-8"
    except LookupError:
        return "utf-8"
    return "utf-8" if name.replace("-", "_") in _ODD_CODECS else name


def _value(text: str, answer: Answer) -> dict[str, object]:
    kind = _type(answer)
    if kind == "application/json" or kind == "text/json" or kind.endswith("+json"):
        try:
            return {"json": json.loads(text, parse_constant=_not_finite, parse_float=_finite)}
        except (ValueError, RecursionError):
            pass
    return {"text": text}


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _not_finite(text: str) -> float:
    raise ValueError(text)


def _retry_after(answer: Answer) -> float | None:
    """Seconds for which the server wants to be left alone. A moment is taken by its own clock, where it tells it."""
    said = answer.header("retry-after")
    if re.fullmatch(r"[0-9]{1,18}(\.[0-9]+)?", said):
        return min(float(said), LONGEST_RETRY_AFTER)
    moment = _moment(said)
    if moment is None:
        return None
    import time

    return min(max(0.0, moment - (_moment(answer.header("date")) or time.time())), LONGEST_RETRY_AFTER)


def _moment(text: str) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _save(answer: Answer, path: str, tools: Tools, line: Line) -> int:
    """Write the body to a file that appears when it is whole; its size. Drafts of earlier attempts, which may have
    been killed in it, go."""
    from wfctl.exchange import Failure

    whole = os.path.join(tools.root, path)
    folder, name = os.path.split(whole)
    mark = f".{name[:40]}.{crc32(path.encode('utf-8', 'surrogateescape')):08x}"
    drafts = [os.path.join(folder, f"{mark}.{n}.draft") for n in range(1, tools.attempt + 1)]
    size = 0
    try:
        os.makedirs(folder, exist_ok=True)
        for draft in drafts:
            _remove(draft)
        if os.path.isdir(whole):
            raise IsADirectoryError(21, "is a folder")
        with open(drafts[-1], "xb") as stream:
            while block := answer.read():
                stream.write(block)
                size += len(block)
        if line.is_cut:     # another attempt may be under way: this one changes nothing any more
            raise Failure("connection", "stopped", unknown=line.sent_unsafe)
        os.rename(drafts[-1], whole)
    except BaseException as error:
        _remove(drafts[-1])
        if not isinstance(error, OSError):
            raise
        why = (error.strerror or "").lower()
        what = f'"{path}" cannot be written: {why}; make room or correct the path'
        raise Failure("save", what, unknown=line.sent_unsafe, status=answer.status) from None
    return size


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
