"""What does a safetensors checkpoint hold, and is every broken one refused by name?"""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors as reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from hostile import cuts, entry, pickled_bomb, refused, safetensors, sound_safetensors, sparse
from qkvlab.checkpoint.safetensors import read_header
from qkvlab.errors import CheckpointError, QkvLabError, SourceError, UnsupportedError

GOLDEN = (
    bytes.fromhex("3e00000000000000")  # a header of 62 bytes
    + b'{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}     '
    + bytes.fromhex("0000803f 00000040 00004040 00008040 0000a040 0000c040")  # 1 2 3 4 5 6
)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_golden_bytes(tmp_path: Path) -> None:
    checkpoint = read_header(written(tmp_path / "golden.safetensors", GOLDEN))
    assert (checkpoint.format, checkpoint.metadata) == ("safetensors", {})
    (info,) = checkpoint.tensors.values()
    assert (info.name, info.shape, info.kind, info.offset, info.nbytes) == ("w", (2, 3), "F32", 70, 24)
    np.testing.assert_array_equal(np.frombuffer(GOLDEN, "<f4", offset=info.offset), [1, 2, 3, 4, 5, 6])


def test_empty_tensors_scalars_and_an_odd_start(tmp_path: Path) -> None:
    tensors = read_header(written(tmp_path / "a.safetensors", sound_safetensors())).tensors
    assert {name: info.shape for name, info in tensors.items()} == {
        "a": (2, 3), "b": (5,), "empty": (0, 7), "scalar": ()
    }  # fmt: skip
    assert [info.nbytes for info in tensors.values()] == [24, 10, 0, 1]


def test_agrees_with_the_reference_writer(tmp_path: Path) -> None:
    arrays = {
        f"t.{kind}": np.arange(77).reshape(7, 11).astype(kind)
        for kind in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
    }
    path = tmp_path / "reference.safetensors"
    save_file(arrays, path, metadata={"format": "np"})
    content = path.read_bytes()
    tensors = read_header(path).tensors
    assert tensors.keys() == arrays.keys()
    for name, array in arrays.items():
        info = tensors[name]
        assert info.shape == (7, 11) and info.kind == dict(reference.deserialize(content))[name]["dtype"]
        assert content[info.offset : info.offset + info.nbytes] == array.tobytes()


SHARDS = {"a": "one.safetensors", "b": "two.safetensors"}


def sharded(folder: Path, weight_map: Any = SHARDS) -> Path:
    """A folder of two shards with one tensor each, and the index."""
    for name, shard in SHARDS.items():
        written(folder / shard, safetensors({name: entry("U8", [3], 0, 3)}, b"abc"))
    index = {"metadata": {"total_size": 6}, "weight_map": weight_map}
    return written(folder / "model.safetensors.index.json", json.dumps(index).encode())


