"""How fast a provider may be called."""

import asyncio


class TokenBucket:
    """Lets `per_second` calls through, a second's worth of them at once, and holds up the others in turn."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._tokens = per_second
        self._filled_at: float | None = None
        self._turn = asyncio.Lock()

    async def take(self) -> None:
        async with self._turn:
            self._fill()
            if self._tokens < 1:
                await asyncio.sleep((1 - self._tokens) / self._per_second)
                self._fill()
            self._tokens -= 1

    def _fill(self) -> None:
        at = asyncio.get_running_loop().time()
        if self._filled_at is not None:
            self._tokens = min(self._per_second, self._tokens + (at - self._filled_at) * self._per_second)
        self._filled_at = at
