"""One HTTP exchange: a request is sent, redirects are followed, and the answer is handed out as a stream.

Knows no node, and not what a success is."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import BinaryIO, NamedTuple
from urllib.parse import quote, unquote, urljoin

from wfctl.record import dataclass

CONNECT = 10.0      # seconds until one address has taken the connection
IDLE = 60.0         # seconds in which something must come, or be taken
MOST_REDIRECTS = 10
BLOCK = 256 * 1024
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
"""Methods that change nothing where they are asked for."""

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_HEADER_TEXT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_AS_WRITTEN = "!#$%&'()*+,/:;=?@[]~"       # of a path and query: what may stand there, or is encoded already
_TRAVELS = re.compile(r"(?:accept|content|if)-.*|accept|range|user-agent|idempotency-key")
"""Headers that go along to another origin: those that say what is asked for, none that says by whom."""


class Failure(Exception):
    """There is no answer to take. `reason` is a fixed word: `not_started` where nothing could be sent, `connection`,
    `timeout`, `redirect`. `unknown`: what was sent may have had its effect. `status` is that of a redirect."""

    def __init__(self, reason: str, text: str, *, unknown: bool = False, status: int = 0) -> None:
        super().__init__(text)
        self.reason = reason
        self.unknown = unknown
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to send. `private` are lower-cased names of headers that go to the origin of `url` alone; `file` is sent in
    place of a `body`, from its start, as long as it is then."""

    method: str
    url: str
    headers: Mapping[str, str]
    private: frozenset[str] = frozenset()
    body: bytes | None = None
    file: BinaryIO | None = None


class Url(NamedTuple):
    """A URL that can be asked for. `host` is ASCII, `target` what stands behind it, `user` what stands before."""

    scheme: str
    host: str
    port: int
    target: str
    user: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _port(self.scheme) else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