def test_shards_by_folder_and_by_index(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    written(tmp_path / "config.json", b'{"model_type": "llama", "limits": [0.0, Infinity]}')
    for path in (tmp_path, index):
        checkpoint = read_header(path)
        assert checkpoint.path == path
        assert {name: info.path.name for name, info in checkpoint.tensors.items()} == SHARDS
        assert checkpoint.metadata["model_type"] == "llama"


def test_a_folder_with_one_file_and_a_file_beside_its_config(tmp_path: Path) -> None:
    written(tmp_path / "other.safetensors", GOLDEN)
    assert read_header(tmp_path).metadata == {}
    written(tmp_path / "config.json", b'{"n_head": 13}')
    for path in (tmp_path, tmp_path / "other.safetensors"):
        assert list(read_header(path).tensors) == ["w"]
        assert read_header(path).metadata == {"n_head": 13}
    written(tmp_path / "model.safetensors", safetensors({"chosen": entry("U8", [1], 0, 1)}, b"a"))
    assert list(read_header(tmp_path).tensors) == ["chosen"]


def test_a_shard_of_80_gigabytes_opens_at_once(tmp_path: Path) -> None:
    size = 80 << 30
    head = safetensors({"w": entry("F32", [1 << 14, size >> 16], 0, size)})
    info = read_header(sparse(tmp_path / "large.safetensors", head, len(head) + size)).tensors["w"]
    assert info.nbytes == size


def _one(dtype: Any, shape: Any, begin: Any, end: Any, n_bytes: int = 4) -> bytes:
    return safetensors({"w": entry(dtype, shape, begin, end)}, bytes(n_bytes))


def _two(n_bytes: int, *both: tuple[int, int]) -> bytes:
    header = {name: entry("U8", [end - begin], begin, end) for name, (begin, end) in zip("ab", both, strict=True)}
    return safetensors(header, bytes(n_bytes))


BROKEN = {
    "empty": (b"", "not a safetensors file"),
    "eight bytes": (bytes(8), "not a safetensors file"),
    "a length of nothing": (bytes(8) + b"{}", "expected a header of 2 to 2 bytes, got 0"),
    "a length that is not there": (safetensors({}, length=1 << 62), "expected a header of 2 to"),
    "a header over 100 MB": (safetensors({}, length=100_000_001), "expected a header of 2 to"),
    "no object": (safetensors(b"[1]"), "does not begin with '{'"),
    "no JSON": (safetensors(b'{"w":'), "not valid JSON"),
    "UTF-8": (safetensors(b'{"\xff": 1}'), "not valid UTF-8"),
    "a lone surrogate": (safetensors(b'{"\\ud800": 1}'), "not valid JSON"),
    "a number of 5,000 digits": (safetensors(b'{"w": ' + b"9" * 5000 + b"}"), "not valid JSON"),
    "a nesting bomb of lists": (safetensors(b'{"w":' + b"[" * 300_000), "nests its JSON too deeply"),
    "a nesting bomb of objects": (safetensors(b'{"w":' * 300_000), "nests its JSON too deeply"),
    "a bomb of items": (safetensors(b'{"w":[' + b"," * 1_000_001 + b"]}"), "too many JSON items"),
    "a tensor twice": (safetensors(b'{"w": 1, "w": 2}'), "'w' stands there twice"),
    "a key twice": (safetensors(b'{"w": {"dtype": "U8", "dtype": "I8"}}'), "'dtype' stands there twice"),
    "notes that are no strings": (safetensors({"__metadata__": {"format": 1}}), "__metadata__ is malformed"),
    "notes that are no object": (safetensors({"__metadata__": []}), "__metadata__ is malformed"),
    "an entry that is no object": (safetensors({"w": [1]}), "tensor 'w' is described wrongly"),
    "an entry without a shape": (safetensors({"w": {"dtype": "U8"}}), "tensor 'w' is described wrongly"),
    "a dtype that is no name": (_one(7, [4], 0, 4), "dtype that is no name"),
    "another dtype": (_one("F16", [1], 0, 4), r"has 4 bytes \(expected 2 for F16 \[1\]\)"),
    "a negative shape": (_one("U8", [-2, -2], 0, 4), "impossible shape"),
    "half a length": (_one("U8", [4.0], 0, 4), "impossible shape"),
    "a truth value as length": (_one("U8", [True, 4], 0, 4), "impossible shape"),
    "a word as shape": (_one("U8", "4", 0, 4), "impossible shape"),
    "nine axes": (_one("U8", [1] * 8 + [4], 0, 4), "impossible shape"),
    "overflow": (_one("U8", [1 << 62, 1 << 62], 0, 4), "impossible shape"),
    "an overflow to zero": (_one("F32", [1 << 62], 0, 0, 0), "impossible shape"),
    "negative offsets": (_one("U8", [4], -4, 0), "wrong data_offsets"),
    "offsets backwards": (_one("U8", [4], 4, 0), "wrong data_offsets"),
    "one offset": (safetensors({"w": entry("U8", [4], 0, 4) | {"data_offsets": [4]}}), "wrong data_offsets"),
    "offsets outside": (_one("U8", [4], 1 << 40, (1 << 40) + 4), "leave a hole"),
    "a shape larger than the offsets": (_one("F32", [2], 0, 4), "has 4 bytes"),
    "cut data": (_one("F32", [2], 0, 8, 7), r"is cut off; fetch it again \(expected \d+ bytes, got \d+\)"),
    "a hole at the start": (_one("U8", [4], 1, 5, 5), "the header and tensor 'w' leave a hole"),
    "a hole": (_two(9, (0, 3), (4, 9)), "tensor 'a' and tensor 'b' leave a hole"),
    "an overlap": (_two(9, (0, 4), (3, 9)), "tensor 'a' and tensor 'b' overlap"),
    "the same place": (_two(4, (0, 4), (0, 4)), "overlap"),
    "bytes after the last tensor": (_one("U8", [4], 0, 4, 5), "bytes after its last tensor"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, match = BROKEN[name]
    refused(read_header, written(tmp_path / "broken.safetensors", content), CheckpointError, match)


def test_an_unknown_number_type_is_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "new.safetensors", _one("F4", [8], 0, 4))
    refused(read_header, path, UnsupportedError, "number type 'F4' is not known; did you mean 'F64'")


WRONG_INDEXES = {
    "no map": (None, "has no weight_map"),
    "an empty map": ({}, "has no weight_map"),
    "a shard that is no name": (SHARDS | {"b": 7}, "names the shard 7"),
    "a shard elsewhere": (SHARDS | {"b": "../two.safetensors"}, "without any folder"),
    "a shard in a folder": (SHARDS | {"b": "/etc/two.safetensors"}, "without any folder"),
    "a shard above": (SHARDS | {"b": ".."}, "without any folder"),
    "a shard without a name": (SHARDS | {"b": ""}, "without any folder"),
    "a shard, the Windows way": (SHARDS | {"b": "..\\two.safetensors"}, "without any folder"),
    "a missing shard": (SHARDS | {"b": "three.safetensors"}, "the shard 'three.safetensors' is missing"),
    "a tensor only in the index": (SHARDS | {"c": "two.safetensors"}, r"two\.safetensors: lacks tensor 'c'"),
    "a tensor only in the shard": ({"a": "one.safetensors", "c": "two.safetensors"}, "lacks tensor 'b'"),
}


@pytest.mark.parametrize("name", WRONG_INDEXES)
def test_a_wrong_index_is_refused_by_name(tmp_path: Path, name: str) -> None:
    weight_map, match = WRONG_INDEXES[name]
    sharded(tmp_path, weight_map)
    with pytest.raises(CheckpointError, match=match):
        read_header(tmp_path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5, "zip"])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "weights.pt", "weights.pth"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str, protocol: Any) -> None:
    evidence, path = tmp_path / "opened", tmp_path / name
    if protocol == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled_bomb(evidence, 2))
    else:
        written(path, pickled_bomb(evidence, protocol))
    refused(read_header, path, UnsupportedError, "pickles are never read.*convert it")
    with pytest.raises(UnsupportedError, match=rf"^{name}: .*pickles are never read"):
        read_header(tmp_path)
    assert not evidence.exists()
    pickle.loads(pickled_bomb(evidence, 2))
    assert evidence.exists(), "a pickle that does nothing proves nothing"


