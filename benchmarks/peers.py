"""The peers: the same weights in transformers, and the memory floor."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from qkvlab.checkpoint.source import pull
from qkvlab.model import Model

from .common import RESULTS

SENTENCE = "The cat drank because it was thirsty"


@cache
def transformers_folder() -> Any:
    """SmolLM2 as a safetensors folder with its tokenizer, made once from the same GGUF file."""
    folder = RESULTS / "smollm2-in-transformers"
    if not (folder / "tokenizer.json").is_file():
        import torch
        from transformers import AutoModelForCausalLM, LlamaForCausalLM

        from qkvlab.model import open_model

        source = pull("smollm2").path
        loaded = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        config = loaded.config.to_dict()
        config.pop("quantization_config", None)
        plain = LlamaForCausalLM(type(loaded.config)(**config))
        plain.load_state_dict(loaded.state_dict())
        plain.save_pretrained(folder)
        open_model("smollm2").tokenizer.library.save(str(folder / "tokenizer.json"))
        kind = {"tokenizer_class": "PreTrainedTokenizerFast"}
        (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    return folder


def in_transformers(attention: str) -> Callable[..., Any]:
    """ids → the model's output, with the attention implementation named."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(transformers_folder(), attn_implementation=attention).eval()

    def run(ids: list[int], **options: Any) -> Any:
        with torch.inference_mode():
            return model(torch.tensor([ids]), logits_to_keep=1, **{"use_cache": False, **options})

    return run


def memory_floor(model: Model) -> Callable[[], None]:
    """One vector through every weight matrix: what reading all weights once costs, with nothing else to do."""
    matrices = []
    for layer in range(model.spec.n_layer):
        w = model.weights.layer(layer)
        for tiles in (w.w_q, w.w_k, w.w_v, w.w_o, w.w_gate, w.w_up, w.w_down):
            if tiles is not None:
                matrices.append(np.ascontiguousarray(tiles.transpose(0, 2, 1)).reshape(-1, tiles.shape[1]))
    matrices.append(model.weights.unembedding)
    vectors = {m.shape[1]: np.ones(m.shape[1], np.float32) for m in matrices}

    def run() -> None:
        for matrix in matrices:
            matrix @ vectors[matrix.shape[1]]

    return run
