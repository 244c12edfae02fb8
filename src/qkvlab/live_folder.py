"""A folder of any family as a live model: what its headers say, then transformers, quietly and without pickles."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .checkpoint.attention import attention_of
from .checkpoint.source import Source
from .checkpoint.stores import FileStore, read_checkpoint
from .errors import CheckpointError, ConfigError, MissingExtraError, UnsupportedError
from .live import LiveModel, open_live
from .text import from_tokenizer_json

LONGEST = 300
"""Characters of what transformers says, at most."""


def open_folder(source: Source, tokenizer: Any = None, *, attention: str | None = None) -> LiveModel:
    """A folder of safetensors of any family, through transformers. No pickle is read and no code of the folder run.

    Raises MissingExtraError without transformers, CheckpointError for files it cannot read, UnsupportedError.
    """
    folder = source.path if source.path.is_dir() else source.path.parent
    family = json.loads((folder / "config.json").read_bytes())["model_type"]
    if find_spec("transformers") is None or find_spec("torch") is None:
        raise MissingExtraError(f"{source.name}, of the family {family},", "transformers")
    if not any(folder.glob("*.safetensors*")):
        raise CheckpointError(f"{source.name}: there are no .safetensors files beside config.json")
    check_headers(source.name, folder, attention or "decoder")
    model = _loaded(source.name, folder)
    if tokenizer is None and (folder / "tokenizer.json").is_file():
        tokenizer = from_tokenizer_json(folder / "tokenizer.json")
    opened = open_live(model, tokenizer, attention=attention, name=source.name)
    opened.source, opened.on_disk = source, True
    return opened


def check_headers(name: str, folder: Path, attention: str) -> None:
    """Do the files hold what their headers and the configuration say? Told before anything is loaded.

    Raises CheckpointError for a file that is cut off or missing, ConfigError where the sizes of attention are others.
    What the tables of layouts do not know is left for transformers to judge.
    """
    checkpoint = read_checkpoint(folder)
    if checkpoint.metadata.get("quantization_config"):
        return
    try:
        file = attention_of(FileStore(name, checkpoint), attention)
        for part in file.stack.tensors:
            if not part.endswith("norm"):
                file.info(file.attention_layers[0], part)
    except ConfigError:
        raise
    except (UnsupportedError, CheckpointError):
        return


def _loaded(name: str, folder: Path) -> Any:
    """The model as transformers loads it, quietly. Raises CheckpointError where it cannot, or lacks weights for it."""
    import transformers

    quiet: Any = transformers.utils.logging
    told, shown = quiet.get_verbosity(), quiet.is_progress_bar_enabled()
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
        names = [name for name in config.architectures or [] if hasattr(transformers, name)]
        maker: Any = getattr(transformers, names[0]) if names else transformers.AutoModelForCausalLM
        model, report = maker.from_pretrained(
            folder, config=config, use_safetensors=True, dtype="auto", output_loading_info=True
        )
    except Exception as error:  # what a malformed configuration makes transformers raise has no bound
        raise CheckpointError(
            f"{name}: transformers {transformers.__version__} cannot open it: {_one_line(error)}"
        ) from None
    finally:
        quiet.set_verbosity(told)
        if shown:
            quiet.enable_progress_bar()
    lacking = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))  # on no tap's way
    if lacking:
        raise CheckpointError(
            f"{name}: {len(lacking)} weights are missing ({', '.join(lacking[:3])} ...), and transformers would "
            "fill them with random numbers"
        )
    return model.eval()


def _one_line(error: Exception) -> str:
    """Its first sentences, and what helps where a model is newer than the library."""
    said = " ".join(str(error).split())
    if "does not recognize this architecture" in said:
        return "it does not know this model_type; a newer one may: pip install --upgrade transformers"
    if len(said) <= LONGEST:
        return said or type(error).__name__
    whole = said[:LONGEST].rpartition(". ")[0]
    return f"{whole}." if whole else f"{said[:LONGEST].rpartition(' ')[0]} ..."
