"""Reading a model from its source, from any byte on: https, S3, or a file.

A source is only ever read; what it gave is believed when its SHA-256 is right. Plain http is refused, also as a
redirect: not for the content's sake, but so that nobody on the way sees who fetches what.
"""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from orchestrator.pins.sources import is_path

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 60.0
"""Without a byte, after which a connection is given up."""

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class SourceError(Exception):
    """A source does not give what is asked of it; `again`: it may, when it is asked later."""

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True, slots=True)
class Opened:
    """What a source gives: blocks of its content from byte `start` on, which is 0 where it cannot start elsewhere."""

    start: int
    blocks: Iterator[bytes]


def path_of(source: str, base: Path) -> Path | None:
    """The file that the source names, a relative path being relative to `base`; None when it is elsewhere."""
    if is_path(source):
        return base / source
    parts = urlsplit(source)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


@contextmanager
def opened(source: str, base: Path, start: int) -> Iterator[Opened]:
    """Opens it for as long as the block lasts. Raises SourceError, as its blocks do."""
    path = path_of(source, base)
    with ExitStack() as stack:
        with _translated():
            if path is not None and not path.is_file():
                raise SourceError("there is no such file", again=False)
            if path is not None:
                body: Any = stack.enter_context(path.open("rb"))
                body.seek(start)
            elif source.startswith("s3://"):
                body = stack.enter_context(_s3(source, start))
            else:
                start, body = stack.enter_context(_https(source, start))
        yield Opened(start, _blocks(body))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        error.close()
        raise SourceError(f"it answers {error.code} {error.reason}", again=error.code in _BUSY) from None
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        raise SourceError(str(error), again=status in _BUSY) from None
    except PermissionError as error:
        raise SourceError(str(error.strerror), again=False) from None
    except (OSError, HTTPException, BotoCoreError) as error:
        raise SourceError(f"{error}" or type(error).__name__, again=True) from None


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme != "https":
            raise SourceError(f"it redirects to {newurl[:200]}, which is not https", again=False)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def _https(source: str, start: int) -> Iterator[tuple[int, Any]]:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _HttpsOnly(),
    ):
        opener.add_handler(handler)
    request = Request(source, headers={"User-Agent": "comfyfleet", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        yield (start if resumed else 0), answer


@contextmanager
def _s3(source: str, start: int) -> Iterator[Any]:
    """Credentials and endpoint come the usual AWS ways (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3, roles...)."""
    parts = urlsplit(source)
    config = Config(
        connect_timeout=5, read_timeout=TIMEOUT_S, retries={"mode": "standard", "max_attempts": 3},
        response_checksum_validation="when_required",
    )  # fmt: skip
    client = Session().client("s3", config=config)
    try:
        key = unquote(parts.path).lstrip("/")
        yield client.get_object(Bucket=parts.netloc, Key=key, Range=f"bytes={start}-")["Body"]
    finally:
        client.close()


def _blocks(file: Any) -> Iterator[bytes]:
    while True:
        with _translated():
            block = file.read(BLOCK_BYTES)
        if not block:
            return
        yield block
