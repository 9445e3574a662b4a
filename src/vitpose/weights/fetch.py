"""Weights from the network, or one sentence on why not and how to get them by hand.

Hub files go through ``huggingface_hub`` into its own cache (``HF_HOME``, ``HF_HUB_OFFLINE``, mirrors and tokens work as
everywhere). Plain downloads are written beside their place and renamed when complete and checked.
"""

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from vitpose._version import __version__
from vitpose.core.errors import WeightsError
from vitpose.core.files import atomic_path
from vitpose.core.hub import hub_is_reachable, is_offline
from vitpose.weights.formats import file_sha256, shard_names
from vitpose.weights.huggingface import CONFIG, INDEX, OLD_WEIGHTS, WEIGHTS, read_config

_CHUNK: Final = 1 << 20
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_HASH_IN_NAME: Final = re.compile(r"-([0-9a-f]{8,64})(?:_\d{8})?\.\w+$")


@dataclass(frozen=True, slots=True)
class Limits:
    """When to give up on a download.

    Attributes:
        size_bytes: no published file is larger than 4 GB.
        total_s: for the whole file.
        stall_s: without a single byte.
    """

    size_bytes: int = 8 << 30
    total_s: float = 3600.0
    stall_s: float = 30.0


def fetch_hub_folder(repo: str, revision: str | None = None) -> Path:
    """Return the local folder with configuration and weights of a hub repository, downloading what is missing.

    The configuration comes first: of a repository with another kind of model nothing else is downloaded. Of the weights
    only those that will be read are: safetensors where there are any, whole or in parts.

    Raises:
        WeightsError: offline, no such repository, no access, no such files, or another kind of model.
    """
    import huggingface_hub

    local = not hub_is_reachable()

    def get(name: str) -> Path:
        return Path(huggingface_hub.hf_hub_download(repo, name, revision=revision, local_files_only=local))

    wanted = CONFIG
    try:
        folder = get(CONFIG).parent
        # The weights that go with it, whatever happens there meanwhile; the hub's cache calls the folder by the commit.
        revision = folder.name if _COMMIT.fullmatch(folder.name) else revision
        read_config(folder)
        wanted = f"{WEIGHTS}, {INDEX} or {OLD_WEIGHTS}"
        weights = _first_there(get, (WEIGHTS, INDEX, OLD_WEIGHTS))
        for name in shard_names(weights) if weights.name == INDEX else ():
            wanted = name
            get(name)
    except WeightsError:
        raise
    except Exception as error:  # the hub client has no common base: HTTP, file, validation and cache errors
        raise WeightsError(_hub_message(repo, wanted, error)) from error
    return folder


def _first_there(get: Callable[[str], Path], names: Sequence[str]) -> Path:
    """Return the first file that a repository has; where it has none, the error is that of the first."""
    from huggingface_hub import errors

    first: Exception | None = None
    for name in names:
        try:
            return get(name)
        except errors.EntryNotFoundError as error:
            first = first or error
    assert first is not None
    raise first


def fetch_hub_file(repo: str, filename: str, revision: str | None = None, sha256: str = "") -> Path:
    """Return the local copy of one file of a hub repository, downloading it if it is missing.

    Args:
        repo: ``organisation/name``.
        filename: inside the repository.
        revision: branch, tag or commit.
        sha256: beginning of the file's SHA-256; a file with another one is removed.

    Raises:
        WeightsError: offline, no such repository or file, no access, or another hash.
    """
    import huggingface_hub

    try:
        path = Path(
            huggingface_hub.hf_hub_download(repo, filename, revision=revision, local_files_only=not hub_is_reachable())
        )
    except Exception as error:  # as above
        raise WeightsError(_hub_message(repo, filename, error)) from error
    check_hash(path, sha256, remove=True)
    return path


def _hub_message(repo: str, files: str, error: Exception) -> str:
    from huggingface_hub import constants, errors

    cache = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    reasons: tuple[tuple[type[Exception], str], ...] = (
        (
            errors.GatedRepoError,
            f"it is gated: accept its terms at https://huggingface.co/{repo} and run `hf auth login`",
        ),
        (errors.RepositoryNotFoundError, "the hub has no such repository, or it is private"),
        (errors.LocalEntryNotFoundError, _offline_reason()),
        (errors.OfflineModeIsEnabled, _offline_reason()),
        (errors.EntryNotFoundError, "the repository has no such file"),
    )
    reason = next((text for kind, text in reasons if isinstance(error, kind)), "")
    reason = reason or str(error).strip().partition("\n")[0][:200] or type(error).__name__
    return (
        f"cannot get {files} of {repo} from the Hugging Face hub ({reason}); it would lie in {cache}. By hand: run"
        f" `hf download {repo}` where there is a network and copy that folder, or pass the path of the downloaded files"
    )


