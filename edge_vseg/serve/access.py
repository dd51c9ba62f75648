"""Who may ask: host names, origins and the token."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from edge_vseg.serve.options import ServeOptions, is_loopback

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Access:
    """Lets requests through, or refuses them with the reason.

    A browser that shows the token once, in the address of the page, gets a cookie that is made from it and does not
    contain it. So the cookie outlives a restart of the server, and a cookie that leaks is of no use elsewhere.

    Args:
        options: Host, names and token.
    """

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._token = options.token.encode()
        self._pass = hmac.new(self._token, b"edge-vseg page", hashlib.sha256).hexdigest()
        self._names = {name.lower() for name in options.names}

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what is not allowed; give the cookie to whoever shows the token in the address."""
        if reason := self._wrong_place(request):
            return web.json_response({"error": reason}, status=403)
        if not self._is_known(request):
            reason = "a token is needed: open /?token=… once, or send it as 'Authorization: Bearer …'"
            return web.json_response({"error": reason}, status=401, headers={"WWW-Authenticate": "Bearer"})
        response = await handler(request)
        if self._token and self._shown_in_address(request) and not response.prepared:
            # No Secure: the server speaks plain HTTP; a proxy that adds TLS may add it to the cookie, too.
            response.set_cookie(
                self._cookie_name(request), self._pass, httponly=True, samesite="Strict", max_age=30 * 86400
            )
        return response

    def _wrong_place(self, request: web.Request) -> str:
        """Why a request comes from a place that it must not come from; empty if it does not."""
        origin = request.headers.get(hdrs.ORIGIN)
        try:
            name = (urlsplit(f"//{request.host}").hostname or "").lower()
            origin_host = None if origin is None else urlsplit(origin).netloc.lower()
        except ValueError:
            return "the Host or Origin header is malformed"
        if is_loopback(self._options.host) and not is_loopback(name) and name not in self._names:
            return f"this server is {self._options.host}, and was asked for as {name!r}; allow it with --name {name}"
        if origin_host is not None and origin_host != request.host.lower():
            return f"pages of {origin} may not use this server"
        return ""

    def _is_known(self, request: web.Request) -> bool:
        if not self._token:
            return True
        kind, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(given.strip()):
            return True
        cookie = request.cookies.get(self._cookie_name(request), "")
        return hmac.compare_digest(cookie.encode(), self._pass.encode()) or self._shown_in_address(request)

    def _shown_in_address(self, request: web.Request) -> bool:
        # Only for the page: an address with a token in it is kept in histories and logs.
        return request.path == "/" and self._is_token(request.query.get("token", ""))

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), self._token)

    def _cookie_name(self, request: web.Request) -> str:
        # Browsers share cookies among the ports of a host.
        return f"edge_vseg_{request.url.port}"


async def add_security_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Sent with every response; a signal handler of aiohttp."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
