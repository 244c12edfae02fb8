"""Live transformers models of every family, against what they say of themselves when nobody captures them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qkvlab import ask, find, open_model, predict
from qkvlab.checkpoint.decode import read_array
from qkvlab.checkpoint.safetensors import read_header
from qkvlab.circuits import head_weights, symmetries
from qkvlab.edits import (
    Ablate,
    AimQuery,
    Edit,
    Mute,
    ScaleScores,
    ShiftKey,
    ShiftQuery,
    StopRotation,
    Strengthen,
    SwapValue,
    Tie,
)
from qkvlab.effects import ablated, direct_effects, frozen_direction
from qkvlab.errors import CheckpointError, ConfigError, EditError, HeadError, TextError, UnsupportedError
from qkvlab.export import save_trace
from qkvlab.live import LiveModel, open_live
from qkvlab.livetrace import LiveTrace
from qkvlab.models.hooks import own_layers, reach
from qkvlab.models.live_families import FAMILIES
from qkvlab.scoring import Scoring
from qkvlab.server.describe import describe
from qkvlab.sharing import sharing_steps
from qkvlab.spec import Head
from zoo import ZOO, build, zoo_inputs, zoo_model

IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7, 19, 44]
TOLERANCE = 1e-5
"""Of a tensor's largest magnitude; absolute for weights."""
SEVERAL = [
    (kind, name) for kind in ZOO for name in FAMILIES[ZOO[kind].family].stacks if (kind, name) != ("whisper", "encoder")
]


def source_of(kind: str, attention: str) -> Any:
    inputs = zoo_inputs(kind, IDS)
    del inputs["decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"]
    return None if attention == "encoder" else inputs or None


def opened(kind: str, attention: str) -> tuple[LiveModel, LiveTrace]:
    model = open_live(zoo_model(kind), attention=attention)
    return model, model.trace(ids=IDS, positions="all", source=source_of(kind, attention))


def witness(kind: str, attention: str) -> dict[str, Any]:
    """What the model says of itself: attentions and hidden states where it gives them, and hooks around W_o."""
    import torch

    hf, family = zoo_model(kind), FAMILIES[ZOO[kind].family]
    stack, said = family.stacks[attention], {"into_o": [], "out": [], "mlp": [], "normed": []}
    hooks, before = (
        [],
        [(module, module.config._attn_implementation) for module in hf.modules() if hasattr(module, "config")],
    )

    def listen(module: Any, name: str, inward: bool) -> None:
        def hook(module: Any, args: Any, output: Any) -> None:
            tensor = args[0] if inward else output[0] if isinstance(output, tuple) else output
            said[name].append(tensor.detach().clone().reshape(-1, tensor.shape[-1]).numpy())

        hooks.append(module.register_forward_hook(hook))

    layers = {id(layer): layer for layer in own_layers(hf.base_model, stack)}.values()
    for layer in layers:
        o = reach(layer, stack.o)
        if o is not None:
            listen(o, "into_o", True)
            listen(o, "out", False)
        listen(reach(layer, stack.mlp), "mlp", False)
    eager = kind != "falcon-rw"  # its eager forward adds ALiBi twice
    for module, _ in before:
        if eager:
            module.config._attn_implementation = "eager"
    inputs = zoo_inputs(kind, IDS)
    try:
        with torch.no_grad():
            if attention == "encoder" and not stack.whole:
                result = hf.get_encoder()(
                    input_ids=torch.tensor([IDS]), output_attentions=True, output_hidden_states=True
                )
            else:
                result = hf(**inputs, output_attentions=eager, output_hidden_states=True, use_cache=False)
    finally:
        for module, implementation in before:
            module.config._attn_implementation = implementation
        for hook in hooks:
            hook.remove()
    names = {
        "decoder": ("decoder_attentions", "attentions"),
        "encoder": ("attentions",),
        "cross": ("cross_attentions",),
    }
    attentions = next((found for name in names[attention] if (found := getattr(result, name, None))), None)
    said["weights"] = [each[0].numpy() for each in attentions if each is not None] if attentions and eager else None
    states = getattr(result, "decoder_hidden_states" if attention != "encoder" else "", None) or result.hidden_states
    said["x"] = [each[0].numpy() for each in states]
    said["logits"] = result.logits[0].numpy() if getattr(result, "logits", None) is not None else None
    return said


def gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))