class Line:
    """The connection that exchanges have at the moment. It can be cut from another thread, for good: whatever waits for
    it fails at once, and no other is made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.is_cut = False
        self.sent_unsafe = False
        """Something was sent that may have changed something."""

    def cut(self) -> None:
        with self._lock:
            self.is_cut = True
            if self._socket is not None:
                try:
                    # Not as the class has it: TLS would first forget its state under the feet of who reads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:     # not connected yet or any more, or just being wrapped
                    pass

    def take(self, sock: socket.socket) -> None:
        with self._lock:
            if self.is_cut:
                sock.close()
                raise ConnectionAbortedError
            self._socket = sock

    def dial(self, host: str, port: int) -> socket.socket:
        """A connection to one of the addresses of a host."""
        failure: OSError | None = None
        # As bytes: of text, Python would make a name of the sort that _HOST has seen to.
        for family, kind, protocol, _, address in socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            self.take(sock)
            try:
                sock.settimeout(CONNECT)
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
            except TimeoutError:
                sock.close()
                failure = TimeoutError(f"no connection within {CONNECT:g} s")
            except OSError as error:
                sock.close()
                failure = error
        raise failure or OSError("its host has no address")

    def encrypt(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
        """The same connection under TLS, once the other side has shown that it is that host."""
        shielded = context.wrap_socket(sock, server_hostname=host.rstrip("."), do_handshake_on_connect=False)
        self.take(shielded)
        try:
            shielded.do_handshake()
        except BaseException:
            shielded.close()
            raise
        return shielded


class Answer:
    """Status, reason and headers of an answer; its body is read piece by piece. Header names are lower-cased, what
    stands there more than once is joined by ", ", and only cookies are a list, for they may hold commas themselves."""

    def __init__(self, response: http.client.HTTPResponse, sock: socket.socket, line: Line) -> None:
        self._response = response
        self._socket = sock
        self._line = line
        self.status = response.status
        self.reason = (response.reason or http.client.responses.get(response.status, "")).strip()
        self.length = response.length
        """Bytes of the body, where that is known before."""
        self.headers: dict[str, str | list[str]] = {}
        for name, text in response.headers.items():
            name, value = name.lower(), _header_text(text)
            before = self.headers.get(name)
            if name == "set-cookie":
                self.headers[name] = [*(before or ()), value]
            else:
                self.headers[name] = value if before is None else f"{before}, {value}"

    def header(self, name: str) -> str:
        """The value of a header; empty where it is not there."""
        value = self.headers.get(name, "")
        return value if isinstance(value, str) else ", ".join(value)

    def read(self, size: int = BLOCK) -> bytes:
        """The next piece of the body; nothing at its end. Raises Failure."""
        try:
            block = self._response.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise failure_of(error, self._line) from None
        if not block and self._line.is_cut:     # to a body without a length that looks like its end
            raise Failure("connection", "stopped", unknown=self._line.sent_unsafe)
        if not block and self._response.length:
            missing = f"{self._response.length:,} bytes are missing"
            raise Failure("connection", f"the answer ended early: {missing}", unknown=self._line.sent_unsafe)
        return block

    def close(self) -> None:
        self._response.close()
        self._socket.close()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def exchange(
    request: Request, line: Line, environ: Mapping[str, str], idle: float = IDLE, followed: list[str] | None = None
) -> Answer:
    """Send the request, and follow redirects as browsers do. `environ` names proxies and certificates, `idle` is
    seconds in which something must come; `followed` gathers where redirects led. Raises Failure."""
    url = parsed(request.url)
    for name, value in request.headers.items():
        check_header(name, value)
    headers = dict(request.headers)
    if url.user and not any(name.lower() == "authorization" for name in headers):
        headers["Authorization"] = basic(*map(unquote, (url.user + ":").split(":")[:2]))
        request = replace(request, headers=headers)
    status = 0
    for _ in range(MOST_REDIRECTS + 1):
        try:
            answer = _ask(url, request, line, environ, idle)
        except (OSError, http.client.HTTPException) as error:
            raise failure_of(error, line) from None
        location, status = answer.header("location"), answer.status
        if status not in (301, 302, 303, 307, 308) or not location:
            return answer
        answer.close()
        before, url = url, _redirected(url, location, status)
        if followed is not None:
            followed.append(str(url))
        if url.origin != before.origin:
            request = replace(request, headers=_travelling(request))
        if (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST"):
            headers = {n: v for n, v in request.headers.items() if not n.lower().startswith("content-")}
            request = replace(request, method="GET", headers=headers, body=None, file=None)
    raise Failure("redirect", f"over {MOST_REDIRECTS} redirects, one after the other", status=status)


def parsed(text: str) -> Url:
    """The parts of a URL. Raises Failure where it cannot be asked for; that does not repeat it, for it may hold a
    secret."""
    if _CONTROL.search(text):
        raise Failure("not_started", "the URL holds a line break or another control character; take it out")
    found = _URL.fullmatch(text.strip())
    if found is None:
        raise Failure("not_started", "that is no URL that starts with http:// or https://")
    scheme, authority, target = found[1].lower(), found[2], found[3]
    user, _, place = authority.rpartition("@")
    try:
        host, port = _host_and_port(place, scheme)
        target = quote(target, safe=_AS_WRITTEN)
    except ValueError:
        what = "the host or port of the URL is none"
        raise Failure("not_started", f"{what}; write https://host or https://host:8443") from None
    return Url(scheme, host, port, target if target[:1] == "/" else f"/{target}", user)


def check_header(name: str, value: str) -> None:
    """Raises Failure where that cannot be sent as a header; that does not repeat the value."""
    if not _TOKEN.fullmatch(name):
        raise Failure("not_started", f'"{name}" is no name of a header')
    if _NO_HEADER_TEXT.search(value):
        what = f'the header "{name}" holds a line break or another control character'
        raise Failure("not_started", f"{what}; take it out, or encode it")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Failure("not_started", f'the header "{name}" holds a character that cannot be encoded') from None


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode("utf-8", "surrogatepass")).decode()


def failure_of(error: Exception, line: Line) -> Failure:
    """What an error of the network means. It names no host: the URL is told by who knows what may be seen of it."""
    reason, text = "connection", ""
    match error:
        case _ if line.is_cut:
            text = "stopped"
        case TimeoutError():
            reason = "timeout"
            text = str(error) if "within" in str(error) else "nothing came for too long"
        case ssl.SSLCertVerificationError():
            why = error.verify_message.partition(", certificate is not valid for")[0].lower()
            text = f"its certificate is not trusted: {why}; name the file of its issuer in SSL_CERT_FILE"
        case ssl.SSLError():
            text = f"no TLS: {(error.reason or 'the other side ended it').lower().replace('_', ' ')}"
        case socket.gaierror():
            text = f"its host was not found: {(error.strerror or '').lower()}"
        case http.client.RemoteDisconnected():
            text = "the connection was closed without an answer"
        case http.client.IncompleteRead():
            text = "the answer ended early"
        case http.client.HTTPException():
            text = f"the answer is no HTTP: {str(error).strip() or type(error).__name__}"
        case OSError():
            text = (error.strerror or str(error) or "the connection was lost").lower()
    return Failure(reason, text, unknown=line.sent_unsafe)


# -- one request


def _ask(url: Url, request: Request, line: Line, environ: Mapping[str, str], idle: float) -> Answer:
    proxy = proxy_of(url, environ)
    context = tls(environ) if url.scheme == "https" else None
    headers, target = dict(request.headers), url.target
    sock = line.dial(proxy.host, proxy.port) if proxy is not None else line.dial(url.host, url.port)
    try:
        sock.settimeout(idle)
        if context is not None:
            if proxy is not None:
                _tunnel(sock, url, proxy)
            sock = line.encrypt(sock, context, url.host)
        elif proxy is not None:
            target = str(url)
            headers |= _for_proxy(proxy)
        line.sent_unsafe |= request.method not in SAFE
        broken = _send(sock, url, target, headers, request)
        response = http.client.HTTPResponse(sock, method=request.method)
        try:
            response.begin()
        except (OSError, http.client.HTTPException) as error:
            response.close()
            raise (broken or error) from None
        return Answer(response, sock, line)
    except BaseException:
        sock.close()
        raise


def _send(
    sock: socket.socket, url: Url, target: str, headers: Mapping[str, str], request: Request
) -> OSError | None:
    """Send it whole. Where the other side closes meanwhile it may have answered already, so that is handed out."""
    size = len(request.body or b"")
    if request.file is not None:
        request.file.seek(0)
        size = os.fstat(request.file.fileno()).st_size
    lines = [f"{request.method} {target} HTTP/1.1"]
    if not any(name.lower() == "host" for name in headers):
        lines.append(f"Host: {url.authority}")
    lines += [f"{name}: {value.strip()}" for name, value in headers.items()]
    if size or request.method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {size}")
    lines.append("Connection: close")
    try:
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + (request.body or b""))
        while request.file is not None and size:
            block = request.file.read(min(size, BLOCK))
            if not block:
                raise Failure("connection", "the file became shorter while it was sent", unknown=True)
            sock.sendall(block)
            size -= len(block)
    except (BrokenPipeError, ConnectionResetError) as error:
        return error
    return None


def _redirected(url: Url, location: str, status: int) -> Url:
    try:
        there = parsed(urljoin(str(url), location))
    except (Failure, ValueError):
        raise Failure("redirect", "it redirects to what is no URL of http or https", status=status) from None
    if url.scheme == "https" and there.scheme == "http":
        what = "it redirects from https to http, which anybody on the way can read and change"
        raise Failure("redirect", f"{what}; name the last URL itself if that is meant", status=status)
    return there._replace(user="")      # what it says there is not ours to use


def _travelling(request: Request) -> dict[str, str]:
    """The headers that go along to another origin."""
    return {
        name: value
        for name, value in request.headers.items()
        if _TRAVELS.fullmatch(name.lower()) and name.lower() not in request.private
    }


def _header_text(text: str) -> str:
    """A header's value on one line. Python reads it as Latin-1, and nearly all that is not ASCII there is UTF-8."""
    try:
        text = text.encode("latin-1").decode()
    except UnicodeError:
        pass
    return " ".join(text.split()) if "\n" in text or "\r" in text else text.strip()


