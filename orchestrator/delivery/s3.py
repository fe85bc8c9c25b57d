"""S3Storage: a bucket on AWS, or on any server that speaks S3 (MinIO, Ceph, R2, Garage...).

boto3 blocks, so each call runs in a thread. Credentials come the usual AWS ways and never from our settings:
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, or the role of the machine or pod. A process killed in the middle
of a large upload leaves parts that S3 bills for: give the bucket a lifecycle rule AbortIncompleteMultipartUpload.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from blake3 import blake3
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from orchestrator.delivery.keys import check_key
from orchestrator.delivery.serving import serving_headers
from orchestrator.delivery.storage import Piece, Stored, blocks, pieces
from orchestrator.delivery.threads import Threads
from orchestrator.errors import Busy, FleetError, NotFound

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectRequestTypeDef

P = ParamSpec("P")
R = TypeVar("R")

PART_BYTES = 8 << 20  # all but the last part of an upload must be equal on some servers, and at least 5 MiB
PIECE_BYTES = 4 << 20
THREADS = 16
RETRY_S = 5.0
MAX_URL_S = 7 * 86400  # of signature version 4
_FULL = frozenset({"QuotaExceeded", "StorageFull", "XMinioStorageFull", "InsufficientStorage", "507"})
_MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
_logger = logging.getLogger(__name__)


class S3Storage:
    """See Storage."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        endpoint: str | None = None,
        region: str | None = None,
        redirect: bool = True,
    ) -> None:
        """Connects to nothing yet: the first verb does. `redirect`: clients may fetch from the bucket itself."""
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._place = f"s3://{bucket}/{self._prefix}" + (f" at {endpoint}" if endpoint else "")
        self._redirect = redirect
        self._threads = Threads(THREADS)
        self._client: S3Client = Session().client(
            "s3", endpoint_url=endpoint, region_name=region, config=_config(custom_server=endpoint is not None)
        )

    async def put(self, key: str, data: bytes | AsyncIterator[bytes], content_type: str) -> Stored:
        name = self._name(key)
        parts = _slices(data) if isinstance(data, bytes) else blocks(data, PART_BYTES)
        first = await anext(parts, b"")
        if len(first) < PART_BYTES:
            return await self._run(self._put_whole, name, first, content_type)
        upload = _Upload(self._client, self._bucket, name, content_type)
        try:
            await self._run(upload.begin)
            await self._run(upload.write, first)
            async for part in parts:
                await self._run(upload.write, part)
            return await self._run(upload.publish)
        except BaseException:
            await self._discard(upload)
            raise

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        return pieces(self._fetch, key, start, end, PIECE_BYTES)

    async def size(self, key: str) -> int:
        return (await self._run(self._head, self._name(key))).total

    async def url(
        self, key: str, expires_s: float, filename: str, content_type: str = "application/octet-stream"
    ) -> str | None:
        if not self._redirect:
            return None
        return await self._run(self._sign, self._name(key), expires_s, serving_headers(content_type, filename))

    async def delete(self, key: str) -> None:
        await self._run(self._client.delete_object, Bucket=self._bucket, Key=self._name(key))

    async def delete_prefix(self, prefix: str) -> None:
        await self._run(self._delete_all, f"{self._name(prefix)}/")

    async def close(self) -> None:
        await self._threads.close()
        self._client.close()

    async def _discard(self, upload: _Upload) -> None:
        """Failing to clear up must not hide why the upload failed."""
        try:
            await self._run(upload.discard)
        except FleetError as error:
            _logger.warning("an unfinished upload stays behind in %s: %s", self._place, error.message)

    async def _fetch(self, key: str, start: int, stop: int, version: str | None) -> Piece:
        return await self._run(self._read_range, self._name(key), start, stop, version)

    # --- what follows runs in threads ---

    def _put_whole(self, name: str, data: bytes, content_type: str) -> Stored:
        self._client.put_object(Bucket=self._bucket, Key=name, Body=data, ContentType=content_type)
        return Stored(len(data), f"blake3:{blake3(data).hexdigest()}")

    def _read_range(self, name: str, start: int, stop: int, version: str | None) -> Piece:
        if start == stop:
            return self._head(name)
        request: GetObjectRequestTypeDef = {"Bucket": self._bucket, "Key": name, "Range": f"bytes={start}-{stop - 1}"}
        if version is not None:
            request["IfMatch"] = version
        try:
            answer = self._client.get_object(**request)
        except ClientError as error:
            if _code(error) != "InvalidRange":  # there is nothing in that range: the object is empty, or cut short
                raise
            return self._head(name)
        data = answer["Body"].read()
        total = int(answer.get("ContentRange", f"/{answer['ContentLength']}").rpartition("/")[2])
        if len(data) != min(stop, total) - start:
            raise Busy(
                "storage_unavailable",
                f"{self._place} answered {len(data)} bytes to a request for {start}-{stop} of {total}: check that the "
                f"server, and any proxy before it, honours the Range header",
                RETRY_S,
            )
        return Piece(data, total, answer["ETag"])

    def _head(self, name: str) -> Piece:
        answer = self._client.head_object(Bucket=self._bucket, Key=name)
        return Piece(b"", answer["ContentLength"], answer["ETag"])

    def _sign(self, name: str, expires_s: float, headers: dict[str, str]) -> str:
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": name,
                "ResponseContentDisposition": headers["Content-Disposition"],
                "ResponseContentType": headers["Content-Type"],
            },
            ExpiresIn=max(1, min(int(expires_s), MAX_URL_S)),
        )

    def _delete_all(self, prefix: str) -> None:
        # One by one: the request that deletes many is what servers other than AWS most often lack or read otherwise.
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            for found in page.get("Contents", []):
                self._client.delete_object(Bucket=self._bucket, Key=found.get("Key", ""))

    # --- keys and errors ---

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    async def _run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await self._threads.run(call, *args, **kwargs)
        except (BotoCoreError, ClientError) as error:
            raise self._explain(error) from error

    def _explain(self, error: BotoCoreError | ClientError) -> FleetError:
        if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
            return self._unavailable(
                "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
            )
        if isinstance(error, (ConnectionError, HTTPClientError)):
            return self._unavailable(
                f"it does not answer ({error}): check storage.endpoint, storage.region and the network"
            )
        if not isinstance(error, ClientError):
            return self._unavailable(str(error))
        code = _code(error)
        if code in _MISSING:
            return NotFound("not_stored", f"nothing is stored there in {self._place}")
        if code == "PreconditionFailed":
            return Busy("storage_changed", "the file was replaced while it was read; read it again", 1.0)
        if code in _FULL:
            return Busy("storage_full", f"no space left in {self._place}: raise its quota or free some", RETRY_S)
        return self._unavailable(_advice(code, str(error)))

    def _unavailable(self, why: str) -> Busy:
        return Busy("storage_unavailable", f"cannot use the storage {self._place}: {why}", RETRY_S)


