"""Recognises secret settings, and removes their values from messages."""

import re
from collections.abc import Iterable

from pydantic import SecretBytes, SecretStr

from weft.config.tree import KeyPath

HIDDEN = "***"

_SECRET_KEY = re.compile(
    r"(?i)(?:^|[_-])(?:api)?keys?(?:$|[_-])|token|secret|passw|passphrase|credential|auth"
)
_URL_PASSWORD = re.compile(r"(?<=://)[^/@\s'\"]*@")
_SHORTEST_SCRUBBED = 6


def looks_secret(path: KeyPath) -> bool:
    """Return whether the name of a key implies a secret value.

    Names of sections and slots do not count: a layer may be called ``token_unlocks``.
    """
    keys = [part for part in path if isinstance(part, str)]
    return any(_SECRET_KEY.search(key) for key in keys[min(2, len(keys) - 1) :])


def holds_secret(annotation: object) -> bool:
    """Return whether a type is a secret type, or contains one."""
    if annotation in (SecretStr, SecretBytes):
        return True
    return any(holds_secret(part) for part in getattr(annotation, "__args__", ()))


def scrub(line: str, secrets: Iterable[str]) -> str:
    """Return a message with secrets removed, since a validator may quote them."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SCRUBBED:
            line = line.replace(secret, HIDDEN)
    return _URL_PASSWORD.sub(f"{HIDDEN}@", line)
