"""RSA key pairs, made and opened by the openssl command: the private half leaves memory encrypted only.

The command comes with the system that the service runs on, and with its security updates.
"""

import os
import subprocess
from asyncio import to_thread
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from provisioning.core.errors import Unavailable

# RFC 8301 3.2: signers use 2048 bits at least, and every verifier takes as many.
BITS = 2048
SECONDS_MAX = 60


@dataclass(frozen=True, slots=True)
class KeyPair:
    """`private_key` is an encrypted PKCS #8 in PEM, `public_key` a SubjectPublicKeyInfo in base64."""

    private_key: str
    public_key: str


async def make_key_pair(passphrase: str) -> KeyPair:
    """Takes about 0.3 s of a core: never call it inside a transaction. Raises Unavailable."""
    return await to_thread(_make, passphrase)


async def open_private_key(private_key: str, passphrase: str) -> str:
    """The PEM of an unencrypted PKCS #8. Raises Unavailable, also for another passphrase than it was made with."""
    return (await to_thread(_run, ["pkey"], "-passin", passphrase, private_key.encode())).decode()


def _make(passphrase: str) -> KeyPair:
    how = ["genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{BITS}", "-aes-256-cbc"]
    private = _run(how, "-pass", passphrase, b"")
    public = _run(["pkey", "-pubout", "-outform", "DER"], "-passin", passphrase, private)
    return KeyPair(private.decode(), b64encode(public).decode())


def _run(arguments: Sequence[str], passing: str, passphrase: str, given: bytes) -> bytes:
    """The passphrase goes through a pipe of its own, so that it stands in no list of processes."""
    reader, writer = os.pipe()
    try:
        os.write(writer, passphrase.encode() + b"\n")
        os.close(writer)
        command = ["openssl", *arguments, passing, f"fd:{reader}"]
        done = subprocess.run(
            command, input=given, capture_output=True, check=True, pass_fds=(reader,), timeout=SECONDS_MAX
        )
    except FileNotFoundError as error:
        raise Unavailable("The openssl command is missing on this machine. Install it; nothing was changed.") from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise Unavailable("The openssl command could not do it; nothing was changed.") from error
    finally:
        os.close(reader)
    return done.stdout
