"""What stands around attention in a live model, by module hooks: x, normed, out, mlp, final, rotation angles."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from inspect import signature
from typing import Any

import numpy as np

from .._shapes import Array
from ..errors import UnsupportedError
from ..scoring import Scoring
from . import operators
from .attending import Run, Stages, to_numpy
from .live_families import Stack
from .live_writes import Step


def own_layers(base: Any, stack: Stack) -> list[Any]:
    """The modules of the stack's layers, in order. Raises UnsupportedError where there is no such stack."""
    found = reach(base, stack.layers)
    if found is None or not hasattr(found, "__len__"):
        raise UnsupportedError(
            f"{type(base).__name__} has no {stack.layers}: its layers are not where they were looked for"
        )
    return list(found)


def reach(module: Any, path: str) -> Any:
    """The module at a path below another; None where there is none."""
    for name in path.split(".") if path else []:
        module = module[int(name)] if name.isdigit() and hasattr(module, "__getitem__") else getattr(module, name, None)
        if module is None:
            return None
    return module


def hook(undo: ExitStack, base: Any, run: Run) -> None:
    layers = own_layers(base, run.stack)
    for layer in {id(layer): layer for layer in layers}.values():
        undo.callback(layer.register_forward_pre_hook(_entering(run), with_kwargs=True, prepend=True).remove)
        attention, o, mlp = (reach(layer, path) for path in (run.stack.attention, run.stack.o, run.stack.mlp))
        if attention is not None:
            undo.callback(attention.register_forward_pre_hook(_opening(run), with_kwargs=True).remove)
            undo.callback(attention.register_forward_hook(_closing(run), always_call=True).remove)
            if run.family.calls == "operators":
                undo.callback(_replaced(attention, run))
            if run.keeper.wants("out"):
                undo.callback(o.register_forward_hook(_leaving(run, "out")).remove)
            if run.family.gated:
                undo.callback(o.register_forward_pre_hook(_entering_o(run, "gated")).remove)
        if mlp is not None and run.keeper.wants("mlp"):
            undo.callback(mlp.register_forward_hook(_leaving(run, "mlp")).remove)
        for role, module in _steps(layer, run.way.layer, ("cross", "mixer")):
            if role == "cross":
                undo.callback(module.register_forward_pre_hook(_entering_o(run, role)).remove)
            else:
                undo.callback(module.register_forward_hook(_leaving(run, role)).remove)
    for role, module in _steps(base, run.way.start, ("embedding", "position", "token type")):
        undo.callback(module.register_forward_hook(_starting(run, role)).remove)
    final = reach(base, run.stack.final) if run.stack.final else None
    if final is not None:
        undo.callback(final.register_forward_hook(_finishing(run)).remove)
    else:
        undo.callback(layers[-1].register_forward_hook(_ending(run)).remove)


def _tell(run: Run, name: str, tensor: Any, layer: int | None = None) -> None:
    """Hand each text's rows of a tensor [batch, token, d] (or [batch · token, d]) to the keeper."""
    if not run.keeper.wants(name):
        return
    # A copy: what a module gives may be added to in place (Falcon adds attention's output to its MLP's).
    arrays = to_numpy(tensor[0] if isinstance(tensor, tuple) else tensor).copy()
    arrays = arrays.reshape(len(run.real), -1, arrays.shape[-1])
    for text, rows in enumerate(run.real):
        own = arrays[text] if len(rows) == arrays.shape[1] else arrays[text][rows]
        run.keeper.keep(text, run.layer if layer is None else layer, name, own)


def _entering(run: Run) -> Any:
    def hook(module: Any, args: Any, kwargs: Any) -> None:
        run.keeper.between_layers()
        run.layer += 1
        _tell(run, "x", args[0] if args else kwargs["hidden_states"])

    return hook


@cache
def _names(forward: Callable[..., Any]) -> list[str]:
    """What a module's forward calls its arguments, in order."""
    return [name for name in signature(forward).parameters if name != "self"]


