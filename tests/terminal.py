"""The command line as a person uses it: arguments in; text, complaints and exit status out."""

import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qkvlab import cli

PROGRAM = [sys.executable, "-c", "from qkvlab.cli import main; main()"]
GIB = 1 << 30
WORDS = "the cat drank because it was thirsty a dog saw another and ran [CLS] [SEP] [UNK] [/b] x".split()


@dataclass(frozen=True)
class Ran:
    """What one run of the program left behind."""

    out: str
    err: str
    status: int

    def document(self) -> Any:
        """Standard output as exactly one strict JSON document, with nothing before, after or beside it."""
        assert (self.status, self.err) == (0, ""), self
        assert self.out.startswith("{") and self.out.endswith("}\n")
        return json.loads(self.out, parse_constant=_not_json)

    def complaint(self) -> str:
        """The one line a mistake leaves on standard error; nothing on standard output, exit status 2."""
        assert (self.status, self.out) == (2, ""), self
        assert self.err.startswith("qkvlab: ") and self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.removeprefix("qkvlab: ").removesuffix("\n")


def _not_json(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def run(*words: str | Path, stdin: bytes = b"", columns: int = 80) -> Ran:
    """The program in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["qkvlab", *map(str, words)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as exit_:
            cli.main()
    texts = [stream.buffer.getvalue().decode("utf-8") for stream in (out, err)]  # type: ignore[attr-defined]
    assert isinstance(exit_.value.code, int)
    return Ran(texts[0], texts[1], exit_.value.code)


def launch(
    *words: str | bytes | Path, stdin: Any = subprocess.DEVNULL, limit: Callable[[], None] | None = None, **env: str
) -> Ran:
    """The program as a process of its own, as a shell would start it."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "PYTHONWARNINGS")}
    done = subprocess.run(
        [*PROGRAM, *words], stdin=stdin, capture_output=True, env={**inherited, **env}, check=False, timeout=60,
        preexec_fn=limit,
    )  # fmt: skip
    return Ran(done.stdout.decode("utf-8"), done.stderr.decode("utf-8"), done.returncode)


def shell(script: str, **env: str) -> Ran:
    """A line of shell, in which $QKVLAB is the program."""
    quoted = f"{PROGRAM[0]} {PROGRAM[1]} '{PROGRAM[2]}'"
    script = script.replace("$QKVLAB", quoted)
    done = subprocess.run(["bash", "-c", script], capture_output=True, env={**os.environ, **env}, timeout=60)
    return Ran(done.stdout.decode("utf-8"), done.stderr.decode("utf-8"), done.returncode)


def remember_models(patch: pytest.MonkeyPatch) -> None:
    """Let the program find a model opened that an earlier run has opened. (Opening has tests of its own.)"""
    from qkvlab import model

    real, opened = model.open_model, dict[Any, Any]()

    def open_once(name: str, **options: Any) -> Any:
        key = (name, options.get("allow_config"))
        if key not in opened:
            opened[key] = real(name, **options)
        return opened[key]

    patch.setattr(model, "open_model", open_once)


def one_gib() -> None:
    """In a child, before it starts: 1 GiB of address space and 5 seconds of processor time."""
    resource.setrlimit(resource.RLIMIT_AS, (GIB, GIB))
    resource.setrlimit(resource.RLIMIT_CPU, (5, 5))


def readable(folder: Path, target: Path, words: Sequence[str] = WORDS) -> Path:
    """A copy of a tiny model's folder that can read text: a tokenizer.json of whole words between spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    target.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    vocabulary = {word: at for at, word in enumerate(words)}
    library = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if json.loads((target / "config.json").read_text())["model_type"] == "bert":
        frame = [(word, vocabulary[word]) for word in ("[CLS]", "[SEP]")]
        library.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=frame)
    library.save(str(target / "tokenizer.json"))
    return target