def _offline_reason() -> str:
    if is_offline():
        return "HF_HUB_OFFLINE is set and it is not in the cache"
    return "no network, and it is not in the cache"


def fetch_url(url: str, folder: Path, *, sha256: str = "", limits: Limits | None = None) -> Path:
    """Return the local copy of a plain download, downloading it if it is missing.

    Args:
        url: ``https`` or ``http``; the last part of its path names the file.
        folder: where it is kept.
        sha256: beginning of the file's SHA-256; without it, the one in a name such as ``...-216eae50_20230314.pth``.
        limits: when to give up.

    Raises:
        WeightsError: offline, not to be reached, incomplete, too large or slow, or another hash; nothing is left.
    """
    parts = urllib.parse.urlsplit(url)
    name = Path(urllib.parse.unquote(parts.path)).name
    if parts.scheme not in ("https", "http") or not name:
        raise WeightsError(f"cannot download {url!r}: give an https address that ends in a file name")
    target = folder / name
    expected = sha256 or hash_in_name(name)
    if target.is_file():
        check_hash(target, expected, remove=True)
        return target
    if is_offline():
        raise WeightsError(_url_message(url, target, "HF_HUB_OFFLINE is set and it is not there yet"))
    with atomic_path(target) as temporary:
        try:
            digest = _download(url, temporary, limits or Limits())
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            raise WeightsError(_url_message(url, target, f"HTTP {error.code}")) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise WeightsError(_url_message(url, target, str(error) or type(error).__name__)) from error
        if not digest.startswith(expected):
            raise WeightsError(
                _url_message(url, target, f"its SHA-256 begins with {digest[: len(expected)]}, not {expected}")
            )
    return target


def _url_message(url: str, target: Path, reason: str) -> str:
    return f"cannot get {target.name} ({reason}); it would lie in {target}. By hand: download {url} and put it there"


def _download(url: str, target: Path, limits: Limits) -> str:
    """Stream ``url`` into ``target`` and return its SHA-256."""
    request = urllib.request.Request(url, headers={"User-Agent": f"vitpose/{__version__}"})
    with urllib.request.urlopen(request, timeout=limits.stall_s) as answer, target.open("wb") as out:
        announced = answer.headers.get("Content-Length")
        if announced is not None and int(announced) > limits.size_bytes:
            raise ValueError(f"it has {int(announced)} bytes, more than the limit of {limits.size_bytes}")
        received, digest = _copy(answer, out, limits)
    if announced is not None and received != int(announced):
        raise ValueError(f"the transfer ended after {received} of {announced} bytes")
    return digest


def _copy(answer: http.client.HTTPResponse, out: IO[bytes], limits: Limits) -> tuple[int, str]:
    digest, received, start = hashlib.sha256(), 0, time.monotonic()
    while chunk := answer.read1(_CHUNK):
        received += len(chunk)
        if received > limits.size_bytes:
            raise ValueError(f"it is larger than the limit of {limits.size_bytes} bytes")
        if time.monotonic() - start > limits.total_s:
            raise ValueError(f"it took longer than {limits.total_s:g} s")
        digest.update(chunk)
        out.write(chunk)
    return received, digest.hexdigest()


def hash_in_name(name: str) -> str:
    """Return the beginning of a SHA-256 that a file name such as ``vit-216eae50_20230314.pth`` carries, or ``""``."""
    found = _HASH_IN_NAME.search(name)
    return found[1] if found else ""


def check_hash(path: Path, expected: str, *, remove: bool) -> None:
    """Refuse a file whose SHA-256 does not begin with ``expected``.

    Args:
        path: the file.
        expected: beginning of the hash in hexadecimal; empty accepts anything.
        remove: delete a file that is refused, and what a link in a cache points to.

    Raises:
        WeightsError: another hash.
    """
    found = file_sha256(path)
    if found.startswith(expected.lower()):
        return
    if remove:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    after = "it was removed, get it again" if remove else "delete it and get the published one"
    raise WeightsError(
        f"{path} is not the published file: its SHA-256 begins with {found[: len(expected)]}, not {expected}; {after}"
    )
