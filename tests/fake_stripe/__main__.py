"""python -m tests.fake_stripe --port 0 [--seed N] [--rate REQUESTS_PER_SECOND]"""

import argparse
import asyncio
import socket
import sys

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.fake_stripe.app import create_app
from tests.fake_stripe.stage import Stage
from tests.fake_stripe.world import World

RATE = 25.0


def protocol_of(stage: Stage) -> type[HttpToolsProtocol]:
    """The server's protocol, which also remembers each connection so that a fault can end it."""

    class Protocol(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
            super().connection_made(transport)
            stage.connections[transport.get_extra_info("peername")] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            stage.connections.pop(self.transport.get_extra_info("peername"), None)
            super().connection_lost(exc)

    return Protocol


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fake_stripe")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second for each endpoint, 0 for no limit")
    options = parser.parse_args()
    stage = Stage(World(seed=options.seed), options.rate)
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        config = uvicorn.Config(
            create_app(stage),
            http=protocol_of(stage),
            log_level="error",
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        # Connections wait in the listener's queue until the server takes them.
        sys.stdout.write(f"listening on http://127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