def test_a_header_whose_length_looks_like_a_pickle(tmp_path: Path) -> None:
    raw = json.dumps({"w": entry("U8", [4], 0, 4)}).encode().ljust(0x280)
    content = safetensors(raw, b"abcd")
    assert content.startswith(b"\x80\x02")
    assert list(read_header(written(tmp_path / "a.safetensors", content)).tensors) == ["w"]


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no checkpoint .*one \.gguf file"):
        read_header(tmp_path)
    with pytest.raises(SourceError, match="cannot be read"):
        read_header(tmp_path / "nowhere.safetensors")
    for name in ("one.safetensors", "two.safetensors"):
        written(tmp_path / name, GOLDEN)
    with pytest.raises(SourceError, match=r"has 2 \.safetensors files and no model"):
        read_header(tmp_path)


@pytest.mark.parametrize("config", [b"[]", b"{", b"\xff", b'{"a": 1, "a": 2}', b"[" * 300_000])
def test_a_broken_config_is_refused_by_name(tmp_path: Path, config: bytes) -> None:
    path = written(tmp_path / "model.safetensors", GOLDEN)
    written(tmp_path / "config.json", config)
    with pytest.raises(CheckpointError, match=r"^config\.json: "):
        read_header(path)


def test_every_cut_is_refused(tmp_path: Path) -> None:
    for path in cuts(tmp_path / "cut.safetensors", sound_safetensors()):
        with pytest.raises(CheckpointError, match=r"^cut\.safetensors: "):
            read_header(path)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_we_read_after_a_flip_of_bytes_the_reference_reads_too(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(sound_safetensors())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from(b'0129-"[]{},: \\') | st.integers(0, 255))
    path = written(tmp_path / "flipped.safetensors", bytes(content))
    try:
        tensors = read_header(path).tensors
    except QkvLabError as error:
        assert str(error).startswith("flipped.safetensors: ")
    else:
        theirs = dict(reference.deserialize(bytes(content)))
        assert {name: list(info.shape) for name, info in tensors.items()} == {
            name: tensor["shape"] for name, tensor in theirs.items()
        }
