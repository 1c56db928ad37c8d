"""The file system and the path that a URI names: fsspec's, or for S3 one that says what is wrong in one sentence."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import fsspec

_S3 = ("s3", "s3a")
_LIBRARY = "its library is not installed here: pip install 'asgd-operator[s3]'"


def open_uri(uri: str) -> tuple[Any, str]:
    """An fsspec file system and the path in it.

    Raises UserError for what only the user can mend, OSError, ValueError and ImportError as fsspec does.
    """
    if urlsplit(uri).scheme not in _S3:
        fs, root = fsspec.core.url_to_fs(uri)
        return fs, root
    try:
        from asgd.server.saves.s3 import open_s3  # loading it takes as long as starting a server
    except ImportError as error:
        raise ImportError(_LIBRARY) from error
    return open_s3(uri)