@pytest.mark.parametrize(("kind", "attention"), SEVERAL)
def test_every_tap_is_the_models_own(kind: str, attention: str) -> None:
    model, trace = opened(kind, attention)
    spec, said, worst = model.spec, witness(kind, attention), dict[str, float]()

    def check(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        worst[name] = max(worst.get(name, 0.0), gap(ours, theirs))

    for number, layer in enumerate(spec.attention_layers):
        z, weights = trace.z(layer), np.stack([trace.weights((layer, head)) for head in range(spec.n_head)])
        into_o = trace.taken[f"layer.{layer}.gated"] if model.family.gated else z.swapaxes(0, 1).reshape(len(IDS), -1)
        check("z", into_o, said["into_o"][number])
        check("out", trace.out(layer), said["out"][number])
        if said["weights"] is not None:
            assert np.abs(weights - said["weights"][number]).max() <= TOLERANCE
        v = np.repeat(trace.v(layer), spec.group, axis=0)
        check("weights v = z", weights @ v, z)
        written = sum(trace.write((layer, head)).astype(np.float64) for head in range(spec.n_head))
        bias = model.weights.layer(layer).b_o
        check("Σ z W_o + b = out", (written + (0 if bias is None else bias)).astype(np.float32), trace.out(layer))
    for layer in range(spec.n_layer):
        check("x", trace.x(layer), said["x"][layer])
        check("mlp", trace.mlp(layer), said["mlp"][layer].reshape(len(IDS), -1))
    if spec.has_output:
        check("logits", trace.logits, said["logits"])
    print(f"\n{kind} {attention}: " + "  ".join(f"{name} {value:.1e}" for name, value in worst.items()))
    assert max(worst.values()) <= TOLERANCE, worst


def test_an_encoder_that_reads_no_tokens_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="reads input_features, not token ids"):
        open_live(zoo_model("whisper"), attention="encoder")


PROJECTED = [
    "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi", "olmo2", "cohere2", "smollm3", "gptj", "gpt_oss",
    "gpt_neo", "opt", "bart", "t5", "whisper",
]  # fmt: skip


@pytest.mark.parametrize("kind", PROJECTED)
def test_before_rotation_q_and_k_are_what_the_projection_gave(kind: str) -> None:
    import torch

    model, trace = opened(kind, "decoder")
    said: dict[str, list[np.ndarray]] = {"q": [], "k": []}
    hooks = []
    for layer in own_layers(model.hf.base_model, model.stack):
        attention = reach(layer, model.stack.attention)
        for name in "qk":
            module = next(
                m for n in (f"{name}_norm", f"{name}_proj", name) if (m := getattr(attention, n, None)) is not None
            )

            def hook(module: Any, args: Any, output: Any, name: str = name) -> None:
                if output.ndim == 3 or output.shape[1] == len(IDS):  # Gemma 3 normalises [head, query, d_head]
                    output = output.reshape(1, len(IDS), -1, model.spec.d_head).transpose(1, 2)
                said[name].append(output[0].detach().numpy())

            hooks.append(module.register_forward_hook(hook))
    with torch.no_grad():
        model.hf(**zoo_inputs(kind, IDS), use_cache=False)
    for each in hooks:
        each.remove()
    for layer in range(model.spec.n_layer):
        q, k = said["q"][layer], said["k"][layer]
        assert gap(trace.q_raw(layer), q) <= TOLERANCE
        assert gap(trace.k_raw(layer), k) <= TOLERANCE


@pytest.mark.parametrize("kind", [kind for kind in ZOO if ZOO[kind].text])
def test_padded_rows_equal_the_texts_alone(kind: str) -> None:
    texts = [IDS, IDS[4:9], [7, 7, 2, 30, 41, 11, 9, 23]]
    model = open_live(zoo_model(kind), attention=next(iter(FAMILIES[ZOO[kind].family].stacks)))
    many = model.traces(texts, positions="all")
    bound = 3e-5 if kind == "qwen3_next" else TOLERANCE  # its linear layers add in chunks of the padded length
    for ids, padded in zip(texts, many, strict=True):
        alone = model.trace(ids=ids, positions="all")
        for layer in model.spec.attention_layers:
            for name in ("x", "q", "k", "v", "z", "out"):
                assert gap(getattr(padded, name)(layer), getattr(alone, name)(layer)) <= bound, name
            assert (
                np.abs(padded.layer_weights(layer, range(len(ids))) - alone.layer_weights(layer, range(len(ids)))).max()
                <= TOLERANCE
            )
        if model.spec.has_output:
            assert gap(padded.logits, alone.logits) <= bound


