"""S3 and what speaks it: s3fs, with errors that a user understands and that the rest of the house catches.

Credentials, endpoint, region and certificates come from where AWS's own tools take them (environment, profiles, roles).
Three things differ from plain s3fs. What botocore raises without being an OSError becomes one, so that a store that is
away costs a save and not a server. No bucket is made: a bucket that is not there is a mistake in its name. Listings are
not kept, because several processes write to one store.
"""

from __future__ import annotations

import os
from typing import Any

import s3fs
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)  # fmt: skip
from fsspec.asyn import sync_wrapper

from asgd.errors import UserError

_CA = "AWS_CA_BUNDLE"
_REFUSED = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_UNNAMED = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound)
_ACTIONS = "list, get, put and delete objects"


class S3(s3fs.S3FileSystem):  # type: ignore[misc]
    """s3fs, all of whose errors are OSErrors."""

    async def _call_s3(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._call_s3(method, *args, **kwargs)
        except BotoCoreError as error:
            raise OSError(_flat(error)) from error

    # NB: s3fs's own wrapper calls its own method.
    call_s3 = sync_wrapper(_call_s3)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        """There are no folders; what is written makes its path."""

    makedirs = sync_wrapper(_makedirs)


def open_s3(uri: str) -> tuple[S3, str]:
    """The file system and the path in it, once the bucket has answered.

    Raises UserError where bucket, credentials or certificate are wrong; OSError where the store is away.
    """
    _check_ca()
    fs = S3(use_listings_cache=False)
    root = str(fs._strip_protocol(uri))
    bucket, _, key = root.partition("/")
    if not bucket:
        raise ValueError("it names no bucket; allowed: s3://BUCKET/FOLDER")
    if not key:
        raise ValueError(f"it names no folder in the bucket; allowed: s3://{bucket}/FOLDER")
    try:
        fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
    except OSError as error:
        where = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
        if text := trouble(error.__cause__, bucket, where):
            raise UserError(f"spec.checkpoint.uri: {uri!r} cannot be used: {text}") from error
        raise
    return fs, root


def trouble(cause: BaseException | None, bucket: str, where: str) -> str:
    """What the user has to mend, if it is that; '' for what may pass. `where` is the endpoint."""
    if isinstance(cause, SSLError):
        return f"the certificate of {where} is not trusted ({_flat(cause)}); name the file of its authority in {_CA}"
    if isinstance(cause, _UNNAMED):
        return f"{_flat(cause)}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role"
    if not isinstance(cause, ClientError):
        return ""
    code = str(cause.response.get("Error", {}).get("Code", ""))
    if code in ("NoSuchBucket", "404"):
        return f"{where} has no bucket {bucket!r}; make it first, or mend the name"
    if code in _REFUSED:
        return f"{where} refuses these credentials ({code}); allowed: a key that may {_ACTIONS} in {bucket!r}"
    return ""


def _check_ca() -> None:
    path = os.environ.get(_CA, "")
    if not path:
        return
    try:
        with open(path, "rb"):  # noqa: PTH123
            pass
    except OSError as error:
        raise UserError(f"{_CA}: {path!r} cannot be read: {error.strerror}") from error


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
