"""What does a GGUF header say, and is every broken one refused by name?"""

import resource
import struct
import subprocess
import sys
from pathlib import Path

import gguf as reference
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile import (
    BOOL,
    BROKEN_GGUF,
    CLAIMS_GGUF,
    CODES,
    U32,
    UNSUPPORTED_GGUF,
    cuts,
    gguf,
    pair,
    refused,
    sound_gguf,
    sparse,
    tensor,
    value,
)
from qkvlab.checkpoint.gguf import KINDS, read_header
from qkvlab.errors import CheckpointError, QkvLabError, SourceError, UnsupportedError

GOLDEN = bytes.fromhex(
    "47475546 03000000 0100000000000000 0200000000000000"  # GGUF, version 3, 1 tensor, 2 keys
    "0300000000000000 6e2e61 04000000 0d000000"  # n.a = 13 (u32)
    "0300000000000000 6e2e62 09000000 08000000 0200000000000000"  # n.b = 2 strings
    "0200000000000000 c4a0 0000000000000000"  # "Ġ", ""
    "0100000000000000 77 02000000 0300000000000000 0200000000000000 00000000 0000000000000000"  # w: F32
    "00000000000000000000000000000000000000000000000000000000000000"  # 31 bytes, up to 160
    "0000803f 00000040 00004040 00008040 0000a040 0000c040"  # 1 2 3 4 5 6
)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_golden_bytes(tmp_path: Path) -> None:
    checkpoint = read_header(written(tmp_path / "golden.gguf", GOLDEN))
    assert checkpoint.format == "gguf"
    assert checkpoint.metadata == {"n.a": 13, "n.b": ["Ġ", ""]}
    (info,) = checkpoint.tensors.values()
    assert (info.name, info.shape, info.kind, info.offset, info.nbytes) == ("w", (2, 3), "F32", 160, 24)
    assert struct.unpack("<6f", GOLDEN[info.offset :]) == (1, 2, 3, 4, 5, 6)


def test_every_value_type_comes_out_as_itself(tmp_path: Path) -> None:
    metadata = read_header(written(tmp_path / "all.gguf", sound_gguf())).metadata
    for kind in CODES:
        item, items = metadata[f"scalar.{kind}"], metadata[f"array.{kind}"]
        assert type(item) is (bool if kind == BOOL else float if CODES[kind] in "fd" else int) and item == 1
        assert items.dtype == np.dtype("?" if kind == BOOL else CODES[kind])
        np.testing.assert_array_equal(items, [0, 1, 0])
    assert metadata["name"] == "größer"
    assert metadata["tokens"] == ["", "a", "Ġthe", "日本"]
    assert [[row.tolist() for row in rows] for rows in metadata["nested"]] == [[[]], [[1]], [[2, 2]]]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [8, 64])
def test_alignment_and_both_versions(tmp_path: Path, version: int, alignment: int) -> None:
    pairs = [pair("general.alignment", U32, value(U32, alignment))]
    tensors = [tensor("a", (1,), 24, 0), tensor("b", (3,), 24, alignment)]
    content = gguf(pairs, tensors, bytes(alignment + 3), version=version, alignment=alignment)
    found = read_header(written(tmp_path / "aligned.gguf", content)).tensors
    start = len(content) - alignment - 3
    assert start % alignment == 0
    assert [info.offset - start for info in found.values()] == [0, alignment]