def edits_for(model: LiveModel) -> list[Edit]:
    layer, kv = model.spec.attention_layers[0], 0
    d_head, d_value = model.spec.d_head, model.spec.d_value
    made: list[Edit] = [
        Mute(where=f"{layer}.1", key=2),
        ShiftQuery(head=f"{layer}.1", query=6, shift=(0.7,) * d_head),
        ShiftKey(kv_head=f"{layer}.{kv}", token=3, shift=(0.7,) * d_head),
        SwapValue(kv_head=f"{layer}.{kv}", token=3, source=5),
        Tie(where=f"{layer}.0"),
        Ablate(where=f"{layer}.1"),
        Ablate(where=f"{layer}.1", to=(0.5,) * d_value),
        ScaleScores(where=str(layer), factor=0.3),
        Strengthen(where=f"{layer}.0", query=6, key=2, amount=2.0),
    ]
    return made


@pytest.mark.parametrize(("kind", "attention"), [pair for pair in SEVERAL if pair[1] != "cross"])
def test_every_edit_changes_the_end_and_a_no_op_does_not(kind: str, attention: str) -> None:
    model, plain = opened(kind, attention)
    end = plain.logits if model.spec.has_output else plain.final
    for edit in edits_for(model):
        trace = plain.with_edits([edit])
        after = trace.logits if model.spec.has_output else trace.final
        assert np.abs(after - end).max() > 1e-5 * np.abs(end).max(), edit
        assert trace.unchanged == ()
    nothing = plain.with_edits([replace(edit, strength=0.0) for edit in edits_for(model)])
    after = nothing.logits if model.spec.has_output else nothing.final
    assert gap(after, end) <= TOLERANCE
    assert len(nothing.unchanged) == len(edits_for(model))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_edits_equal_the_native_engines(kind: str, tiny: Any) -> None:
    theirs, folder = tiny(kind)
    live, native = open_live(theirs), open_model(folder)
    turning = [] if live.spec.rotation is None else [StopRotation(where="1.2")]
    for edit in [*edits_for(live), *turning]:
        ours, other = live.trace(ids=IDS, edits=[edit]), native.trace(ids=IDS, edits=[edit])
        assert gap(ours.final, other.final) <= TOLERANCE, edit
        for layer in range(native.spec.n_layer):
            assert gap(ours.z(layer), other.z(layer)) <= TOLERANCE
            for head in range(native.spec.n_head):
                assert np.abs(ours.weights((layer, head)) - other.weights((layer, head))).max() <= TOLERANCE
    assert find(live.trace(ids=IDS), "#9", "#3")[0].head == find(native.trace(ids=IDS), "#9", "#3")[0].head


def test_ablation_is_before_w_o(tiny: Any) -> None:
    """Taking the head's columns out of W_o by hand gives the same as the edit; zeroing what W_o gives does not."""
    import torch

    hf = zoo_model("llama")
    model = open_live(hf)
    edited = model.trace(ids=IDS, edits=[Ablate(where="1.4")], positions="all").logits
    weight = hf.model.layers[1].self_attn.o_proj.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[:, 4 * 10 : 5 * 10] = 0
        by_hand = hf(torch.tensor([IDS])).logits[0].numpy()
        weight.copy_(kept)
    assert gap(edited, by_hand) <= TOLERANCE


@pytest.mark.parametrize("kind", ["qwen3", "gemma2", "bloom", "mpt", "gptj", "falcon-rw"])
def test_bfloat16_equals_the_model_in_bfloat16(kind: str) -> None:
    import copy

    import torch

    hf = copy.deepcopy(zoo_model(kind)).to(torch.bfloat16)
    trace = open_live(hf).trace(ids=IDS, positions="all")
    with torch.no_grad():
        said = hf(torch.tensor([IDS])).logits[0].float().numpy()
    assert np.array_equal(trace.logits, said)
    assert trace.q(0).dtype == np.float32
    assert hf.dtype == torch.bfloat16


