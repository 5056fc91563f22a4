"""Passwords of the page's users, as the text that stands in the YAML: `scrypt:15:8:3:SALT:HASH`.

The rule: a password itself is never in a file, a message or the log. The text says how it was made (log2 of N, r, p of
scrypt, RFC 7914; salt and hash in base64 for URLs), so what is made today is read when the parameters have grown. It
has no `$`, which would be a variable of the YAML, and nothing that YAML wants quoted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import unicodedata
from typing import Annotated, Any, NamedTuple

from pydantic import PlainValidator, WithJsonSchema

from gateway.config.scalars import text_of

LOG2_N, R, P = 15, 8, 3
"""32 MiB and a third of a second on a small gateway: what OWASP's cheat sheet puts beside N=2^17, p=1, which takes
128 MiB, more than such machines have to spare."""
MIN_LOG2_N, MAX_LOG2_N = 14, 18
MAX_R, MAX_P = 16, 16
MAX_MEMORY = 256 * 2**20
"""What one check of a password may take; a text that asks for more would stop the gateway at the first login."""
SALT_SIZE, HASH_SIZE = 16, 32
MIN_PASSWORD, MAX_PASSWORD = 8, 1024
"""Characters. A longer one is no password, and hashing it is work for whoever sends it."""

_SHAPE = re.compile(r"scrypt:(\d{1,3}):(\d{1,3}):(\d{1,3}):([A-Za-z0-9_-]{1,128}):([A-Za-z0-9_-]{1,128})", re.ASCII)


class Password(NamedTuple):
    """What is known of a password."""

    log2_n: int
    r: int
    p: int
    salt: bytes
    hash: bytes

    def __str__(self) -> str:
        salt, hashed = (base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in (self.salt, self.hash))
        return f"scrypt:{self.log2_n}:{self.r}:{self.p}:{salt}:{hashed}"

    def fits(self, password: str) -> bool:
        """Whether it is this one. Takes a third of a second and tens of MiB: for a thread, one at a time."""
        found = _hash(password, self.salt, self.log2_n, self.r, self.p, len(self.hash))
        return hmac.compare_digest(found, self.hash)


def make_password(password: str) -> Password:
    """With a salt of its own. ValueError: too short or too long."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ValueError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters, this has {len(password)}")
    salt = secrets.token_bytes(SALT_SIZE)
    return Password(LOG2_N, R, P, salt, _hash(password, salt, LOG2_N, R, P, HASH_SIZE))


NOBODY = Password(LOG2_N, R, P, bytes(SALT_SIZE), bytes(HASH_SIZE))
"""Nobody's, to take as long over a name that there is not."""


def parse_password(value: Any) -> Password:
    """Raises ValueError with what to write instead, and never repeats what stands there: it may be a password."""
    match = _SHAPE.fullmatch(text_of(value, "what `gateway passwd` prints"))
    if match is None:
        raise ValueError(
            "is not what `gateway passwd` prints (`scrypt:15:8:3:...`): run it, type the password there and write its "
            "output here, never the password itself"
        )
    log2_n, r, p = (int(part) for part in match.groups()[:3])
    try:
        salt, hashed = (_decoded(part) for part in match.groups()[3:])
    except (binascii.Error, ValueError) as error:
        raise ValueError("is damaged: run `gateway passwd` again and write its output here") from error
    if not (
        MIN_LOG2_N <= log2_n <= MAX_LOG2_N
        and 1 <= r <= MAX_R
        and 1 <= p <= MAX_P
        and _memory(log2_n, r, p) <= MAX_MEMORY
        and len(salt) >= SALT_SIZE // 2
        and len(hashed) >= HASH_SIZE // 2
    ):
        raise ValueError("is weaker than it may be, or takes more memory: run `gateway passwd` and write its output")
    return Password(log2_n, r, p, salt, hashed)


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _memory(log2_n: int, r: int, p: int) -> int:
    """What OpenSSL wants to be allowed, with room for what it needs besides."""
    return 128 * r * ((1 << log2_n) + p + 32)


def _hash(password: str, salt: bytes, log2_n: int, r: int, p: int, size: int) -> bytes:
    """Of the password in one of the ways that keyboards and systems write the same letters (NFC)."""
    data = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=1 << log2_n, r=r, p=p, maxmem=_memory(log2_n, r, p), dklen=size)


PasswordField = Annotated[
    Password, PlainValidator(parse_password), WithJsonSchema({"type": "string", "pattern": r"^(scrypt:|\$\{).+$"})
]
