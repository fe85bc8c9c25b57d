"""Sources: which addresses a lock may name, and what mirrors make of them. Pure.

A lock comes from elsewhere, so an address is never a way to make git or the downloader do something else than fetch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from orchestrator.errors import InvalidRequest

MODEL_SCHEMES = ("https", "s3", "file")
GIT_SCHEMES = ("https", "ssh", "file")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCP = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9][A-Za-z0-9.-]*:[^:]")  # git@host:path


def fault_of_source(source: str) -> str | None:
    """What keeps it from being where a model is fetched from, in words; None when nothing does."""
    return _fault(source, MODEL_SCHEMES)


def fault_of_repo(repo: str) -> str | None:
    """What keeps it from being where git fetches from, in words; None when nothing does."""
    if _SCP.match(repo) and not _CONTROL.search(repo):
        return None
    if "::" in repo.partition("/")[0]:
        return "names a transport helper of git, which runs commands"
    return _fault(repo, GIT_SCHEMES)


def is_path(address: str) -> bool:
    """Whether it names a file or folder by its path alone."""
    return not _SCHEME.match(address) and not _SCP.match(address)


def parse_mirrors(rules: Mapping[str, str]) -> dict[str, str]:
    """Prefixes of addresses, and what takes their place. Raises InvalidRequest("invalid_mirror")."""
    for prefix, place in rules.items():
        fault = "takes the place of nothing: say FROM=TO" if not prefix else None
        fault = fault or (fault_of_repo(place) and fault_of_source(place))
        if fault or (is_path(place) and not place.startswith("/")):
            fault = fault or "is a relative path: say an absolute one"
            raise InvalidRequest("invalid_mirror", f"mirror {prefix}={place}: {place or 'nothing'} {fault}")
    return dict(rules)


def mirrored(address: str, mirrors: Mapping[str, str]) -> str:
    """Where to fetch from: the mirror with the longest prefix of it, else itself."""
    prefix = max((prefix for prefix in mirrors if address.startswith(prefix)), key=len, default="")
    return mirrors[prefix] + address.removeprefix(prefix) if prefix else address


def without_credentials(address: str) -> str:
    """The address without a user name or password that would end up in a lock."""
    if not address.startswith(("https://", "http://")):
        return address  # ssh names a login that everybody shares
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _fault(address: str, schemes: tuple[str, ...]) -> str | None:
    if not address or _CONTROL.search(address):
        return "is empty, or has a control character"
    if address.startswith("-"):
        return "begins with a dash, as an option would"
    scheme = _SCHEME.match(address)
    if scheme is None:
        return None
    if scheme[1].lower() not in schemes:
        return f"is a {scheme[1]} address: say {', '.join(f'{known}://' for known in schemes)} or a path"
    try:
        return _fault_of_host(urlsplit(address))
    except ValueError as error:
        return f"is no valid address ({error})"


def _fault_of_host(parts: SplitResult) -> str | None:
    if parts.scheme == "file":
        return None if parts.hostname in (None, "localhost") else "names a host: write file:///PATH"
    if not parts.hostname or parts.hostname.startswith("-"):
        return "names no host"
    if parts.scheme == "https" and parts.username is not None:
        return "holds credentials, which everybody who reads it would have: leave them out"
    if parts.scheme == "s3" and not parts.path.strip("/"):
        return "names no object: write s3://BUCKET/KEY"
    return None
