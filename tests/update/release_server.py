"""An HTTPS server on loopback with a certificate of its own authority, which can misbehave."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Behaviour:
    """What the server does wrong.

    Attributes:
        cuts: How many answers break off after ``cut_after`` bytes.
        cut_after: Bytes of the body before a cut.
        cut_only: Part of the paths whose answers are cut.
        errors: How many requests are answered by ``error``.
        error: The status.
        ranges: Whether it knows ``Range``.
        length: Whether it tells how long a body is.
        replace: Gives other bytes for a path.
        redirect: Where it sends all requests to; empty for nowhere.
        pause_s: Waits before each block.
    """

    cuts: int = 0
    cut_after: int = 100
    cut_only: str = ""
    errors: int = 0
    error: int = 503
    ranges: bool = True
    length: bool = True
    replace: Callable[[str, bytes], bytes] = lambda path, data: data
    redirect: str = ""
    pause_s: float = 0.0
    asked: list[str] = field(default_factory=list)


class ReleaseServer:
    """Serves a folder; use it with ``with``.

    Attributes:
        address: ``https://127.0.0.1:PORT``.
        ca_file: Certificate of its authority.
        behaviour: What it does wrong; may be changed while it runs.
    """

    def __init__(self, folder: Path, certificates: Path) -> None:
        self.behaviour = Behaviour()
        self.ca_file, chain = _certificates(certificates)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(folder, self))
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.address = f"https://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> ReleaseServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(folder: Path, owner: ReleaseServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            wrong = owner.behaviour
            wrong.asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())
            if wrong.redirect:
                self.send_response(302)
                self.send_header("Location", wrong.redirect)
                self.end_headers()
                return
            path = folder / unquote(self.path).lstrip("/")
            if wrong.errors:
                wrong.errors -= 1
                self.send_error(wrong.error)
                return
            if not path.is_file():
                self.send_error(404)
                return
            self._send(wrong.replace(self.path, path.read_bytes()), wrong)

        def _send(self, data: bytes, wrong: Behaviour) -> None:
            asked = self.headers.get("Range", "")
            begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and wrong.ranges else 0
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            if wrong.length:
                self.send_header("Content-Length", str(len(data) - begin))
            self.end_headers()
            body = data[begin:]
            if wrong.cuts and len(body) > wrong.cut_after and wrong.cut_only in self.path:
                wrong.cuts -= 1
                body = body[: wrong.cut_after]
            for at in range(0, len(body), 1 << 14):
                time.sleep(wrong.pause_s)
                self.wfile.write(body[at : at + (1 << 14)])

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the client has gone
                self.close_connection = True

    return Handler


def _certificates(folder: Path) -> tuple[Path, Path]:
    """The authority's certificate, and the server's with its key, as PEM files."""
    now = dt.datetime.now(dt.timezone.utc)

    def certificate(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        return made.not_valid_after(now + dt.timedelta(days=1))

    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    own = certificate("test authority", authority_key).issuer_name(authority)
    own = own.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    own = own.add_extension(usage, critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    own = own.add_extension(identifier, critical=False)
    server = certificate("127.0.0.1", server_key).issuer_name(authority)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
    server = server.add_extension(alternative, critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    server = server.add_extension(issuer, critical=False)
    pem = serialization.Encoding.PEM
    key = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.mkdir(parents=True, exist_ok=True)
    ca_file, chain = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(own.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    chain.write_bytes(server.sign(authority_key, hashes.SHA256()).public_bytes(pem) + key)
    return ca_file, chain