def test_agrees_with_the_reference_writer(tmp_path: Path) -> None:
    path = tmp_path / "written.gguf"
    writer = reference.GGUFWriter(path, "llama")
    writer.add_uint32("a.number", 41)
    writer.add_array("a.words", ["eins", "zwei", "drei"])
    writer.add_array("a.floats", [0.5, -2.0])
    weights = np.arange(11 * 64, dtype=np.float32).reshape(11, 64)
    for kind in ("F32", "F16", "Q8_0", "Q4_1", "Q5_0"):
        number = reference.GGMLQuantizationType[kind]
        writer.add_tensor(kind, reference.quants.quantize(weights, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    checkpoint = read_header(path)
    assert checkpoint.metadata["a.number"] == 41
    assert checkpoint.metadata["a.words"] == ["eins", "zwei", "drei"]
    np.testing.assert_array_equal(checkpoint.metadata["a.floats"], [0.5, -2.0])
    reader = reference.GGUFReader(path)
    assert len(reader.tensors) == len(checkpoint.tensors) == 5
    for theirs in reader.tensors:
        ours = checkpoint.tensors[theirs.name]
        assert ours.shape == (11, 64) and ours.kind == theirs.tensor_type.name == theirs.name
        assert (ours.offset, ours.nbytes) == (theirs.data_offset, theirs.n_bytes)


def test_the_table_of_kinds_is_the_reference_table() -> None:
    sizes = reference.GGML_QUANT_SIZES
    theirs = {kind.value: (kind.name, *sizes[kind]) for kind in reference.GGMLQuantizationType}
    assert {number: KINDS.get(number) for number in theirs} == theirs


def test_the_real_file(smollm2_path: Path) -> None:
    checkpoint = read_header(smollm2_path)
    metadata = checkpoint.metadata
    assert metadata["general.architecture"] == "llama"
    assert (metadata["llama.block_count"], metadata["llama.attention.head_count_kv"]) == (30, 3)
    assert len(metadata["tokenizer.ggml.tokens"]) == 49_152
    assert metadata["tokenizer.ggml.merges"][0] == "Ġ t"
    assert len(metadata["tokenizer.ggml.merges"]) == 48_900
    assert metadata["tokenizer.ggml.token_type"].shape == (49_152,)
    assert len(checkpoint.tensors) == 272
    embedding, down = checkpoint.tensors["token_embd.weight"], checkpoint.tensors["blk.0.ffn_down.weight"]
    assert (embedding.shape, embedding.kind, embedding.offset) == ((49_152, 576), "Q8_0", 1_785_664)
    assert (down.shape, down.kind, down.offset) == ((576, 1536), "Q4_1", 31_868_992)
    assert max(info.offset + info.nbytes for info in checkpoint.tensors.values()) == smollm2_path.stat().st_size


@pytest.mark.parametrize("name", BROKEN_GGUF)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, match = BROKEN_GGUF[name]
    refused(read_header, written(tmp_path / "broken.gguf", content), CheckpointError, match)


@pytest.mark.parametrize("name", UNSUPPORTED_GGUF)
def test_a_sound_file_we_cannot_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, match = UNSUPPORTED_GGUF[name]
    refused(read_header, written(tmp_path / "sound.gguf", content), UnsupportedError, match)


@pytest.mark.parametrize("name", CLAIMS_GGUF)
def test_claims_that_a_huge_file_would_cover(tmp_path: Path, name: str) -> None:
    path = sparse(tmp_path / "huge.gguf", gguf(CLAIMS_GGUF[name]), 80 << 30)
    refused(read_header, path, CheckpointError, "impossible|runs past the end")


def test_every_cut_is_refused(tmp_path: Path) -> None:
    for path in cuts(tmp_path / "cut.gguf", sound_gguf()):
        with pytest.raises(CheckpointError, match=r"^cut\.gguf: "):
            read_header(path)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flip_of_bytes_does_more_than_be_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(sound_gguf())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from([0, 1, 8, 9, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    path = written(tmp_path / "flipped.gguf", bytes(content))
    try:
        checkpoint = read_header(path)
    except QkvLabError as error:
        assert str(error).startswith("flipped.gguf: ")
    else:
        assert all(info.offset + info.nbytes <= len(content) for info in checkpoint.tensors.values())


def test_a_path_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.gguf: cannot be read"):
        read_header(tmp_path / "nowhere.gguf")
    with pytest.raises(SourceError, match="cannot be read"):
        read_header(tmp_path)


def _one_gigabyte() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def test_a_file_larger_than_the_address_space(tmp_path: Path) -> None:
    tensors = [tensor("a", (1 << 20, 1 << 14), 0, 0)]
    path = sparse(tmp_path / "large.gguf", gguf([], tensors, bytes(16)), 80 << 30)
    code = (
        "import sys; from pathlib import Path; from qkvlab.checkpoint.gguf import read_header\n"
        "print(read_header(Path(sys.argv[1])).tensors['a'].nbytes)"
    )
    command = [sys.executable, "-c", code, str(path)]
    run = subprocess.run(command, preexec_fn=_one_gigabyte, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == (f"{64 << 30}\n", "")
