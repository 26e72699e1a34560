"""The way out for letters: one message over SMTP, and what an answer, or none, says of whether it was taken."""

import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

TIMEOUT_SECONDS = 20.0
_PORTS = {"smtp": 587, "smtps": 465}


class MailError(Exception):
    """The message was not taken, for certain. `permanent` says that it will not be taken later either."""

    def __init__(self, detail: str, *, permanent: bool) -> None:
        super().__init__(detail)
        self.permanent = permanent


class MailUnknown(Exception):
    """The connection broke after the message had begun to leave: nobody knows whether it was taken."""


@dataclass(frozen=True, slots=True)
class Mailer:
    """Where mail is handed in. Without `implicit_tls`, TLS is begun where the server offers it."""

    host: str
    port: int
    implicit_tls: bool
    user: str | None = None
    password: str | None = None

    def send(self, message: EmailMessage) -> None:
        """Hand in one message; blocks, so it is called in a thread. Raises MailError, MailUnknown."""
        try:
            client = self._open()
        except smtplib.SMTPAuthenticationError as error:
            raise MailError(f"the mail server refuses the login: {error.smtp_code}", permanent=False) from error
        except (smtplib.SMTPException, OSError) as error:
            raise MailError(f"the mail server cannot be reached: {error}", permanent=False) from error
        try:
            client.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, reason = next(iter(error.recipients.values()))
            raise _refused(code, reason) from error
        except smtplib.SMTPResponseException as error:
            raise _refused(error.smtp_code, error.smtp_error) from error
        except smtplib.SMTPNotSupportedError as error:
            raise MailError(f"the mail server cannot take this address: {error}", permanent=True) from error
        except (smtplib.SMTPException, OSError) as error:
            raise MailUnknown(f"the connection broke while the message was sent: {error}") from error
        else:
            # It is taken; how the connection ends changes nothing.
            with suppress(smtplib.SMTPException, OSError):
                client.quit()
        finally:
            client.close()

    def _open(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.implicit_tls:
            client: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            client = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_SECONDS)
        try:
            client.ehlo_or_helo_if_needed()
            if not self.implicit_tls and client.has_extn("starttls"):
                client.starttls(context=context)
                client.ehlo()
            elif not self.implicit_tls and self.user is not None:
                raise smtplib.SMTPNotSupportedError("it offers no TLS, and a password does not go without it")
            if self.user is not None:
                client.login(self.user, self.password or "")
        except (smtplib.SMTPException, OSError):
            client.close()
            raise
        return client


def open_mailer(url: str) -> Mailer:
    """The mailer of smtp://user:password@host:587 or smtps://…:465. Raises ValueError for what is no such address."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or parts.hostname is None or parts.path.strip("/") or parts.query:
        raise ValueError("write it as smtp://user:password@host:587 or smtps://user:password@host:465")
    return Mailer(
        host=parts.hostname,
        port=parts.port or _PORTS[parts.scheme],
        implicit_tls=parts.scheme == "smtps",
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def _refused(code: int, reason: bytes | str) -> MailError:
    words = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
    return MailError(f"the mail server says {code} {words}"[:500], permanent=code >= 500)