def test_the_model_is_left_as_it_was_found() -> None:
    import copy

    import torch

    def hooks(model: Any) -> int:
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())

    hf = copy.deepcopy(zoo_model("gptj")).train()
    before = hooks(hf)
    open_live(hf).trace(ids=IDS).run()
    assert all(module.training for module in hf.modules())
    assert hooks(hf) == before
    assert not any("forward" in module.__dict__ for module in hf.modules())
    assert hf.config._attn_implementation == zoo_model("gptj").config._attn_implementation
    hf = copy.deepcopy(zoo_model("llama"))
    hf.model.layers[1].self_attn.v_proj.weight = torch.nn.Parameter(torch.zeros(3, 3))  # the run fails within
    with pytest.raises(RuntimeError):
        open_live(hf).trace(ids=IDS).run()
    assert hf.config._attn_implementation == "sdpa"
    assert hooks(hf) == hooks(zoo_model("llama"))


def test_a_layer_that_is_never_asked_fails_loudly() -> None:
    import copy

    hf = copy.deepcopy(zoo_model("llama"))
    hf.model.layers[2].self_attn.forward = lambda hidden_states, **given: (hidden_states * 0, None)
    with pytest.raises(UnsupportedError, match=r"attention was called 2 times, in layers \[0, 1\]; expected 3"):
        open_live(hf).trace(ids=IDS).run()


def test_a_mask_that_is_not_the_configurations_fails_loudly() -> None:
    import copy

    hf = copy.deepcopy(zoo_model("mistral"))
    model = open_live(hf)
    hf.config.sliding_window = 3
    with pytest.raises(UnsupportedError, match="layer 0 hides"):
        model.trace(ids=IDS).run()


@pytest.mark.parametrize("name", ["deberta", "xlnet", "mamba"])
def test_families_that_cannot_be_captured_say_why(name: str) -> None:
    from transformers import AutoConfig, AutoModel

    sizes = {
        "vocab_size": 53,
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "intermediate_size": 41,
    }
    sizes |= {"d_model": 24, "n_layer": 1, "n_head": 3, "d_inner": 41} if name == "xlnet" else {}
    with pytest.raises(UnsupportedError, match=f"{name} cannot be captured: it"):
        open_live(AutoModel.from_config(AutoConfig.for_model(name, **sizes)))


@pytest.mark.parametrize("key", ["num_hidden_groups", "inner_group_num"])
def test_layers_that_are_not_one_module_called_again_are_refused(key: str) -> None:
    """Several attentions within a layer, or layers that take turns, would be told apart by nothing here."""
    with pytest.raises(UnsupportedError, match=f"albert cannot be captured with {key} 3; only with 1"):
        open_live(build("albert", **{key: 3}))


def test_what_is_not_kept_is_captured_when_asked() -> None:
    model = open_live(zoo_model("qwen2"))
    trace = model.trace(ids=IDS, keep=("q", "k", "v"))
    trace.run()
    assert {name.rpartition(".")[2] for name in trace.taken} - {"last logits"} == {"q", "k", "v"}
    assert gap(trace.z(1), model.trace(ids=IDS).z(1)) == 0


def test_bad_input_is_one_clear_line() -> None:
    model = open_live(zoo_model("t5"))
    with pytest.raises(TextError, match="needs what the encoder reads; pass source="):
        model.trace(ids=IDS)
    with pytest.raises(
        UnsupportedError, match="the attention 'self' is not known \\(accepted: encoder, decoder, cross\\)"
    ):
        open_live(zoo_model("t5"), attention="self")
    with pytest.raises(HeadError, match="layer 0 of Qwen3NextForCausalLM has no attention; layers 1, 3 have"):
        open_live(zoo_model("qwen3_next")).trace(ids=IDS).weights("0.1")
    with pytest.raises(UnsupportedError, match="how deepseek_v3 rotates is not known here"):
        open_live(zoo_model("deepseek_v3")).trace(ids=IDS).q_raw(0)
    with pytest.raises(UnsupportedError, match="expected a transformers PreTrainedModel; got int"):
        open_live(3)


def test_a_folder_of_any_family_opens_by_path(tmp_path: Any) -> None:
    hf = zoo_model("gpt_neox")
    hf.save_pretrained(tmp_path / "neox")
    model = open_model(tmp_path / "neox")
    assert isinstance(model, LiveModel)
    assert model.spec.family == "gpt_neox"
    assert gap(model.trace(ids=IDS).logits, open_live(hf).trace(ids=IDS).logits) == 0


