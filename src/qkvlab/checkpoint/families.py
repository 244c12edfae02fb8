"""Which tensors hold the attention of each family, and which keys of its configuration hold the sizes: tables.

A new family is a row here. The proof of a row is a test against the model's own projections.
"""

from dataclasses import replace
from typing import Any

from .rows import Family, Rope, SizeKeys, Stack


def _projections(stem: str, o: str, names: str = "{}_proj") -> dict[str, str]:
    return {part: f"{stem}.{names.format(part)}" for part in "qkv"} | {"o": o}


def _fused(qkv: str, o: str) -> dict[str, str]:
    return dict.fromkeys("qkv", qkv) | {"o": o}


def _decoder(*stacks: Stack, **options: Any) -> Family:
    return Family({"decoder": stacks}, **options)


def _encoder(stack: Stack, **options: Any) -> Family:
    return Family({"encoder": (stack,)}, mask="bidirectional", **options)


_SELF = "layers.{i}.self_attn"
_PROJECTIONS = _projections(_SELF, f"{_SELF}.o_proj")
_NORMS = (f"{_SELF}.q_norm", f"{_SELF}.k_norm", f"{_SELF}.q_layernorm", f"{_SELF}.q_layernorm.norms.0")
LLAMA = Stack(_PROJECTIONS, norms=_NORMS)


def _wide(d_head: int) -> Stack:
    """As Llama, with heads of this width where the configuration names none."""
    return replace(LLAMA, keys=SizeKeys(default_d_head=d_head))


_HEADS = SizeKeys(n_kv_head=(), d_head=())
_OLD = SizeKeys(
    ("n_layer", "num_hidden_layers"), ("n_head", "num_attention_heads"), (), (), ("n_embd", "n_embed", "hidden_size")
)  # fmt: skip
_QKV = "query_key_value"

_FALCON = _fused(f"h.{{i}}.self_attention.{_QKV}", "h.{i}.self_attention.dense")
_FALCON_KEYS = SizeKeys(("num_hidden_layers", "n_layer"), ("num_attention_heads", "n_head"), (), ())
FALCON = _decoder(
    Stack(
        _FALCON, "grouped", replace(_FALCON_KEYS, n_kv_head=("num_kv_heads", "n_head_kv")),
        when=("new_decoder_architecture", True, False),
    ),
    Stack(_FALCON, "grouped", _FALCON_KEYS, single_kv=True, when=("multi_query", True, True)),
    Stack(_FALCON, "grouped", _FALCON_KEYS),
    rope=Rope(off="alibi"),
)  # fmt: skip

_STARCODER = _fused("h.{i}.attn.c_attn", "h.{i}.attn.c_proj")
BIGCODE = _decoder(
    Stack(_STARCODER, "blocks", _OLD, single_kv=True, when=("multi_query", True, True)),
    Stack(_STARCODER, "grouped", _OLD),
)

_BERT = "encoder.layer.{i}.attention"
BERT = _encoder(
    Stack({"q": f"{_BERT}.self.query", "k": f"{_BERT}.self.key", "v": f"{_BERT}.self.value",
           "o": f"{_BERT}.output.dense"}, keys=_HEADS)
)  # fmt: skip
_ALBERT = "encoder.albert_layer_groups.0.albert_layers.0.attention"
ALBERT = _encoder(
    Stack({"q": f"{_ALBERT}.query", "k": f"{_ALBERT}.key", "v": f"{_ALBERT}.value", "o": f"{_ALBERT}.dense"},
          keys=_HEADS),
    must=(("num_hidden_groups", 1), ("inner_group_num", 1)),
)  # fmt: skip


def _side(side: str) -> SizeKeys:
    return SizeKeys((f"{side}_layers",), (f"{side}_attention_heads",), (), (), ("d_model",))


def _bart(side: str, module: str) -> tuple[Stack]:
    stem = f"{side}.layers.{{i}}.{module}"
    return (Stack(_projections(stem, f"{stem}.out_proj"), keys=_side(side)),)


BART = Family({
    "decoder": _bart("decoder", "self_attn"), "encoder": _bart("encoder", "self_attn"),
    "cross": _bart("decoder", "encoder_attn"),
})  # fmt: skip


def _t5(side: str, module: str, *layers: str) -> tuple[Stack]:
    stem = f"{side}.block.{{i}}.layer.{module}"
    return (
        Stack(
            _projections(stem, f"{stem}.o", "{}"), keys=SizeKeys(layers, ("num_heads",), (), ("d_kv",), ("d_model",))
        ),
    )


