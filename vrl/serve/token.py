"""The bearer token: kept in a file that only its owner can read, compared in constant time."""

import hmac
import os
import secrets
import stat
from pathlib import Path

from vrl.errors import ConfigError


def read_token(path: Path) -> str:
    """Return the token in the file; create the file with a random token if it is missing.

    Raises ConfigError if others can read the file, or if it is empty.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(f"token_file {path}: got mode {mode:o}, wanted 600: others could read it (chmod 600 {path})")
    token = path.read_text().strip()
    if not token:
        raise ConfigError(f"token_file {path}: got an empty file, wanted a token, or no file to have one created")
    return token


def is_authorised(header: str | None, token: str) -> bool:
    """Return whether an Authorization header carries the token."""
    kind, _, credentials = (header or "").partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(credentials.strip().encode(), token.encode())
