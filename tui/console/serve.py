"""`--serve`: the console in a browser, by textual-serve, on this machine's loopback only. Needs the extra `serve`.

Any account of the machine, and any web page in the person's browser, can reach a loopback port. So the address holds a
secret that is drawn anew each time, what comes under another name than this machine's is refused (DNS rebinding), and
so is what another site's page asks for.
"""

from __future__ import annotations

import errno
import getpass
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
from dipddpm.core.runs.environment import python_module

HOST = "127.0.0.1"
HOST_NAMES = {HOST, "localhost"}
"""What a browser may call this machine; an SSH tunnel ends at one of these, too."""
SHUTDOWN_SECONDS = 3.0
PAGE = string.Template((files("dipddpm.tui.console") / "serve.html").read_text(encoding="utf-8"))
CONTENT_SECURITY_POLICY = (
    "default-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; connect-src 'self' ws://"
)


class ConsoleServer(Server):
    """A console of its own for each page that is opened, ended when the page is closed."""

    def __init__(self, options: Sequence[str], port: int) -> None:
        """`options` are those of `dipddpm-tui`."""
        command = shlex.join(python_module("dipddpm.tui.console", *options))
        super().__init__(command, HOST, port, title="dipddpm")
        self.token = secrets.token_urlsafe(16)

    @property
    def address(self) -> str:
        """What to open."""
        return f"http://localhost:{self.port}/{self.token}/"

    async def _make_app(self) -> web.Application:
        outer = web.Application(middlewares=[_refuse_foreign_origins])
        outer.on_response_prepare.append(_add_security_headers)
        outer.add_subapp(f"/{self.token}", await super()._make_app())
        outer.router.add_route("*", "/{anything:.*}", _refuse_unknown)
        return outer

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing: `serve` has told what there is to tell."""

    async def handle_index(self, request: web.Request) -> web.Response:
        """The page. It looks for its console at whichever port was forwarded here, and asks no other site for fonts."""
        size = request.query.get("fontsize", "")
        page = PAGE.substitute(
            websocket=html.escape(f"ws://{request.host}/{self.token}/ws"), size=size if size.isdecimal() else "16"
        )
        return web.Response(text=page, content_type="text/html")

    def serve_forever(self, listener: socket.socket) -> None:
        """Answer until Ctrl-C or SIGTERM; the consoles end with this."""
        # The browser draws no pixels, whatever the terminal does in which this was typed.
        os.environ["DIPDDPM_GRAPHICS"] = "0"
        web.run_app(
            self._make_app(), sock=listener, shutdown_timeout=SHUTDOWN_SECONDS, access_log=None, print=lambda *_: None
        )


def serve(options: Sequence[str], port: int) -> int:
    """Serve the console with these options until Ctrl-C. Raises UserError for a port that can't be had."""
    with _listen(port) as listener:
        server = ConsoleServer(options, listener.getsockname()[1])
        port = server.port
        print(f"The console is at {server.address} on this machine only, until Ctrl-C.")
        destination = f"{getpass.getuser()}@{socket.gethostname()}"
        print(f"From another one, forward the port there: ssh -L {port}:localhost:{port} {destination}")
        may = "look at" if "--readonly" in options else "do"
        print(f"Whoever has the address can {may} all that you can here; it is another one each time.", flush=True)
        server.serve_forever(listener)
    return 0


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken" if taken else f"can't be had: {os.strerror(error.errno or 0)}"
        raise UserError(f"The port {port} {why}.", "Choose another one with --port, or 0 for any.") from None


@web.middleware
async def _refuse_foreign_origins(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Only under this machine's own name, and not on behalf of another site's page."""
    origin = request.headers.get("Origin")
    if URL(f"http://{request.host}").host not in HOST_NAMES or (origin and origin != f"http://{request.host}"):
        raise web.HTTPForbidden(text="This console answers to its own page on localhost only.")
    return await handler(request)


async def _refuse_unknown(_: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound(text="There is no console here. Open the address that dipddpm-tui --serve has printed.")


async def _add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """The page asks nobody but this server for anything, and tells nobody its address."""
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY + request.host
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
