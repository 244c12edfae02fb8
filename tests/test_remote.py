"""A checkpoint on the hub by byte ranges: the same numbers as from the file, and nothing sent that was not needed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qkvlab
from hub import COMMIT, Hub, as_the_hub, serving
from qkvlab.anatomy import inspect
from qkvlab.checkpoint import source
from qkvlab.errors import CheckpointError, QkvLabError, SourceError
from qkvlab.headweights import weights
from terminal import run
from test_anatomy import fake_70b
from zoo import zoo_model

NAME = "org/tiny"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    zoo_model("gpt_neox").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    zoo_model("llama").save_pretrained(folder, max_shard_size="10KB")
    return folder


@pytest.fixture
def hub(whole: Path, sharded: Path, tmp_path: Path) -> Iterator[Hub]:
    folders = {"org/whole": whole, "org/sharded": sharded, NAME: tmp_path / "tiny"}
    with serving(Hub(folders)) as hub, as_the_hub(f"http://127.0.0.1:{hub.port}", tmp_path / "cache"):
        yield hub


def header_bytes(file: Path) -> int:
    return 8 + int.from_bytes(file.read_bytes()[:8], "little")


def fails(action: Callable[[], object], kind: type[QkvLabError] = SourceError) -> str:
    with pytest.raises(kind) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["whole", "sharded"])
def test_the_same_weights_as_from_the_file_and_no_byte_more(name: str, hub: Hub) -> None:
    folder = hub.folders[f"org/{name}"]
    found, expected = weights(f"org/{name}", "1.2"), weights(folder, "1.2")
    for array, value in expected.arrays.items():
        np.testing.assert_array_equal(getattr(found, array), value)
    assert found.bytes_read == expected.bytes_read and found.model == f"org/{name}"
    touched = {file for file, wanted in hub.asked if wanted and (folder / file).is_file()}
    assert hub.weights_sent - 9 * (name == "sharded") == found.bytes_read + sum(
        header_bytes(folder / f) for f in touched
    )
    plain = [file for file, wanted in hub.asked if not wanted]
    assert plain == ["config.json"] + ["model.safetensors.index.json"] * (name == "sharded")
    if name == "sharded":
        assert len(touched) < len(list(folder.glob("*.safetensors"))), "only the shards that are needed"


def test_later_answers_are_of_the_same_commit(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from qkvlab.checkpoint.remote import RemoteStore

    assert RemoteStore("org/whole")._revision == COMMIT


def test_inspect_reads_every_header_and_no_data(hub: Hub) -> None:
    found, expected = inspect("org/sharded"), inspect(str(hub.folders["org/sharded"]))
    assert found.parameters == expected.parameters and found.number_types == expected.number_types
    assert (found.path, found.model) == ("org/sharded on the Hugging Face hub", "org/sharded")
    files = sorted(hub.folders["org/sharded"].glob("*.safetensors"))
    assert hub.weights_sent == 9 + sum(map(header_bytes, files))


def test_inspect_of_70_billion_parameters_is_little_to_send(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    fake_70b(tmp_path / "tiny", 30)
    found = run("inspect", NAME, "--json").document()
    assert found["parameters"]["total"] == 70_553_706_496 and found["kv_cache"]["bytes_per_token"] == 327_680
    assert hub.sent < 300_000


def test_a_head_of_70_billion_parameters_is_its_rows_and_one_w_o(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    folder = fake_70b(tmp_path / "tiny", 30)
    shapes = {"w_q": (8192, 128), "w_k": (8192, 128), "w_v": (8192, 128), "w_o": (128, 8192)}
    found = weights(folder, "79.63")
    assert {name: array.shape for name, array in found.arrays.items()} == shapes and found.kv_head == 7
    assert found.bytes_read == 2 * (3 * 128 * 8192 + 8192 * 8192)


def test_what_is_in_the_cache_is_not_asked_for(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "models--org--sharded"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    shutil.copytree(hub.folders["org/sharded"], folder / "snapshots" / COMMIT)
    assert weights("org/sharded", "0.1").model == "org/sharded" and inspect("org/sharded").layers == 3
    assert hub.asked == []
    next((folder / "snapshots" / COMMIT).glob("*-00002-*")).unlink()
    weights("org/sharded", "0.1")
    assert hub.asked, "half a snapshot is none"


def test_the_token_stays_with_the_hub(hub: Hub) -> None:
    with serving(Hub(hub.folders)) as other:
        hub.elsewhere = other.port
        found = weights("org/whole", "2.0")
        assert all(hub.authorized) and other.asked and not any(other.authorized)
    np.testing.assert_array_equal(found.w_q, weights(hub.folders["org/whole"], "2.0").w_q)


# ---- everything that can go wrong


def test_a_server_that_ignores_ranges_is_left_at_once(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    fake_70b(tmp_path / "tiny", 30)
    hub.ranges = False
    said = fails(lambda: weights(NAME, "1.2"))
    assert "does not give parts of" in said and "got 200" in said and f"qkvlab pull {NAME}" in said
    assert hub.sent < 20_000_000, "of 141 GB"


def test_a_name_that_does_not_exist(hub: Hub) -> None:
    for action in (lambda: weights("org/absent", "0.0"), lambda: inspect("org/absent")):
        assert "'org/absent' is neither a file or folder here nor a public model" in fails(action)
    assert run("weights", "org/absent", "0.0").complaint().startswith("'org/absent' is neither")


@pytest.mark.parametrize(
    ("status", "code", "says"), [(401, "GatedRepo", "is gated"), (403, "", "403"), (400, "", "does not give it")]
)
def test_refusals(status: int, code: str, says: str, hub: Hub) -> None:
    hub.status, hub.code = status, code or "x"
    said = fails(lambda: weights("org/whole", "0.0"))
    assert "'org/whole'" in said and says in said


def test_connection_refused(tmp_path: Path) -> None:
    with as_the_hub("http://127.0.0.1:9", tmp_path):
        said = fails(lambda: weights("org/name", "0.0"))
    assert said.startswith("there is no folder 'org/name' here, and the Hugging Face hub does not give it: Connect")


def test_half_a_part(hub: Hub) -> None:
    hub.short = 3
    assert "came incomplete (expected" in fails(lambda: weights("org/whole", "0.0"))


def broken(hub: Hub, change: Callable[[Path], object], of: str = "org/sharded") -> None:
    shutil.copytree(hub.folders[of], hub.folders[NAME])
    change(hub.folders[NAME])


def test_half_a_shard(hub: Hub) -> None:
    def cut(folder: Path) -> None:
        for file in folder.glob("*.safetensors"):
            os.truncate(file, file.stat().st_size - 100)

    broken(hub, cut)
    assert "is cut off; fetch it again" in fails(lambda: weights(NAME, "0.0"), CheckpointError)
    assert "is cut off; fetch it again" in fails(lambda: inspect(NAME), CheckpointError)


def test_an_index_that_names_a_missing_shard(hub: Hub) -> None:
    broken(hub, lambda folder: [file.unlink() for file in folder.glob("*.safetensors")])
    assert "names the shard 'model-0" in fails(lambda: weights(NAME, "0.0"), CheckpointError)
    assert "which is not there" in fails(lambda: inspect(NAME), CheckpointError)


def test_an_index_and_a_shard_that_disagree(hub: Hub) -> None:
    def swap(folder: Path) -> None:
        files = sorted(folder.glob("*.safetensors"))
        for file in files[1:]:
            shutil.copy(files[0], file)

    broken(hub, swap)
    assert "lacks tensor" in fails(lambda: inspect(NAME), CheckpointError)


def test_a_repository_without_safetensors(hub: Hub) -> None:
    broken(hub, lambda folder: (folder / "model.safetensors").unlink(), "org/whole")
    assert "holds neither model.safetensors nor model.safetensors.index.json" in fails(lambda: weights(NAME, "0.0"))


def test_a_repository_without_a_configuration(hub: Hub) -> None:
    broken(hub, lambda folder: (folder / "config.json").unlink(), "org/whole")
    assert "there is no config.json" in fails(lambda: weights(NAME, "0.0"), CheckpointError)


def test_an_index_that_leads_out_of_the_repository(hub: Hub) -> None:
    def point(folder: Path) -> None:
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {"a": "../../other/resolve/main/x.safetensors"}}))

    broken(hub, point)
    assert "expected a file name without any folder" in fails(lambda: weights(NAME, "0.0"), CheckpointError)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "QKVLAB_OFFLINE"])
def test_offline_asks_nobody(variable: str, tmp_path: Path) -> None:
    code = (
        "import qkvlab\n"
        "from qkvlab.anatomy import inspect\n"
        "for ask in (lambda: qkvlab.weights('org/whole', '0.0'), lambda: inspect('org/whole')):\n"
        "    try: ask()\n"
        "    except qkvlab.QkvLabError as error: print(error)\n"
    )
    with serving(Hub({})) as hub:
        outer = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "QKVLAB_"))}
        own = {
            "PYTHONPATH": str(Path(source.__file__).parents[2]), "HF_HOME": str(tmp_path), variable: "1",
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.port}", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code], env=outer | own, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr, hub.asked) == (0, "", [])
        lines: list[Any] = done.stdout.splitlines()
        assert len(lines) == 2 and all(f"{variable} forbids downloads" in line for line in lines)
        del own[variable]
        done = subprocess.run([sys.executable, "-c", code], env=outer | own, capture_output=True, text=True, timeout=60)
        assert "neither a file or folder" in done.stdout and len(hub.asked) == 2, "HF_ENDPOINT is heard"


def test_the_public_face() -> None:
    assert qkvlab.weights is weights
