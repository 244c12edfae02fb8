"""What a checkpoint is, from its header alone: family, heads, how Q, K and V are stored, parameters, cache bytes."""

from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from .checkpoint.layouts import Layout, plain_names
from .checkpoint.source import Progress, resolve
from .checkpoint.stores import read_checkpoint
from .checkpoint.tensors import Checkpoint
from .kvcache import Cache, cache_size
from .model import read_spec
from .models.weights import check_tensors
from .spec import ModelSpec

PARTS = ("embedding", "q", "k", "v", "o", "mlp", "norms", "output")


@dataclass(frozen=True)
class Anatomy:
    """The answer of `qkvlab inspect`."""

    model: str
    path: str
    format: str
    family: str
    layers: int
    query_heads: int
    kv_heads: int
    d_head: int
    d_model: int
    context: int
    mask: str
    stored: str
    """How Q, K and V lie in the file, in words."""
    number_types: dict[str, int]
    """Number type in the file → how many parameters have it."""
    parameters: dict[str, int]
    """By part; `total` adds them up. A tied output head counts once, as the embedding."""
    kv_cache: Cache | None
    ignored_config: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def inspect(
    name: str,
    *,
    context: int | None = None,
    allow_config: Collection[str] = (),
    progress: Progress | None = None,
) -> Anatomy:
    """Read the headers of a model's files, and nothing else. Raises as `open_model` does."""
    source = resolve(name, progress=progress)
    checkpoint = read_checkpoint(source.path)
    spec, layout = read_spec(checkpoint, source.name, allow_config)
    found = check_tensors(spec, checkpoint, layout)
    kinds: Counter[str] = Counter()
    for info in {info.name: info for info in found.values()}.values():
        kinds[info.kind] += info.size
    return Anatomy(
        model=source.name,
        path=str(source.path),
        format=checkpoint.format,
        family=_family(checkpoint),
        layers=spec.n_layer,
        query_heads=spec.n_head,
        kv_heads=spec.n_kv_head,
        d_head=spec.d_head,
        d_model=spec.d_model,
        context=spec.n_context,
        mask=spec.mask if not spec.windowed_layers else f"{spec.mask}, window {spec.window}",
        stored=layout.stored,
        number_types=dict(kinds.most_common()),
        parameters=_parameters(spec, checkpoint, layout),
        kv_cache=cache_size(spec, context),
        ignored_config=spec.allowed_config,
    )


def _family(checkpoint: Checkpoint) -> str:
    key = "general.architecture" if checkpoint.format == "gguf" else "model_type"
    return str(checkpoint.metadata[key])


def _parameters(spec: ModelSpec, checkpoint: Checkpoint, layout: Layout) -> dict[str, int]:
    counts = dict.fromkeys(PARTS, 0)
    names = plain_names(layout, checkpoint.tensors)
    for row in [*layout.model, *layout.layer]:
        copies = range(spec.n_layer) if "{i}" in row.source else range(1)
        for layer in copies:
            name = names.get(row.source.format(i=layer))
            if name is not None and not (row.when == "untied" and not spec.untied):
                counts[_part(row.field)] += checkpoint.tensors[name].size // row.part[1]
    return {**counts, "total": sum(counts.values())}


def _part(field: str) -> str:
    if "norm" in field:
        return "norms"
    if field == "unembedding":
        return "output"
    if field in ("embedding", "positions", "token_types"):
        return "embedding"
    letter = field.split("_")[1]
    return letter if letter in PARTS else "mlp"