def _opening(run: Run) -> Any:
    def hook(module: Any, args: Any, kwargs: Any) -> None:
        names = _names(type(module).forward)
        run.module, run.given = module, {**dict(zip(names, args, strict=False)), **kwargs}
        _tell(run, "normed", run.given["hidden_states"])
        for text, rows in enumerate(run.real):
            turns = _turns(run, text, rows)
            if turns is not None:
                run.keeper.keep(text, run.layer, "turns", np.stack(turns))

    return hook


def _turns(run: Run, text: int, rows: np.ndarray) -> tuple[Array, Array] | None:
    """cos and sin of every rotation pair at every position of a text, [token, pairs]; None where this layer does not
    rotate."""
    family, module = run.family, run.module
    if family.rotation in ("none", "unknown") or not run.keeper.wants("turns"):
        return None
    if family.rotated_if and not getattr(module, family.rotated_if, None):
        return None
    if run.given.get("alibi") is not None:
        return None
    given = run.given.get("position_embeddings")
    if given is None:
        if not hasattr(module, "embed_positions"):
            return None
        table = to_numpy(module.embed_positions)[: len(rows)]  # sin, then cos (GPT-J)
        return table[:, table.shape[1] // 2 :], table[:, : table.shape[1] // 2]
    cos, sin = (to_numpy(each)[min(text, len(each) - 1)][rows] for each in given)
    if family.rotation == "adjacent":
        return cos[:, ::2], sin[:, ::2]
    pairs = cos.shape[1] // 2 if family.doubled else cos.shape[1]
    return cos[:, :pairs], sin[:, :pairs]


def _closing(run: Run) -> Any:
    def hook(module: Any, args: Any, output: Any) -> None:
        run.module = None

    return hook


def _replaced(attention: Any, run: Run) -> Callable[[], None]:
    """Let this module's forward run under `operators.seen`; the answer puts it back."""
    forward = attention.forward
    rule = operators.RULES[run.family.rule]

    def under_watch(*args: Any, **kwargs: Any) -> Any:
        given, plain = run.given, Scoring(1.0, run.spec.causal, run.spec.window_of(run.layer))
        stages = Stages(run, lambda text: rule(attention, given, plain, text, run.real[text]), None)
        with operators.seen(len(run.real), run.spec.name, stages):
            return forward(*args, **kwargs)

    attention.forward = under_watch
    return lambda: attention.__dict__.pop("forward", None)


def _leaving(run: Run, name: str) -> Any:
    def hook(module: Any, args: Any, output: Any) -> None:
        _tell(run, name, output)

    return hook


def _entering_o(run: Run, name: str) -> Any:
    def hook(module: Any, args: Any) -> None:
        _tell(run, name, args[0])

    return hook


def _starting(run: Run, role: str) -> Any:
    """What an embedding gives, [batch, token, d]; where it is one for all texts, [1, token, d] or [token, d]."""

    def hook(module: Any, args: Any, output: Any) -> None:
        given = output.reshape(-1, *output.shape[-2:])
        _tell(run, role, given.expand(len(run.real), *given.shape[1:]), 0)

    return hook


def _steps(below: Any, steps: tuple[Step, ...], roles: tuple[str, ...]) -> list[tuple[str, Any]]:
    """The modules of those steps of a way that are there, each with its role."""
    found = [(step.role, reach(below, step.path)) for step in steps if step.role in roles]
    return [(role, module) for role, module in found if module is not None]


def _finishing(run: Run) -> Any:
    def hook(module: Any, args: Any, output: Any) -> None:
        _tell(run, "x", args[0], run.spec.n_layer)
        _tell(run, "final", output, run.spec.n_layer)

    return hook


def _ending(run: Run) -> Any:
    def hook(module: Any, args: Any, output: Any) -> None:
        if run.layer == run.spec.n_layer - 1:
            _tell(run, "x", output, run.spec.n_layer)
            _tell(run, "final", output, run.spec.n_layer)

    return hook
