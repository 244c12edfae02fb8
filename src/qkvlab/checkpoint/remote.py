"""A checkpoint on the Hugging Face hub, read by byte ranges: headers, then exactly the bytes that are asked for.

The address, the headers and the session are huggingface_hub's own (its token, endpoint, proxies and offline mode).
"""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import CheckpointError, QkvLabError, SourceError
from .decode import Bytes
from .safetensors import INDEX, MAX_HEADER, SINGLE, check_shard, parse_object, shards_of, tensors_of
from .source import ALIASES, HUB_NAME, Progress, cached_snapshot, forbidden, hub_failure, local, offline, resolve
from .stores import FileStore, Store, read_checkpoint
from .tensors import Checkpoint, TensorInfo

Answer = TypeVar("Answer")
_TIMEOUT = 20.0
_AT_ONCE = 8


def open_named(name: str | Path, *, progress: Progress | None = None) -> "FileStore | RemoteStore":
    """The tensors of a path, an alias or a hub name; the last by byte ranges where it is not in the local cache."""
    return _on_this_machine(name, progress) or RemoteStore(str(name))


def _on_this_machine(name: str | Path, progress: Progress | None) -> FileStore | None:
    """The checkpoint where it is, or can be only, on this machine; None for a hub name that is not in the cache."""
    text, found = str(name), local(name)
    names_a_repository = HUB_NAME.fullmatch(text) and not text.endswith((".gguf", ".safetensors"))
    if found is None and isinstance(name, str) and text not in ALIASES and names_a_repository:
        folder = cached_snapshot(text)
        return FileStore(text, read_checkpoint(folder)) if folder else None
    source = found or resolve(name, progress=progress)
    return FileStore(source.name, read_checkpoint(source.path))


class RemoteStore(Store):
    """A repository of the hub: config.json, the index, and of each shard the header when a tensor of it is wanted."""

    format = "safetensors"

    def __init__(self, name: str) -> None:
        if offline():
            raise SourceError(forbidden(name, "the Hugging Face cache (or not all of it)", "QKVLAB_OFFLINE"))
        self.name = name
        self._revision: str | None = None
        self.metadata = self._json("config.json") or {}
        self._headers: dict[str, dict[str, TensorInfo]] = {}
        self._index = INDEX
        self._shards = self._listed()
        self._shard_of = {tensor: shard for shard, names in self._shards.items() for tensor in names}
        self.names = self._shard_of.keys()

    def _listed(self) -> dict[str, set[str]]:
        """Each file of weights, with the tensors it holds."""
        try:
            header = self._header(SINGLE)
        except FileNotFoundError:
            index = self._json(INDEX)
            if index is None:
                raise SourceError(
                    f"{self.name!r} on the Hugging Face hub holds neither {SINGLE} nor {INDEX}, and pickled weights "
                    "are never read; of a GGUF repository, download one file and give its path"
                ) from None
            return shards_of(index, INDEX)
        self._index = SINGLE
        return {SINGLE: set(header)}

    def info(self, name: str) -> TensorInfo:
        return self._shard(self._shard_of[name])[name]

    def read(self, info: TensorInfo, start: int, stop: int) -> Bytes:
        data, _ = self._range(info.path.name, info.offset + start, info.offset + stop)
        return np.frombuffer(data, np.uint8)

    def checkpoint(self) -> Checkpoint:
        """All headers, several files at a time."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="qkvlab-hub") as pool:
            headers = list(pool.map(self._shard, sorted(self._shards)))
        tensors = {name: info for header in headers for name, info in header.items()}
        return Checkpoint(Path(self.name), "safetensors", tensors, self.metadata)

    def _shard(self, shard: str) -> dict[str, TensorInfo]:
        if shard not in self._headers:
            try:
                found = self._header(shard)
            except FileNotFoundError:
                raise CheckpointError(
                    f"{self.name}: {self._index} names the shard {shard!r:.80}, which is not there"
                ) from None
            check_shard(self._index, shard, self._shards[shard], found)
        return self._headers[shard]

    def _header(self, file: str) -> dict[str, TensorInfo]:
        """8 bytes, and as many more as they say. Raises FileNotFoundError where the hub has no such file."""
        if file not in self._headers:
            start, size = self._range(file, 0, 9)
            if size is None:
                raise SourceError(f"the hub does not tell the size of {file} of {self.name!r}")
            self._headers[file] = tensors_of(
                Path(file), size, lambda begin, end: start if begin == 0 else self._range(file, begin, end)[0]
            )
        return self._headers[file]

    def _json(self, file: str) -> dict[str, Any] | None:
        """A small file as JSON; None where the hub has no such file."""

        def whole(response: Any) -> bytes:
            self._revision = self._revision or _commit(response.headers.get("X-Repo-Commit"))
            return _limited(response, MAX_HEADER, file)

        try:
            return parse_object(self._ask(file, {}, whole), file)
        except FileNotFoundError:
            return None

    def _range(self, file: str, start: int, stop: int) -> tuple[bytes, int | None]:
        """Bytes start to stop of a file, and the size of the whole. Whatever the server sends beyond is not read."""
        if stop <= start:
            return b"", None

        def part(response: Any) -> tuple[bytes, int | None]:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
            if response.status_code != 206 or not found or int(found[1]) != start:
                raise SourceError(
                    f"the server does not give parts of {file} of {self.name!r} (expected HTTP 206 for bytes {start:,} "
                    f"to {stop:,}, got {response.status_code}); get the whole: qkvlab pull {self.name}"
                )
            data = _limited(response, stop - start, file)
            if len(data) != stop - start and (found[3] == "*" or stop <= int(found[3])):
                raise SourceError(
                    f"{file} of {self.name!r} came incomplete (expected {stop - start:,} bytes, got {len(data):,})"
                )
            return data, None if found[3] == "*" else int(found[3])

        return self._ask(file, {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}, part)

    def _ask(self, file: str, headers: dict[str, str], read: Callable[[Any], Answer]) -> Answer:
        """Ask the hub for a file; `read` is given the open response. Raises FileNotFoundError, SourceError."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # its names are filled in at run time
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
        )

        try:
            asking = http_stream_backoff(
                "GET", hf_hub_url(self.name, file, revision=self._revision),
                headers={**build_hf_headers(), **headers}, follow_redirects=True, timeout=_TIMEOUT,
                max_retries=1, retry_on_exceptions=(),
            )  # fmt: skip
            with asking as response:
                hf_raise_for_status(response)
                return read(response)
        except EntryNotFoundError:
            raise FileNotFoundError(file) from None
        except QkvLabError:
            raise
        except Exception as error:  # which HTTP library raises what depends on the hub's version
            raise SourceError(hub_failure(self.name, error)) from None


def _limited(response: Any, most: int, file: str) -> bytes:
    """At most so many bytes of a response. The connection is dropped with whatever more it holds."""
    pieces, left = [], most
    for piece in response.iter_bytes():
        pieces.append(piece[:left])
        left -= len(pieces[-1])
        if len(piece) > len(pieces[-1]):
            raise SourceError(f"{file} is larger than was asked for (expected at most {most:,} bytes)")
    return b"".join(pieces)


def _commit(value: str | None) -> str | None:
    """The commit that "main" is, so that all later answers are of the same one."""
    return value if value and re.fullmatch(r"[0-9a-f]{40}", value) else None