class _Upload:
    """A large object on its way in, in parts; nobody sees it until it is published."""

    def __init__(self, client: S3Client, bucket: str, name: str, content_type: str) -> None:
        self._client = client
        self._bucket, self._name, self._content_type = bucket, name, content_type
        self._id: str | None = None
        self._parts: list[CompletedPartTypeDef] = []
        self._hasher = blake3()
        self._size = 0

    def begin(self) -> None:
        self._id = self._client.create_multipart_upload(
            Bucket=self._bucket, Key=self._name, ContentType=self._content_type
        )["UploadId"]

    def write(self, part: bytes) -> None:
        assert self._id is not None
        self._hasher.update(part)
        self._size += len(part)
        number = len(self._parts) + 1
        answer = self._client.upload_part(
            Bucket=self._bucket, Key=self._name, UploadId=self._id, PartNumber=number, Body=part
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    def publish(self) -> Stored:
        assert self._id is not None
        self._client.complete_multipart_upload(
            Bucket=self._bucket, Key=self._name, UploadId=self._id, MultipartUpload={"Parts": self._parts}
        )
        return Stored(self._size, f"blake3:{self._hasher.hexdigest()}")

    def discard(self) -> None:
        if self._id is not None:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._name, UploadId=self._id)


def _config(*, custom_server: bool) -> Config:
    """AWS as it wants to be spoken to, other servers in the dialect that all of them know: the bucket in the path,
    as few have a host name per bucket, and no checksums of the newer kinds, which several refuse."""
    dialect = Config()
    if custom_server:
        dialect = Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
    return dialect.merge(
        Config(
            signature_version="s3v4",
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 3},
            max_pool_connections=THREADS,
        )
    )


async def _slices(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PART_BYTES):
        yield data[start : start + PART_BYTES]


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _advice(code: str, message: str) -> str:
    """What to check, by S3's error code."""
    if code == "NoSuchBucket":
        return "there is no such bucket: create it, or correct storage.bucket and storage.region"
    if code in ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
        return f"the bucket is in another region: correct storage.region ({message})"
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"):
        return f"it does not accept the credentials: check the AWS_* variables, ~/.aws or the role ({message})"
    if code in ("AccessDenied", "AllAccessDisabled", "403"):
        return (
            "access is denied: the credentials need s3:GetObject, PutObject, DeleteObject, AbortMultipartUpload and "
            f"ListBucket on it ({message})"
        )
    return message
