"""How each family stores Q, K, V, O and the rest, as tables. A new layout is new rows, not new code.

The proof of a row is a test: Σ over heads of z W_o, plus the output bias, is the model's attention output.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..errors import CheckpointError

Role = Literal["query heads", "kv heads", "columns", "per query head", "per kv head", "vector", "table"]


@dataclass(frozen=True)
class Row:
    """One weight: where it lies in the file and what it becomes here."""

    field: str
    """Its name in `LayerWeights` or `ModelWeights`."""
    source: str
    """The tensor's name; {i} is the layer."""
    role: Role
    """Tiles by head, tiles of columns, a bias cut by heads, a vector as it is, or a table of rows."""
    d_in: str = "d_model"
    d_out: str = "d_model"
    """The sizes the specification gives it (`heads` and `kv_heads` stand for heads · d_head)."""
    part: tuple[int, int] = (0, 1)
    """(which, of how many) equal blocks of d_out, for fused projections."""
    in_out: bool = False
    """Stored [d_in, d_out] (GPT-2's Conv1D) instead of [d_out, d_in]."""
    turned: bool = False
    """GGUF, architecture llama only: the rows of each head are interleaved for adjacent-pair rotation."""
    when: str = ""
    """The flag of ModelSpec under which the tensor must be there; otherwise it must not. Empty: always there."""


@dataclass(frozen=True)
class Layout:
    """One family in one file format."""

    layer: tuple[Row, ...]
    model: tuple[Row, ...]
    stored: str
    """How Q, K and V are stored, in words."""
    prefixes: tuple[str, ...] = ()
    """What may stand before a name (a base model saved alone lacks it, one saved under a head has it)."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Older spellings: (as found, as in the rows)."""
    ignored: tuple[str, ...] = ()
    """Patterns of tensors that take no part in the forward pass."""


LLAMA_LAYER = (
    Row("attn_norm", "layers.{i}.input_layernorm.weight", "vector"),
    Row("w_q", "layers.{i}.self_attn.q_proj.weight", "query heads", d_out="heads"),
    Row("w_k", "layers.{i}.self_attn.k_proj.weight", "kv heads", d_out="kv_heads"),
    Row("w_v", "layers.{i}.self_attn.v_proj.weight", "kv heads", d_out="kv_heads"),
    Row("b_q", "layers.{i}.self_attn.q_proj.bias", "per query head", d_out="heads", when="qkv_bias"),
    Row("b_k", "layers.{i}.self_attn.k_proj.bias", "per kv head", d_out="kv_heads", when="qkv_bias"),
    Row("b_v", "layers.{i}.self_attn.v_proj.bias", "per kv head", d_out="kv_heads", when="qkv_bias"),
    Row("q_norm", "layers.{i}.self_attn.q_norm.weight", "vector", d_out="d_head", when="qk_norm"),
    Row("k_norm", "layers.{i}.self_attn.k_norm.weight", "vector", d_out="d_head", when="qk_norm"),
    Row("w_o", "layers.{i}.self_attn.o_proj.weight", "columns", d_in="heads"),
    Row("b_o", "layers.{i}.self_attn.o_proj.bias", "vector", when="out_bias"),
    Row("mlp_norm", "layers.{i}.post_attention_layernorm.weight", "vector"),
    Row("w_gate", "layers.{i}.mlp.gate_proj.weight", "columns", d_out="d_ff"),
    Row("b_gate", "layers.{i}.mlp.gate_proj.bias", "vector", d_out="d_ff", when="mlp_bias"),
    Row("w_up", "layers.{i}.mlp.up_proj.weight", "columns", d_out="d_ff"),
    Row("b_up", "layers.{i}.mlp.up_proj.bias", "vector", d_out="d_ff", when="mlp_bias"),
    Row("w_down", "layers.{i}.mlp.down_proj.weight", "columns", d_in="d_ff"),
    Row("b_down", "layers.{i}.mlp.down_proj.bias", "vector", when="mlp_bias"),
)
LLAMA_MODEL = (
    Row("embedding", "embed_tokens.weight", "table", d_out="n_vocab"),
    Row("final_norm", "norm.weight", "vector"),
    Row("unembedding", "lm_head.weight", "table", d_out="n_vocab", when="untied"),
)

GGUF_NAMES = {
    "layers.{i}.input_layernorm": "blk.{i}.attn_norm",
    "layers.{i}.self_attn.q_proj": "blk.{i}.attn_q",
    "layers.{i}.self_attn.k_proj": "blk.{i}.attn_k",
    "layers.{i}.self_attn.v_proj": "blk.{i}.attn_v",
    "layers.{i}.self_attn.q_norm": "blk.{i}.attn_q_norm",
    "layers.{i}.self_attn.k_norm": "blk.{i}.attn_k_norm",
    "layers.{i}.self_attn.o_proj": "blk.{i}.attn_output",
    "layers.{i}.post_attention_layernorm": "blk.{i}.ffn_norm",
    "layers.{i}.mlp.gate_proj": "blk.{i}.ffn_gate",
    "layers.{i}.mlp.up_proj": "blk.{i}.ffn_up",
    "layers.{i}.mlp.down_proj": "blk.{i}.ffn_down",
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
}
"""The GGUF name of each tensor of the Llama family (llama.cpp, gguf-py/gguf/tensor_mapping.py)."""


def _as_gguf(rows: Iterable[Row], turned: bool) -> tuple[Row, ...]:
    """The same rows under their GGUF names; `turned` marks the ones whose rows llama.cpp's converter permutes."""
    renamed = []
    for row in rows:
        stem, _, kind = row.source.rpartition(".")
        is_turned = turned and row.field in ("w_q", "w_k", "b_q", "b_k")
        renamed.append(Row(**{**row.__dict__, "source": f"{GGUF_NAMES[stem]}.{kind}", "turned": is_turned}))
    return tuple(renamed)


