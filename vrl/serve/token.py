"""The bearer token: kept in a file that only its owner can read, compared in constant time."""

import hmac
import os
import secrets
from pathlib import Path

from vrl.errors import ConfigError
from vrl.ownership import read_secret


def read_token(path: Path) -> str:
    """Return the token in the file; create the file with a random token if it is missing.

    Raises ConfigError as `vrl.ownership.read_secret` does.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"token_file {path}: cannot be created: {error.strerror}") from error
    else:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    return read_secret(path, "token_file")


def is_authorised(header: str | None, token: str) -> bool:
    """Return whether an Authorization header carries the token."""
    kind, _, credentials = (header or "").partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(credentials.strip().encode(), token.encode())
