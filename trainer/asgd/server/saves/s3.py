"""S3 and what speaks it: s3fs, with errors that a user understands and that the rest of the house catches.

Credentials, endpoint, region and certificates come from where AWS's own tools take them (environment, profiles, roles).
Three things differ from plain s3fs. What botocore raises without being an OSError becomes one, so that a store that is
away costs a save and not a server. No bucket is made: a bucket that is not there is a mistake in its name. Listings are
not kept, because several processes write to one store.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import Any

import s3fs
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)
from fsspec.asyn import sync_wrapper

from asgd.errors import UserError

_CA = "AWS_CA_BUNDLE"
_REFUSED = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_UNNAMED = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound)
_ACTIONS = "list, get, put and delete objects"
_PASSING = {408, 409, 425, 429}
"""HTTP statuses that speak of this moment, unlike the other ones below 500."""


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
            # NB: an OSError as its cause would tell servers to wait for a better time.
            raise UserError(f"spec.checkpoint.uri: {uri!r} cannot be used: {text}") from None
        raise
    return fs, root


def trouble(cause: BaseException | None, bucket: str, where: str) -> str:
    """What the user has to mend, if it is that; '' for what may pass. `where` is the endpoint."""
    match cause:
        case SSLError():
            return _distrust(str(cause), where)
        case ParamValidationError():
            return f"{bucket!r} is no name of a bucket"
        case ClientError():
            return _refusal(cause.response, bucket, where)
    if isinstance(cause, _UNNAMED):
        return f"{_flat(cause)}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role"
    return ""


def _distrust(said: str, where: str) -> str:
    """OpenSSL's reason, and what helps where an authority is missing; a wrong name or an old certificate needs more."""
    found = re.search(r"certificate verify failed: (.*?)[.\s]*\(_ssl", said)
    reason = found[1] if found else " ".join(said.split())
    unknown = "issuer" in reason or "self-signed" in reason
    return f"the certificate of {where} is not trusted: {reason}" + (
        f"; name the file of its authority in {_CA}" if unknown else ""
    )


def _refusal(response: dict[str, Any], bucket: str, where: str) -> str:
    error = response.get("Error", {})
    code = str(error.get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    if code == "NoSuchBucket":
        return f"{where} has no bucket {bucket!r}; make it first, or mend the name"
    if code in _REFUSED or status == 403:
        return f"{where} refuses these credentials ({code}); allowed: a key that may {_ACTIONS} in {bucket!r}"
    if 300 <= status < 500 and status not in _PASSING:
        return f"{where} refuses: {code} ({' '.join(str(error.get('Message', '')).split())})"
    return ""


def _check_ca() -> None:
    path = os.environ.get(_CA, "")
    if not path:
        return
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise UserError(f"{_CA}: {path!r} holds no certificate") from None
    except OSError as error:
        raise UserError(f"{_CA}: {path!r} cannot be read: {error.strerror}") from None


def _flat(error: BaseException) -> str:
    """One line, without what was asked for in an address."""
    return re.sub(r'\?[^\s"]*(?=["\s]|$)', "", " ".join(str(error).split())).rstrip(".")
