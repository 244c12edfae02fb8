"""A model of the native engine with fewer K/V heads: measured from the first grouped layer on, and written."""

from collections.abc import Callable, Iterator
from pathlib import Path

from .grouped import LayerCost, ModelCost, Predictions, compare, grouped_model, layer_errors, run_from
from .grouping import check_grouping
from .kvcache import cache_size
from .model import Model
from .rewrite import Plans, Progress, number_type, write_grouped
from .spec import ModelSpec
from .trace import Trace


class NativeWay:
    """How the native engine's models are grouped: from the weights and the residual it keeps."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def check(self, n_shared: int, method: str, writes: bool) -> None:
        """Raises UnsupportedError where this model cannot have so many K/V heads."""
        check_grouping(self.model.spec, n_shared, method)

    def number_type(self, dtype: str | None) -> str:
        return number_type(self.model, dtype)

    def trace(self, ids: tuple[int, ...]) -> Trace:
        return self.model.trace(ids=ids)

    def spec(self, layer: int) -> ModelSpec:
        return self.model.spec

    def bytes_per_token(self, n_shared: int | None) -> int:
        """Of the K/V cache in 16 bits, for so many K/V heads (None: its own)."""
        cache = cache_size(self.model.spec, n_kv_head=n_shared)
        assert cache is not None
        return cache.bytes_per_token

    def measured(
        self, plans: Plans, trace: Trace, told: Callable[[list[int], str], Iterator[int]]
    ) -> tuple[tuple[LayerCost, ...], ModelCost | None]:
        model, costs, own = self.model, [], Predictions(self.model.weights, trace.final)
        for layer in told(list(plans), "measuring"):
            k_error, v_error = layer_errors(model, layer, plans[layer], trace.normed(layer))
            kl = None
            if model.spec.has_output:
                alone = grouped_model(model, {layer: plans[layer]})
                kl = compare(own, run_from(alone.spec, alone.weights, layer, trace.x(layer)), trace.ids).kl
            costs.append(LayerCost(layer, k_error, v_error, kl))
        if not model.spec.has_output:
            return tuple(costs), None
        grouped, first = grouped_model(model, plans), min(plans)
        after = run_from(grouped.spec, grouped.weights, first, trace.x(first))
        return tuple(costs), compare(own, after, trace.ids)

    def write(self, plans: Plans, target: Path, dtype: str | None, n_shared: int, progress: Progress) -> int:
        return write_grouped(self.model, plans, target, dtype, n_shared, progress)