def _host_and_port(text: str, scheme: str) -> tuple[str, int]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        host = str(ipaddress.IPv6Address(host))
        if rest and not rest.startswith(":"):
            raise ValueError
        port = rest[1:]
    else:
        host, _, port = text.partition(":")
        host = host.lower() if host.isascii() else host.encode("idna").decode()
        if not _HOST.fullmatch(host):
            raise ValueError
    if not port:
        return host, _port(scheme)
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise ValueError
    return host, int(port)


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


# -- what is around: proxies and certificates


def proxy_of(url: Url, environ: Mapping[str, str]) -> Url | None:
    """The proxy that variables name for a URL. Raises Failure where it is none that can be used."""
    names = [n for lower in (f"{url.scheme}_proxy", "all_proxy") for n in (lower, lower.upper())]
    if "REQUEST_METHOD" in environ:     # there a server has made HTTP_PROXY of what who asked it sent as `Proxy:`
        names = [n for n in names if n != "HTTP_PROXY"]
    name = next((n for n in names if environ.get(n)), "")
    if not name or _is_direct(url, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    text = environ[name]
    try:
        proxy = parsed(text if "://" in text else f"http://{text}")
    except Failure:
        proxy = None
    if proxy is None or proxy.scheme != "http":
        raise Failure("not_started", f"{name} names no proxy that starts with http://; correct it, or set no_proxy")
    return proxy


def _is_direct(url: Url, listed: str) -> bool:
    """Whether `no_proxy` lists a host: by name, by the end of one, by a network of addresses, with or without port."""
    for entry in re.split(r"[,\s]+", listed.lower()):
        if entry == "*":
            return True
        name, _, port = entry.rpartition(":") if re.search(r"(?<![:\[]):[0-9]+$", entry) else (entry, "", "")
        name = name.strip("[]").lstrip(".")
        if not name or (port and int(port) != url.port):
            continue
        if url.host == name or url.host.endswith(f".{name}") or _lies_in(url.host, name):
            return True
    return False


def _lies_in(host: str, network: str) -> bool:
    try:
        return "/" in network and ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _for_proxy(proxy: Url) -> dict[str, str]:
    if not proxy.user:
        return {}
    return {"Proxy-Authorization": basic(*map(unquote, (proxy.user + ":").split(":")[:2]))}


def _tunnel(sock: socket.socket, url: Url, proxy: Url) -> None:
    """Have the proxy connect us through to a host."""
    place = f"[{url.host}]:{url.port}" if ":" in url.host else f"{url.host}:{url.port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}", *(f"{n}: {v}" for n, v in _for_proxy(proxy).items())]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    response = http.client.HTTPResponse(sock, method="CONNECT")
    try:
        response.begin()
    finally:
        response.close()
    if not 200 <= response.status < 300:
        raise Failure("connection", f"the proxy refused: HTTP {response.status} {response.reason}")


_tls_lock = threading.Lock()


def tls(environ: Mapping[str, str]) -> ssl.SSLContext:
    """What verifies the other side: by the certificates of the system, or those that variables name. Raises Failure."""
    paths = ssl.get_default_verify_paths()
    file = environ.get(paths.openssl_cafile_env, "")
    folder = environ.get(paths.openssl_capath_env, "")
    with _tls_lock:     # reading them takes 20 ms: once is enough
        try:
            return _context(file or paths.openssl_cafile, folder or paths.openssl_capath)
        except OSError as error:
            why = "they are none" if isinstance(error, ssl.SSLError) else (error.strerror or "").lower()
            what = f'the certificates in "{file or folder}" cannot be read: {why}'
            raise Failure("not_started", f"{what}; correct SSL_CERT_FILE or SSL_CERT_DIR") from None


@cache
def _context(file: str, folder: str) -> ssl.SSLContext:
    defaults = ssl.get_default_verify_paths()
    # Where a distribution has none in one of these places that is no mistake; where a variable names it, it is.
    file = "" if file == defaults.openssl_cafile and not os.path.exists(file) else file
    context = ssl.create_default_context(cafile=file or None, capath=folder or None)
    context.set_alpn_protocols(["http/1.1"])
    return context
