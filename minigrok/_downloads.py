"""Files fetched once and kept: checked by their hash, whole or not there at all."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

TIMEOUT = 30.0  # seconds without a byte after which a server is given up


def cache() -> Path:
    """The folder of fetched files: MINIGROK_CACHE, else the system's place for what can be fetched again."""
    chosen = os.environ.get("MINIGROK_CACHE")
    return Path(chosen).expanduser() if chosen else _pooch().os_cache("minigrok")


def fetch(name: str, sha256: str, mirrors: Sequence[str]) -> Path:
    """A file of this name and SHA-256: the one in the cache, else from the first mirror that has it.

    A file in the cache that is not the right one is kept beside it as `name.broken`, with a warning.

    Raises:
        ConnectionError: no mirror gave the file; says why for each of them.
        ImportError: pooch is missing.
        OSError: the cache cannot be written.
    """
    path = cache() / name
    if path.exists():
        if _sha256(path) == sha256:
            return path
        with suppress(FileNotFoundError):  # another process that found it broken was faster
            broken = path.replace(path.with_name(f"{name}.broken"))
            warnings.warn(f"{path} was broken: it is now {broken.name}, and is fetched again", stacklevel=2)
    failures = []
    for mirror in mirrors:
        reason = _download(mirror + name, path, sha256)
        if reason is None:
            return path
        failures.append(f"{mirror}{name}: {reason}")
        if len(failures) < len(mirrors):
            warnings.warn(f"{failures[-1]}. Trying the next mirror", stacklevel=2)
    raise ConnectionError("\n  ".join(failures))


def _download(url: str, path: Path, sha256: str) -> str | None:
    """Fetch one file; None, or why there is none."""
    pooch = _pooch()
    from requests.exceptions import RequestException

    bar = find_spec("tqdm") is not None
    downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=TIMEOUT)
    try:  # pooch writes under another name until the hash is right, and takes that away if anything happens
        pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent, downloader=downloader)
    except RequestException as error:
        return _reason(error)
    except ValueError:  # pooch's word for another hash
        return "what came is not the file: it has another SHA-256"
    except OSError as error:
        raise OSError(
            f"{path.parent} cannot be written ({error}). The environment variable MINIGROK_CACHE names "
            "another folder for what is fetched"
        ) from error
    return None


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    if "timed out" in str(error):
        return f"nothing came for {TIMEOUT:g} s"
    return f"no connection, or it broke ({type(error).__name__})"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pooch() -> ModuleType:
    try:
        import pooch
    except ImportError as missing:
        raise ImportError(
            "fetching a data set needs pooch: pip install 'minigrok[data]', or set the environment variable "
            "MINIGROK_DATA to a folder that holds the set"
        ) from missing
    return pooch