_T5_DECODER = ("num_decoder_layers", "num_layers")
T5 = Family({
    "decoder": _t5("decoder", "0.SelfAttention", *_T5_DECODER),
    "encoder": _t5("encoder", "0.SelfAttention", "num_layers"),
    "cross": _t5("decoder", "1.EncDecAttention", *_T5_DECODER),
})  # fmt: skip

_MLA = {
    "kv_down": f"{_SELF}.kv_a_proj_with_mqa", "kv_norm": f"{_SELF}.kv_a_layernorm", "k_up": f"{_SELF}.kv_b_proj",
    "v_up": f"{_SELF}.kv_b_proj", "k_rope": f"{_SELF}.kv_a_proj_with_mqa", "o": f"{_SELF}.o_proj",
}  # fmt: skip
_MLA_KEYS = SizeKeys(n_kv_head=(), d_head=())
DEEPSEEK = _decoder(
    Stack({"q": f"{_SELF}.q_proj", **_MLA}, "latent", _MLA_KEYS, when=("q_lora_rank", None, None)),
    Stack(
        {"q_down": f"{_SELF}.q_a_proj", "q_norm": f"{_SELF}.q_a_layernorm", "q_up": f"{_SELF}.q_b_proj", **_MLA},
        "latent", _MLA_KEYS,
    ),
    rope=Rope("adjacent"),
    extra_layers="num_nextn_predict_layers",
)  # fmt: skip

_PLAIN = _decoder(LLAMA, rope=Rope())
_NO_ROPE_KNOWN = _decoder(LLAMA)

FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        """llama mistral ministral qwen2 qwen2_moe qwen3_moe olmo2 starcoder2 granite granitemoe arcee dots1""".split(),
        _PLAIN,
    ),
    **dict.fromkeys(("mixtral", "phimoe", "olmo3"), _decoder(LLAMA, rope=Rope(base=None))),
    **dict.fromkeys(("olmo", "olmoe"), _decoder(LLAMA, rope=Rope(), clip="clip_qkv")),
    **dict.fromkeys(("qwen3", "seed_oss"), _decoder(_wide(128), rope=Rope())),
    **dict.fromkeys(("gemma", "gemma2"), _decoder(_wide(256), rope=Rope())),
    "gemma3_text": _decoder(_wide(256), rope=Rope(layers="by kind")),
    "gpt_oss": _decoder(_wide(64), rope=Rope(base=None)),
    "cohere": _decoder(LLAMA, rope=Rope("adjacent", base=None)),
    "cohere2": _decoder(LLAMA, rope=Rope("adjacent", layers="sliding")),
    "smollm3": _decoder(LLAMA, rope=Rope(layers="flagged", base=None)),
    **dict.fromkeys(("glm", "glm4"), _decoder(_wide(128), rope=Rope("adjacent", fraction=0.5))),
    "glm4_moe": _decoder(LLAMA, rope=Rope(fraction=0.5), extra_layers="num_nextn_predict_layers"),
    **dict.fromkeys(("helium", "ernie4_5"), _decoder(_wide(128), rope=Rope("adjacent", base=None))),
    **dict.fromkeys(("exaone4", "apertus", "hunyuan_v1_dense", "qwen2_vl_text", "qwen2_5_vl_text"), _NO_ROPE_KNOWN),
    "qwen3_vl_text": _decoder(_wide(128)),
    "stablelm": _decoder(LLAMA, rope=Rope(fraction=0.25)),
    "nemotron": _decoder(LLAMA, rope=Rope(fraction=0.5)),
    "phi": _decoder(
        Stack(_projections(_SELF, f"{_SELF}.dense"), norms=_NORMS), rope=Rope(fraction=0.5)
    ),
    "phi3": _decoder(Stack(_fused(f"{_SELF}.qkv_proj", f"{_SELF}.o_proj"), "blocks"), rope=Rope()),
    "persimmon": _decoder(
        Stack(_fused(f"{_SELF}.{_QKV}", f"{_SELF}.dense"), "grouped", _HEADS, norms=_NORMS), rope=Rope(fraction=0.5)
    ),
    "qwen3_next": _decoder(
        replace(_wide(256), arrangement="gated", tensors={**_PROJECTIONS, "gate": _PROJECTIONS["q"]}),
        rope=Rope(fraction=0.25), hybrid=True,
    ),
    "gpt2": _decoder(Stack(_fused("h.{i}.attn.c_attn", "h.{i}.attn.c_proj"), "blocks", _OLD, in_out=True)),
    "gpt_bigcode": BIGCODE,
    "gpt_neo": _decoder(Stack(
        _projections("h.{i}.attn.attention", "h.{i}.attn.attention.out_proj"),
        keys=SizeKeys(("num_layers",), ("num_heads",), (), ()),
    )),
    "gpt_neox": _decoder(
        Stack(_fused(f"layers.{{i}}.attention.{_QKV}", "layers.{i}.attention.dense"), "grouped", _HEADS),
        rope=Rope(fraction_keys=("partial_rotary_factor", "rotary_pct"), fraction=0.25),
    ),
    "gptj": _decoder(
        Stack(_projections("h.{i}.attn", "h.{i}.attn.out_proj"), keys=_OLD),
        rope=Rope("adjacent", dims_key="rotary_dim"),
    ),
    "falcon": FALCON,
    "bloom": _decoder(Stack(_FALCON, "grouped", _OLD)),
    "mpt": _decoder(
        Stack(_fused("blocks.{i}.attn.Wqkv", "blocks.{i}.attn.out_proj"), "blocks",
              SizeKeys(("n_layers",), ("n_heads",), (), (), ("d_model",))),
        clip="attn_config.clip_qkv",
    ),
    "opt": _decoder(Stack(
        _projections("decoder.layers.{i}.self_attn", "decoder.layers.{i}.self_attn.out_proj"), keys=_HEADS
    )),
    **dict.fromkeys("bert roberta xlm-roberta camembert electra".split(), BERT),
    "albert": ALBERT,
    "distilbert": _encoder(Stack(
        _projections("transformer.layer.{i}.attention", "transformer.layer.{i}.attention.out_lin", "{}_lin"),
        keys=SizeKeys(("n_layers",), ("n_heads",), (), (), ("dim",)),
    )),
    "modernbert": _encoder(
        Stack(_fused("layers.{i}.attn.Wqkv", "layers.{i}.attn.Wo"), "blocks", _HEADS), rope=Rope(layers="by kind")
    ),
    **dict.fromkeys("bart mbart pegasus marian m2m_100 blenderbot whisper".split(), BART),
    **dict.fromkeys(("t5", "mt5", "umt5"), T5),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3"), DEEPSEEK),
}  # fmt: skip
"""transformers' model_type → how it stores its attention."""

