"""What the families share: the call into the mechanism, with the specification filled in."""

from functools import lru_cache, partial

import numpy as np

from .._shapes import Array, Float
from ..mechanism import Tap, attend, rotation_frequencies
from ..spec import ModelSpec, Rotation


def no_tap(name: str, array: Array, rows: range) -> Array:
    """The tap that neither keeps nor changes anything."""
    return array


@lru_cache(maxsize=16)
def turns(rotation: Rotation, start: int, stop: int) -> tuple[Float[Array, "query pairs"], Float[Array, "query pairs"]]:
    """cos and sin of the angle of every rotation pair at the positions from `start` to before `stop`."""
    frequencies, factor = rotation_frequencies(rotation.base, rotation.dims, dict(rotation.scaling))
    angles = np.arange(start, stop, dtype=np.float32)[:, None] * frequencies
    return np.cos(angles) * np.float32(factor), np.sin(angles) * np.float32(factor)


def attend_layer(
    spec: ModelSpec,
    layer: int,
    q: Float[Array, "head query d_head"],
    k: Float[Array, "kv_head key d_head"],
    v: Float[Array, "kv_head key d_head"],
    tap: Tap,
) -> Float[Array, "head query d_head"]:
    """z of one layer. Scores and weights pass through `tap` unless it says that it does not want them.

    A tap says so with a method `wants_scores(layer)`; without it (a plain function) it sees them all.
    """
    wants = getattr(tap, "wants_scores", None)
    return attend(
        q,
        k,
        v,
        scale=spec.d_head**-0.5,
        causal=spec.causal,
        window=spec.window_of(layer),
        tap=partial(_tap_of, layer, tap) if wants is None or wants(layer) else None,
    )


def _tap_of(layer: int, tap: Tap, name: str, array: Array, rows: range) -> Array:
    return tap(f"layer.{layer}.{name}", array, rows)
