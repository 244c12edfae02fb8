"""A live transformers model, run with every attention call passing through one function of ours.

transformers asks a registry of attention functions for the one its configuration names; ours is registered once, under
one name, with a mask function under the same name (without it the mask silently becomes None). It looks up the run in
a context variable, so that two threads with two models do not meet, and outside a run it is plain sdpa. Families that
ask no registry are seen through torch's operators (`operators.py`). The model is left as it was found: attention
implementation, training mode, dtype, hooks.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..errors import UnsupportedError
from .attending import OURS, Run, register, running_now
from .hooks import hook

IMPLEMENTATIONS = {"registry": OURS, "falcon": "sdpa"}
"""What attention implementation a family runs under, by its rule or by how it calls; any other rule: eager. (Falcon's
eager forward adds ALiBi twice in transformers 5.23, once in the mask and once in the scores; its sdpa adds it once.)"""


@contextmanager
def running(model: Any, run: Run) -> Iterator[None]:
    """Within: the model's forward is seen by the run's keeper. Leaves the model as it was found.

    Raises UnsupportedError at the end if attention was not called once in every layer that has it."""
    import torch

    register()
    base = model.base_model
    implementation = IMPLEMENTATIONS.get(run.family.rule or run.family.calls, "eager")
    with ExitStack() as undo, torch.no_grad():
        modules = list(model.modules())
        configs = [module.__dict__["config"] for module in modules if "config" in module.__dict__]
        for config in {id(config): config for config in configs}.values():
            undo.callback(setattr, config, "_attn_implementation", config._attn_implementation)
            config._attn_implementation = implementation
        training = [module for module in modules if module.training]
        for module in training:
            undo.callback(setattr, module, "training", True)
        for module in training:
            module.training = False
        hook(undo, base, run)
        undo.callback(running_now.reset, running_now.set(run))
        yield
    expected = list(run.spec.attention_layers)
    if run.called != expected:
        raise UnsupportedError(
            f"{run.spec.name}: attention was called {len(run.called)} times, in layers {run.called}; expected "
            f"{len(expected)}, in layers {expected}. Its numbers cannot be trusted, so none are shown"
        )
