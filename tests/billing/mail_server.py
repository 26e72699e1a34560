"""A mail server on loopback, in the test's own event loop, that keeps what it takes and answers as it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from billing.gateways.smtp import Mailer


@dataclass
class MailServer:
    """`answers` are said to the next messages, in place of taking them; None hangs up without a word."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)

    @property
    def mailer(self) -> Mailer:
        return Mailer("127.0.0.1", self.port, implicit_tls=False)

    # The name is aiosmtpd's.
    async def handle_DATA(self, server: Any, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # as above
        answer = self.answers.pop(0) if self.answers else "250 taken"
        if answer is None or answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.taken.append(message_from_bytes(envelope.content, policy=policy.default))
        if answer is None:
            server.transport.abort()
            return "421 too late"
        return answer


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    peer = MailServer()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(peer, hostname="mail.test", loop=loop), "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        await server.wait_closed()
