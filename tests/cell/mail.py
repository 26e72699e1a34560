"""IMAP, POP3 and SMTP as mail programs speak them, TLS from the first byte and checked."""

import email.policy
import imaplib
import poplib
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import make_msgid


def letter(subject: str, *, sender: str, to: str, text: str = "Guten Tag!") -> EmailMessage:
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Message-ID"] = make_msgid(domain="muster.example")
    message.set_content(text)
    return message


@contextmanager
def imap(host: str, port: int, user: str, password: str, *, trusted: ssl.SSLContext) -> Iterator[imaplib.IMAP4_SSL]:
    """A session that is logged in. Raises imaplib.IMAP4.error with the server's words when it is refused."""
    client = imaplib.IMAP4_SSL(host, port, ssl_context=trusted, timeout=30)
    try:
        client.login(user, password)
        yield client
    finally:
        # One that was refused or cut is closed already.
        with suppress(imaplib.IMAP4.error, OSError):
            client.logout()
        with suppress(OSError):
            client.shutdown()


def subjects(client: imaplib.IMAP4, folder: str = "INBOX") -> list[str]:
    """Of all mails in a folder, in their order."""
    return [subject for _, subject in uids(client, folder)]


def uids(client: imaplib.IMAP4, folder: str = "INBOX") -> list[tuple[int, str]]:
    """UID and subject of all mails in a folder."""
    status, said = client.select(_quoted(folder), readonly=True)
    assert status == "OK", said
    status, data = client.uid("FETCH", "1:*", "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert status == "OK", data
    found = []
    for part in data:
        if isinstance(part, tuple):
            uid = int(part[0].split(b"UID ")[1].split(b" ")[0].rstrip(b")"))
            header = BytesParser(policy=email.policy.default).parsebytes(part[1])
            found.append((uid, str(header["Subject"])))
    return sorted(found)


def uid_validity(client: imaplib.IMAP4, folder: str = "INBOX") -> bytes:
    client.select(_quoted(folder), readonly=True)
    [validity, *_] = client.untagged_responses["UIDVALIDITY"]
    assert isinstance(validity, bytes)
    return validity


def folders(client: imaplib.IMAP4) -> list[str]:
    """The names of all folders that are shown, those of others included."""
    _, lines = client.list()
    return [line.decode().rpartition(' "/" ')[2].strip('"') for line in lines if isinstance(line, bytes)]


def append(client: imaplib.IMAP4, message: EmailMessage, folder: str = "INBOX") -> str:
    """OK, or NO when the server refuses."""
    return client.append(_quoted(folder), "", "", message.as_bytes())[0]


def _quoted(folder: str) -> str:
    return '"' + folder.replace("\\", "\\\\").replace('"', '\\"') + '"'


def fetch_by_pop3(host: str, port: int, user: str, password: str, *, trusted: ssl.SSLContext) -> list[str]:
    """The subjects of all mails, left where they are. Raises poplib.error_proto when refused."""
    client = poplib.POP3_SSL(host, port, context=trusted, timeout=30)
    try:
        client.user(user)
        client.pass_(password)
        count, _ = client.stat()
        texts = (b"\r\n".join(client.top(number, 0)[1]) for number in range(1, count + 1))
        return [str(BytesParser(policy=email.policy.default).parsebytes(text)["Subject"]) for text in texts]
    finally:
        with suppress(poplib.error_proto, OSError):
            client.quit()


def submit(host: str, port: int, user: str, password: str, message: EmailMessage, *, trusted: ssl.SSLContext) -> None:
    """As a mail program sends. Raises smtplib.SMTPException when refused."""
    with smtplib.SMTP_SSL(host, port, context=trusted, timeout=30) as client:
        client.login(user, password)
        client.send_message(message)
