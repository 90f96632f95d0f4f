"""`--serve`: the console in a browser, through textual-serve, on the loopback interface only. Needs the extra `serve`.

Any account of the machine and any web page in the user's browser can reach a loopback port. So the address contains a
random token, new at each start, and requests are refused if they come from another site's page or name a host other
than this machine (DNS rebinding).
"""

from __future__ import annotations

import errno
import html
import os
import secrets
import shlex
import socket
import string
from collections.abc import Sequence
from importlib.resources import files

from aiohttp import web
from aiohttp.typedefs import Handler
from textual_serve.server import Server
from yarl import URL

from dipddpm.core.errors import UserError
from dipddpm.core.io import home
from dipddpm.core.runs.environment import python_module

HOST = "127.0.0.1"
HOST_NAMES = {HOST, "localhost"}
"""Host names that a request may use, also through an SSH tunnel."""
SHUTDOWN_SECONDS = 3.0
PAGE = string.Template((files("dipddpm.tui.console") / "serve.html").read_text(encoding="utf-8"))
CONTENT_SECURITY_POLICY = (
    "default-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; connect-src 'self' ws://"
)


class ConsoleServer(Server):
    """A server that starts a console for each opened page, and ends it when the page is closed."""

    def __init__(self, options: Sequence[str], port: int) -> None:
        """`options` are the command-line options of each console."""
        command = shlex.join(python_module("dipddpm.tui.console", *options))
        super().__init__(command, HOST, port, title="dipddpm")
        self.token = secrets.token_urlsafe(16)

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        return f"http://localhost:{self.port}/{self.token}/"

    async def _make_app(self) -> web.Application:
        outer = web.Application(middlewares=[_refuse_foreign_origins])
        outer.on_response_prepare.append(_add_security_headers)
        outer.add_subapp(f"/{self.token}", await super()._make_app())
        outer.router.add_route("*", "/{anything:.*}", _refuse_unknown)
        return outer

    async def on_startup(self, app: web.Application) -> None:
        """Print nothing: `serve` has already printed the address."""

    async def handle_index(self, request: web.Request) -> web.Response:
        """Return the page. It connects to the host and port it was loaded from, and loads no fonts from other sites."""
        size = request.query.get("fontsize", "")
        page = PAGE.substitute(
            websocket=html.escape(f"ws://{request.host}/{self.token}/ws"), size=size if size.isdecimal() else "16"
        )
        return web.Response(text=page, content_type="text/html")

    def serve_forever(self, listener: socket.socket) -> None:
        """Serve until Ctrl-C or SIGTERM, which also ends the consoles."""
        # The browser's terminal shows no pixels, even if the terminal that runs this does.
        os.environ["DIPDDPM_GRAPHICS"] = "0"
        web.run_app(
            self._make_app(), sock=listener, shutdown_timeout=SHUTDOWN_SECONDS, access_log=None, print=lambda *_: None
        )


def serve(options: Sequence[str], port: int) -> int:
    """Serve the console with these options until Ctrl-C. Raises UserError if the port can't be used."""
    with _listen(port) as listener:
        server = ConsoleServer(options, listener.getsockname()[1])
        port = server.port
        print(f"The console is at {server.address} on this machine only; Ctrl-C ends it.")
        destination = f"{home.user_name()}@{socket.gethostname()}"
        print(f"To open it on another machine, run there first: ssh -L {port}:localhost:{port} {destination}")
        rights = "see your runs" if "--readonly" in options else "start, stop, change and delete your runs"
        print(f"Anyone with this address can {rights}; each start has a new one.", flush=True)
        server.serve_forever(listener)
    return 0


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken" if taken else f"can't be used: {os.strerror(error.errno or 0)}"
        raise UserError(f"Port {port} {why}.", "Choose another one with --port, or 0 for any free port.") from None


@web.middleware
async def _refuse_foreign_origins(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests that name another host or come from another site's page."""
    origin = request.headers.get("Origin")
    if URL(f"http://{request.host}").host not in HOST_NAMES or (origin and origin != f"http://{request.host}"):
        raise web.HTTPForbidden(text="This console accepts requests only from its own page on localhost.")
    return await handler(request)


async def _refuse_unknown(_: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound(text="There is no console at this address. Open the one that dipddpm-tui --serve printed.")


async def _add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Forbid the page to load from other servers and to send its address to them."""
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY + request.host
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
