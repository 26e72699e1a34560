"""The service as others meet it: uvicorn on a port of this machine, in a thread of its own."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from threading import Thread

import uvicorn

from api.context import Context
from api.main import create_app

STOP_SECONDS = 30


@contextmanager
def serving(
    context: Context, *, beside: Callable[[], AbstractAsyncContextManager[None]] | None = None
) -> Iterator[str]:
    """Serves until the end of the block, and yields the URL. The context is used, and closed, in the thread alone."""

    @asynccontextmanager
    async def background() -> AsyncIterator[None]:
        try:
            if beside is None:
                yield
            else:
                async with beside():
                    yield
        finally:
            await context.database.close()

    # Listening before the server runs, so that the first call waits in the queue instead of being refused.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        context.public_url = url
        app = create_app(context, background=background)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="on"))
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(STOP_SECONDS)
            assert not thread.is_alive(), "the server does not stop"