_GGUF_KEYS = SizeKeys(
    ("block_count",), ("attention.head_count",), ("attention.head_count_kv",), ("attention.key_length",),
    ("embedding_length",),
)  # fmt: skip
_BLK = "blk.{i}.attn_"
_GGUF_NORMS = (f"{_BLK}q_norm", f"{_BLK}k_norm")
_GGUF_SPLIT = Stack(_projections("blk.{i}", f"{_BLK}output", "attn_{}"), keys=_GGUF_KEYS, norms=_GGUF_NORMS)
_GGUF_BLOCKS = Stack(_fused(f"{_BLK}qkv", f"{_BLK}output"), "blocks", _GGUF_KEYS)

GGUF: dict[str, Family] = {
    **dict.fromkeys(("llama", "smollm3", "granite", "arcee"), _decoder(replace(_GGUF_SPLIT, turned=True), rope=Rope())),
    **dict.fromkeys(
        "qwen2 qwen2moe qwen3 qwen3moe gemma gemma2 starcoder2 olmo2 gpt-oss stablelm".split(),
        _decoder(_GGUF_SPLIT, rope=Rope()),
    ),
    "gemma3": _decoder(_GGUF_SPLIT, rope=Rope(layers="by kind")),
    "command-r": _decoder(_GGUF_SPLIT, rope=Rope("adjacent")),
    "cohere2": _decoder(_GGUF_SPLIT, rope=Rope("adjacent", layers="sliding")),
    **dict.fromkeys(("phi2", "phi3", "gptneox", "falcon"), _decoder(_GGUF_BLOCKS, rope=Rope())),
    **dict.fromkeys(("gpt2", "bloom", "mpt"), _decoder(_GGUF_BLOCKS)),
    "bert": _encoder(_GGUF_SPLIT),
}
"""GGUF's general.architecture → the same. llama.cpp's converter puts every fused matrix in blocks, and turns the rows
of q and k for the architectures whose rotation it computes on adjacent pairs but transformers on halves."""