def test_a_folder_with_a_weight_missing_is_refused(tmp_path: Any) -> None:
    import safetensors.torch

    zoo_model("phi").save_pretrained(tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    tensors = safetensors.torch.load_file(file)
    del tensors["model.layers.1.self_attn.k_proj.weight"]
    safetensors.torch.save_file(tensors, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 weights are missing \(model.layers.1.self_attn.k_proj.weight"):
        open_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_key_value_heads": 1}, r"with 3 heads on 1 K/V heads of 8 over a width of 24, asks for \[8, 24\]"),
        ({"num_key_value_heads": 2}, "3 query heads cannot share 2 K/V heads evenly"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0; expected"),
        ({"num_hidden_layers": 2}, "there is a layer 2, but by its configuration the model has 2"),
        (
            {"intermediate_size": "many"},
            "transformers [0-9.]+ cannot open it: Validation error for field 'intermediate_size'",
        ),
    ],
)
def test_a_config_that_lies_is_refused(changes: dict[str, Any], says: str, tmp_path: Any) -> None:
    import json

    zoo_model("phi").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises((ConfigError, CheckpointError), match=says) as caught:
        open_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_half_a_shard_is_refused(tmp_path: Any) -> None:
    zoo_model("phi").save_pretrained(tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"is cut off; fetch it again \(expected [\d,]+ bytes"):
        open_model(tmp_path)


def test_pickles_are_never_read(tmp_path: Any) -> None:
    import torch

    hf = zoo_model("phi")
    hf.config.save_pretrained(tmp_path)
    torch.save(hf.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"no \.safetensors files beside config.json"):
        open_model(tmp_path)


def test_questions_work_on_a_live_model() -> None:
    model = open_live(zoo_model("gpt_oss"))
    trace = model.trace(ids=IDS)
    answer = ask(trace, "#9", "1.4")
    assert answer.kv_head == 1
    weights = trace.weights("1.4")[9]
    assert weights.sum() < 0.999  # the sink took its share
    assert answer.looking_for[0].weight == pytest.approx(float(weights.max()))
    best = max(float(trace.weights(head)[9, 3]) for head in model.spec.heads())
    assert find(trace, "#9", "#3")[0].weight == pytest.approx(best)
    assert answer.hands_over is not None
    assert len(predict(trace)) == 5


def test_cross_attention_names_the_encoders_keys() -> None:
    model = open_live(zoo_model("t5"), attention="cross")
    trace = model.trace(ids=IDS, source=[7, 30, 11, 4, 23])
    assert trace.weights("1.2").shape == (len(IDS), 5)
    np.testing.assert_allclose(trace.weights("1.2").sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(UnsupportedError, match="keys are the encoder's tokens"):
        ask(trace, "#3", "1.2")
    with pytest.raises(UnsupportedError, match="keys are the encoder's tokens"):
        find(trace, "#3", "#2")


def test_the_mean_over_the_reference_text_needs_a_tokenizer() -> None:
    model = open_live(zoo_model("llama"))
    with pytest.raises(UnsupportedError, match="needs the model's tokenizer"):
        model.trace(ids=IDS, edits=[Ablate(where="1.1", to="mean")]).run()


def test_a_live_model_with_a_tokenizer_reads_text(smollm2: Any) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("gpt_neox", vocab_size=smollm2.spec.n_vocab, hidden_size=16, num_hidden_layers=2,
                                  num_attention_heads=2, intermediate_size=20)  # fmt: skip
    model = open_live(AutoModelForCausalLM.from_config(config), smollm2.tokenizer)
    trace = model.trace("The cat drank because it was thirsty")
    assert trace.tokens == smollm2.trace("The cat drank because it was thirsty").tokens
    assert model.trace("The cat drank", edits=[Ablate(where="1.1", to="mean")]).unchanged == ()
    both = model.traces(["The cat drank", "It was thirsty, they say"])
    assert [len(trace) for trace in both] == [3, len(both[1].tokens)]


@pytest.mark.parametrize("kind", ["gemma3", "cohere2", "smollm3"])
def test_rotation_that_differs_by_layer_is_not_undone(kind: str) -> None:
    with pytest.raises(EditError, match=r"stop-rotation: .* does not turn its queries and keys, or not all alike"):
        open_live(zoo_model(kind)).trace(ids=IDS, edits=[StopRotation(where="1.2")])


@pytest.mark.parametrize("kind", ["llama", "gemma", "gpt_neox", "phi", "bloom", "gpt_oss"])
def test_direct_effects_and_the_rest_sum_to_the_logit(kind: str) -> None:
    """With the final norm frozen: embedding, every head, every MLP and the biases add up to the logit itself."""
    model = open_live(zoo_model(kind))
    trace = model.trace(ids=IDS)
    at, word = len(IDS) - 1, 17
    direction = frozen_direction(trace, at, [word]).astype(np.float64)
    effects = direct_effects(trace, at, [word]).sum(dtype=np.float64)
    rest = trace.x(0)[at].astype(np.float64)
    for layer in range(model.spec.n_layer):
        bias = model.weights.layer(layer).b_o
        rest = rest + trace.mlp(layer)[at] + (0 if bias is None else bias)
    head, norm = model.hf.get_output_embeddings(), reach(model.hf.base_model, model.stack.final)
    constant = sum(
        float(b) for b in (
            0 if getattr(head, "bias", None) is None else head.bias[word].detach(),
            0 if getattr(norm, "bias", None) is None else (head.weight[word] @ norm.bias).detach(),
        )
    )  # fmt: skip
    assert effects + rest @ direction + constant == pytest.approx(float(trace.logits[0, word]), rel=1e-3, abs=1e-3)
    before, after = trace.logits[0, word], trace.with_edits([Ablate(where="1.1")]).logits[0, word]
    assert ablated(trace, "1.1", at, [word])[0] == pytest.approx(float(before - after), abs=1e-5)


@pytest.mark.parametrize("kind", ["gemma2", "cohere2"])
def test_an_output_head_with_more_than_the_unembedding_has_no_direct_effects(kind: str) -> None:
    with pytest.raises(UnsupportedError, match="more than the unembedding"):
        direct_effects(open_live(build(kind)).trace(ids=IDS), len(IDS) - 1, [17])


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "falcon-7b", "falcon-rw", "bloom", "t5"])
def test_the_heads_weights_give_its_queries(kind: str) -> None:
    model, trace = opened(kind, "decoder")
    for head in (Head(1, 0), Head(1, model.spec.n_head - 1)):
        w, x = head_weights(model, head), trace.normed(1)
        k = x @ w["w_k"] + w.get("b_k", 0)
        assert gap(k.astype(np.float32), trace.k_raw(1)[model.spec.kv_head(head)]) <= TOLERANCE
        q = x @ w["w_q"] + w.get("b_q", 0)
        assert gap(q.astype(np.float32), trace.q_raw(1)[head.head]) <= TOLERANCE


def test_before_rotation_in_a_layer_without_edits() -> None:
    model = open_live(zoo_model("llama"))
    edits = [ShiftQuery(head="1.1", query=6, shift=(0.7,) * 10)]
    plain, edited = model.trace(ids=IDS), model.trace(ids=IDS, edits=edits)
    assert gap(edited.q_raw(1), plain.q_raw(1)) <= TOLERANCE
    assert gap(edited.q_raw(0), plain.q_raw(0)) == 0


def test_what_is_not_given_is_said_before_anything_runs() -> None:
    trace = open_live(zoo_model("deepseek_v3")).trace(ids=IDS)
    with pytest.raises(UnsupportedError, match="q_raw cannot be given"):
        trace.q_raw(0)
    assert not trace.taken


PLAIN_SUM = [
    "llama", "mistral", "qwen2", "qwen3", "gemma", "phi", "phi3", "smollm3", "gpt2", "gpt_neox", "gptj", "gpt_neo",
    "falcon", "falcon-7b", "falcon-rw", "bloom", "mpt", "opt", "cohere", "cohere2", "gpt_oss", "mixtral", "qwen2_moe",
    "qwen3_moe",
]  # fmt: skip


@pytest.mark.parametrize("kind", PLAIN_SUM)
def test_what_leaves_a_layer_is_what_entered_it_and_what_was_written(kind: str) -> None:
    _, trace = opened(kind, "decoder")
    for layer in range(trace.spec.n_layer):
        assert gap(trace.x(layer) + trace.out(layer) + trace.mlp(layer), trace.x(layer + 1)) <= TOLERANCE


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_tokenizers_padded_batch_is_one_trace_per_row(side: str) -> None:
    import torch

    model, rows = open_live(zoo_model("llama")), [IDS, IDS[4:9]]
    pad = [[0] * (len(IDS) - len(row)) for row in rows]
    ids = torch.tensor([p + row if side == "left" else row + p for p, row in zip(pad, rows, strict=True)])
    mask = torch.tensor([[0] * len(p) + [1] * len(r) if side == "left" else [1] * len(r) + [0] * len(p)
                         for p, r in zip(pad, rows, strict=True)])  # fmt: skip
    made = model.traces({"input_ids": ids, "attention_mask": mask})
    assert [list(trace.ids) for trace in made] == rows
    assert gap(made[1].z(2), model.trace(ids=rows[1]).z(2)) <= TOLERANCE
    with pytest.raises(TextError, match="expected two alike"):
        model.traces({"input_ids": ids, "attention_mask": mask[:, 1:]})
    with pytest.raises(TextError, match="got input_ids"):
        model.traces({"input_ids": ids})


@pytest.mark.parametrize(("kind", "gone"), [
    ("deepseek_v3", {"layer.0.q_raw", "layer.0.k_raw"}),
    ("qwen3_next", {f"layer.0.{tap}" for tap in ("q_raw", "k_raw", "q", "k", "v", "z")}),
])  # fmt: skip
def test_a_trace_as_a_file_holds_what_the_family_gives(kind: str, gone: set[str], tmp_path: Any) -> None:
    trace = open_live(zoo_model(kind)).trace(ids=IDS)
    save_trace(trace, tmp_path / "trace.safetensors")
    held = read_header(tmp_path / "trace.safetensors").tensors
    assert not gone & held.keys()
    assert {"layer.0.x", "layer.1.q", "layer.1.z", "final", "logits"} <= held.keys()
    np.testing.assert_array_equal(read_array(held["layer.1.z"]), trace.z(1))


def test_what_one_text_is_enough_for() -> None:
    decoder = open_live(zoo_model("bart"))
    encoder = decoder.alone()
    assert (decoder.badge, encoder.badge) == (f"{decoder.spec.name} · decoder attention",
                                              f"{decoder.spec.name} · encoder attention")  # fmt: skip
    assert encoder.alone() is encoder
    assert encoder.trace(ids=IDS).weights("1.1").shape == (len(IDS), len(IDS))


def test_opening_a_folder_says_nothing_of_its_own(tmp_path: Any, capfd: pytest.CaptureFixture[str]) -> None:
    zoo_model("phi").save_pretrained(tmp_path)
    capfd.readouterr()
    open_model(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_before_rotation_in_a_padded_batch() -> None:
    for kind in ("llama", "gptj", "cohere2"):
        model, texts = open_live(zoo_model(kind)), [IDS[4:9], IDS, [7, 7, 2, 30, 41, 11, 9, 23]]
        for ids, padded in zip(texts, model.traces(texts), strict=True):
            for name in ("q_raw", "k_raw"):
                assert gap(getattr(padded, name)(0), getattr(model.trace(ids=ids), name)(0)) <= TOLERANCE, kind


@pytest.mark.parametrize("kind", ["bart", "t5"])
@pytest.mark.parametrize("attention", ["decoder", "cross"])
def test_a_batch_beside_an_encoder_reads_the_same_source(kind: str, attention: str) -> None:
    model, source = open_live(zoo_model(kind), attention=attention), [7, 30, 11, 4, 23]
    texts = [IDS, IDS[4:9]]
    for ids, padded in zip(texts, model.traces(texts, source=source), strict=True):
        alone = model.trace(ids=ids, source=source)
        assert gap(padded.z(1), alone.z(1)) <= TOLERANCE
        assert np.abs(padded.weights("1.1") - alone.weights("1.1")).max() <= TOLERANCE


def test_edits_act_whatever_is_kept() -> None:
    model = open_live(zoo_model("llama"))
    edits = [Tie(where="0.1"), Mute(where="1.1", key=2), AimQuery(head="2.1", query=6, key=4)]
    whole = model.trace(ids=IDS, edits=edits)
    assert gap(model.trace(ids=IDS, edits=edits, keep=()).logits, whole.logits) == 0


def test_what_keeps_nothing_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_live(zoo_model("bert"))
    ran: list[int] = []
    real = type(model.hf).forward
    monkeypatch.setattr(type(model.hf), "forward", lambda self, **given: (ran.append(1), real(self, **given))[1])
    trace = model.trace(ids=IDS, keep=())
    for layer in range(3):
        trace.scoring(layer)
    assert ran == [1]


def test_masks_of_a_batch_are_all_checked() -> None:
    """A mask that is right for the first text and wrong for a later one is found."""
    import torch

    from qkvlab.models.attending import Run, Stages

    model, n = open_live(zoo_model("llama")), 6
    rows = [np.arange(n)] * 3
    run = Run(model.spec, model.family, model.stack, _Nobody(), rows, rows, layer=0)
    mask = torch.ones(n, n).tril().bool().repeat(3, 1, 1, 1)
    Stages(run, lambda text: Scoring(1.0, True), mask)
    wrong = mask.clone()
    wrong[1, 0, 2, 5] = True
    with pytest.raises(UnsupportedError, match="layer 0 hides"):
        Stages(run, lambda text: Scoring(1.0, True), wrong)


class _Nobody:
    """A keeper that wants nothing."""

    def __getattr__(self, name: str) -> Any:
        return {"edits_of": lambda layer: frozenset(), "wants": lambda name: False}.get(name, lambda *args: None)


def test_a_family_that_is_taken_for_causal_and_is_not_fails_loudly() -> None:
    import copy

    hf = copy.deepcopy(zoo_model("llama"))
    for layer in hf.model.layers:
        layer.self_attn.is_causal = False
    with pytest.raises(UnsupportedError, match="runs without a mask and not causal"):
        open_live(hf).trace(ids=IDS).run()


def test_scores_that_are_not_the_rules_fail_loudly() -> None:
    import copy

    hf = copy.deepcopy(zoo_model("mpt"))
    hf.transformer.blocks[1].attn.register_forward_pre_hook(
        lambda module, args, given: (args, {**given, "position_bias": given["position_bias"]}), with_kwargs=True
    )
    open_live(hf).trace(ids=IDS).run()
    hf = copy.deepcopy(zoo_model("gptj"))
    model = open_live(hf)
    attention = hf.transformer.h[1].attn
    real = attention._attn
    attention._attn = lambda q, k, v, mask=None: real(q, k, v, mask + torch_ramp(mask))
    with pytest.raises(UnsupportedError, match="what enters softmax in layer 1"):
        model.trace(ids=IDS).run()


def torch_ramp(mask: Any) -> Any:
    import torch

    return torch.arange(mask.shape[-1], dtype=mask.dtype)


@pytest.mark.parametrize("kind", ["qwen3", "gemma3", "olmo2", "phi"])
def test_normalised_queries_have_no_symmetry(kind: str) -> None:
    model = open_live(build("phi", qk_layernorm=True) if kind == "phi" else zoo_model(kind))
    assert model.spec.qk_norm
    with pytest.raises(UnsupportedError, match="normalises q and k"):
        symmetries(model)


def test_whether_there_are_biases_is_known_before_the_run() -> None:
    biased = {kind for kind in ("llama", "qwen2", "gpt2", "bloom", "t5") if open_live(zoo_model(kind)).spec.qkv_bias}
    assert biased == {"qwen2", "gpt2", "bloom"}


def test_the_page_is_told_of_a_cache_only_where_it_is_one_of_heads() -> None:
    plain = describe("x", open_live(zoo_model("llama")))
    assert [row["n_kv_head"] for row in plain["cache"]["rows"]] == [6, 2, 1]
    for kind, note in (("deepseek_v3", "latent"), ("qwen3_next", "not one of so many K/V heads")):
        told = describe("x", open_live(zoo_model(kind)))
        assert told["cache"] is None and note in told["why"]["cache"]
    with pytest.raises(UnsupportedError, match="made of native models only"):
        next(sharing_steps(open_live(zoo_model("llama"))))


def test_the_page_is_told_what_turns_and_how_q_is_made() -> None:
    def told(kind: str) -> tuple[bool, bool, list[str]]:
        model = describe("x", open_live(zoo_model(kind)))
        return model["rotates"], model["rotation"] is not None, model["q_made"]

    assert told("llama") == (True, True, [])
    assert told("deepseek_v3") == (True, False, ["latent"])
    assert told("gemma3") == (True, False, ["qk-norm"])
    assert told("bloom") == told("gpt2") == (False, False, ["bias"])
    assert told("falcon-rw")[:2] == (False, False)