def _gguf_llama(turned: bool) -> Layout:
    stored = "split: one matrix each for Q, K and V"
    if turned:
        stored += "; rows of Q and K interleaved per head for rotation"
    return Layout(
        _as_gguf(LLAMA_LAYER, turned), _as_gguf(LLAMA_MODEL, turned), stored, ignored=(r"rope_freqs\.weight",)
    )


def _norm(field: str, stem: str) -> tuple[Row, Row]:
    return Row(field, f"{stem}.weight", "vector"), Row(f"{field}_bias", f"{stem}.bias", "vector")


GPT2_LAYER = (
    *_norm("attn_norm", "h.{i}.ln_1"),
    *(
        Row(f"w_{p}", "h.{i}.attn.c_attn.weight", "query heads", d_out="heads", part=(n, 3), in_out=True)
        for n, p in enumerate("qkv")
    ),
    *(
        Row(f"b_{p}", "h.{i}.attn.c_attn.bias", "per query head", d_out="heads", part=(n, 3))
        for n, p in enumerate("qkv")
    ),
    Row("w_o", "h.{i}.attn.c_proj.weight", "columns", d_in="heads", in_out=True),
    Row("b_o", "h.{i}.attn.c_proj.bias", "vector"),
    *_norm("mlp_norm", "h.{i}.ln_2"),
    Row("w_up", "h.{i}.mlp.c_fc.weight", "columns", d_out="d_ff", in_out=True),
    Row("b_up", "h.{i}.mlp.c_fc.bias", "vector", d_out="d_ff"),
    Row("w_down", "h.{i}.mlp.c_proj.weight", "columns", d_in="d_ff", in_out=True),
    Row("b_down", "h.{i}.mlp.c_proj.bias", "vector"),
)
GPT2_MODEL = (
    Row("embedding", "wte.weight", "table", d_out="n_vocab"),
    Row("positions", "wpe.weight", "table", d_out="n_position"),
    *_norm("final_norm", "ln_f"),
    Row("unembedding", "lm_head.weight", "table", d_out="n_vocab", when="untied"),
)

BERT_LAYER = (
    *(
        row
        for p, name in (("q", "query"), ("k", "key"), ("v", "value"))
        for row in (
            Row(f"w_{p}", f"encoder.layer.{{i}}.attention.self.{name}.weight", "query heads", d_out="heads"),
            Row(f"b_{p}", f"encoder.layer.{{i}}.attention.self.{name}.bias", "per query head", d_out="heads"),
        )
    ),
    Row("w_o", "encoder.layer.{i}.attention.output.dense.weight", "columns", d_in="heads"),
    Row("b_o", "encoder.layer.{i}.attention.output.dense.bias", "vector"),
    *_norm("attn_norm", "encoder.layer.{i}.attention.output.LayerNorm"),
    Row("w_up", "encoder.layer.{i}.intermediate.dense.weight", "columns", d_out="d_ff"),
    Row("b_up", "encoder.layer.{i}.intermediate.dense.bias", "vector", d_out="d_ff"),
    Row("w_down", "encoder.layer.{i}.output.dense.weight", "columns", d_in="d_ff"),
    Row("b_down", "encoder.layer.{i}.output.dense.bias", "vector"),
    *_norm("mlp_norm", "encoder.layer.{i}.output.LayerNorm"),
)
BERT_MODEL = (
    Row("embedding", "embeddings.word_embeddings.weight", "table", d_out="n_vocab"),
    Row("positions", "embeddings.position_embeddings.weight", "table", d_out="n_position"),
    Row("token_types", "embeddings.token_type_embeddings.weight", "table", d_out="n_token_type"),
    *_norm("embed_norm", "embeddings.LayerNorm"),
)

LAYOUTS: dict[tuple[str, str], Layout] = {
    ("safetensors", "llama"): Layout(
        LLAMA_LAYER,
        LLAMA_MODEL,
        "split: one matrix each for Q, K and V",
        prefixes=("model.",),
        ignored=(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
    ),
    ("safetensors", "gpt2"): Layout(
        GPT2_LAYER,
        GPT2_MODEL,
        "fused: Q, K and V side by side in one matrix, stored [d_in, d_out] (Conv1D)",
        prefixes=("transformer.",),
        ignored=(r"h\.\d+\.attn\.(bias|masked_bias)",),
    ),
    ("safetensors", "bert"): Layout(
        BERT_LAYER,
        BERT_MODEL,
        "split: one matrix each for Q, K and V, with biases",
        prefixes=("bert.", "roberta."),
        renamed=((".gamma", ".weight"), (".beta", ".bias")),
        ignored=(
            r"(pooler\.|embeddings\.position_ids).*",
            r"(cls|lm_head|classifier|qa_outputs)\..*",
        ),
    ),
    ("gguf", "llama"): _gguf_llama(turned=True),
    ("gguf", "qwen2"): _gguf_llama(turned=False),
    ("gguf", "qwen3"): _gguf_llama(turned=False),
}


def plain_names(layout: Layout, names: Iterable[str]) -> dict[str, str]:
    """Names as the rows have them → names in the file: prefix taken off, older spellings renewed.

    Raises CheckpointError when two tensors of the file come to the same name.
    """
    found: dict[str, str] = {}
    for name in names:
        plain = name
        for prefix in layout.prefixes:
            plain = plain.removeprefix(prefix)
        for old, new in layout.renamed:
            plain = plain.removesuffix(old) + new if plain.endswith(old) else plain
        if plain in found:
            raise CheckpointError(f"tensors {found[plain]!r} and {name!r} are the same weight under two names")
        found[plain] = name
    return found
