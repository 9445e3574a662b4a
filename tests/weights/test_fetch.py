"""Downloads: whole and checked, or nothing and one sentence. Only a server on this machine is spoken to."""

import hashlib
import http.server
import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors

from vitpose.core.errors import UsageError, WeightsError
from vitpose.weights import fetch, locate
from vitpose.weights.catalog import find_model, list_models, weights_cache
from vitpose.weights.fetch import Limits, fetch_hub_file, fetch_hub_folder, fetch_url, hash_in_name

CONTENT = bytes(range(256)) * 9000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        if name.startswith("missing"):
            self.send_error(404)
            return
        self.send_response(200)
        if not name.startswith("unannounced"):
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if name.startswith("cut"):
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
        elif name.startswith("slow"):
            for start in range(40):
                self.wfile.write(CONTENT[start : start + 1])
                self.wfile.flush()
                time.sleep(0.05)
        elif name.startswith("stalls"):
            self.wfile.write(CONTENT[:100])
            self.wfile.flush()
            time.sleep(1.0)
        else:
            self.wfile.write(CONTENT)

    def log_message(self, *arguments: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    asked: list[str]

    def handle_error(self, request, client_address) -> None:
        pass  # clients of these tests hang up on purpose


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def url(server: Server, name: str) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/v1/{name}"


def answering(answer: object, asked: list[tuple[object, ...]] | None = None) -> Callable[..., object]:
    """A stand-in that gives ``answer`` and notes what it was asked."""

    def stand_in(*arguments: object, **options: object) -> object:
        if asked is not None:
            asked.append(arguments)
        return answer

    return stand_in


@pytest.mark.parametrize("name", ["a.pth", "unannounced.pth", f"vit-{DIGEST[:8]}_20230314.pth"])
def test_a_file_is_downloaded_once_and_whole(server, tmp_path, name):
    for _ in range(2):
        path = fetch_url(url(server, name), tmp_path / "new" / "folder")
        assert path == tmp_path / "new" / "folder" / name
        assert path.read_bytes() == CONTENT
    assert server.asked == [name]
    assert [entry.name for entry in path.parent.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "limits", "reason"),
    [
        ("missing.pth", Limits(), "HTTP 404"),
        ("cut.pth", Limits(), f"ended after {len(CONTENT) // 2} of {len(CONTENT)} bytes"),
        ("a.pth", Limits(size_bytes=1000), "more than the limit of 1000"),
        ("unannounced.pth", Limits(size_bytes=1000), "larger than the limit of 1000"),
        ("slow.pth", Limits(total_s=0.2), r"longer than 0\.2 s"),
        ("stalls.pth", Limits(stall_s=0.2), "timed out"),
        ("vit-00000000_20230314.pth", Limits(), f"SHA-256 begins with {DIGEST[:8]}, not 00000000"),
    ],
)
def test_failures_leave_nothing_and_say_how_to_get_it(server, tmp_path, name, limits, reason):
    with pytest.raises(WeightsError, match=reason) as caught:
        fetch_url(url(server, name), tmp_path, limits=limits)
    assert list(tmp_path.iterdir()) == []
    message = str(caught.value)
    assert all(part in message for part in (name, str(tmp_path / name), "By hand: download", url(server, name)))
    assert "\n" not in message
    assert caught.value.exit_code == 5


def test_nobody_listens(server, tmp_path):
    port = server.server_address[1]
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match=r"cannot get a\.pth"):
        fetch_url(f"http://127.0.0.1:{port}/a.pth", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(server, tmp_path, monkeypatch):
    def interrupted(answer, out, limits):
        out.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_url(url(server, "a.pth"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_removed(server, tmp_path):
    (tmp_path / "a.pth").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"is not the published file.*was removed"):
        fetch_url(url(server, "a.pth"), tmp_path, sha256=DIGEST[:10])
    assert list(tmp_path.iterdir()) == []
    assert fetch_url(url(server, "a.pth"), tmp_path, sha256=DIGEST[:10]).read_bytes() == CONTENT


def test_offline_asks_nobody(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        fetch_url(url(server, "a.pth"), tmp_path)
    assert server.asked == []
    (tmp_path / "a.pth").write_bytes(CONTENT)
    assert fetch_url(url(server, "a.pth"), tmp_path).read_bytes() == CONTENT


def test_only_web_addresses_of_files():
    for address in ("file:///etc/passwd", "ftp://host/a.pth", "https://host/"):
        with pytest.raises(WeightsError, match="give an https address"):
            fetch_url(address, Path("unused"))


def test_hashes_in_names():
    assert hash_in_name("td-hm_ViTPose-base_8xb64-210e_coco-256x192-216eae50_20230314.pth") == "216eae50"
    assert hash_in_name("vitpose-b.pth") == hash_in_name("mae_pretrain_vit_base_20230913.pth") == ""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.LocalEntryNotFoundError("no"), "HF_HUB_OFFLINE is set"),
        (errors.OfflineModeIsEnabled("no"), "HF_HUB_OFFLINE is set"),
        (errors.EntryNotFoundError("no"), "no such file"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (errors.HFValidationError("Repo id must ..."), "Repo id must"),
    ],
)
def test_hub_failures_are_one_sentence(monkeypatch, error, reason):
    def fails(*arguments, **options):
        raise error

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fails)
    for call, named in (
        (lambda: fetch_hub_folder("org/name"), "config.json"),
        (lambda: fetch_hub_file("org/name", "b.pth"), "b.pth"),
    ):
        with pytest.raises(WeightsError, match=reason) as caught:
            call()
        message = str(caught.value)
        assert all(part in message for part in (named, "models--org--name", "hf download org/name", "By hand"))
        assert "\n" not in message
        assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [(errors.GatedRepoError, 403, "it is gated: accept"), (errors.RepositoryNotFoundError, 404, "no such repository")],
)
def test_hub_refusals(monkeypatch, kind, status, reason):
    httpx = importlib.import_module(errors.Response.__module__.partition(".")[0])  # the hub client has changed its own
    answer = httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co"))

    def fails(*arguments, **options):
        raise kind("refused", response=answer)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fails)
    with pytest.raises(WeightsError, match=reason):
        fetch_hub_folder("org/name")


COMMIT = "0123456789" * 4
VITPOSE = {"config.json": {"model_type": "vitpose"}}


def hub_of(monkeypatch, folder: Path, files: Mapping[str, object]) -> list[tuple[str, str | None]]:
    """A hub whose only repository has these files; returns what was asked of it, with the revision."""
    asked: list[tuple[str, str | None]] = []
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)

    def download(repo, filename, *, revision=None, local_files_only):
        asked.append((filename, revision))
        assert repo == "org/name"
        assert local_files_only  # HF_HUB_OFFLINE is set in tests
        if filename not in files:
            raise errors.EntryNotFoundError(f"404: {filename}")
        (snapshot / filename).write_text(json.dumps(files[filename]))
        return str(snapshot / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


@pytest.mark.parametrize(
    ("weights", "fetched"),
    [
        (["model.safetensors", "adapter.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["pytorch_model.bin"], ["pytorch_model.bin"]),
        (
            ["model.safetensors.index.json", "b.safetensors", "a.safetensors", "c.safetensors"],
            ["a.safetensors", "b.safetensors", "model.safetensors.index.json"],
        ),
    ],
)
def test_only_the_weights_that_are_read_are_downloaded(monkeypatch, tmp_path, weights, fetched):
    index = {"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}
    asked = hub_of(monkeypatch, tmp_path, VITPOSE | dict.fromkeys(weights, index))
    folder = fetch_hub_folder("org/name", revision="v1")
    assert sorted(path.name for path in folder.iterdir()) == sorted(["config.json", *fetched])
    assert asked[0] == ("config.json", "v1")
    assert {revision for _, revision in asked[1:]} == {COMMIT}, "weights of another commit than their configuration"


def test_of_another_kind_of_model_nothing_but_the_configuration_is_downloaded(monkeypatch, tmp_path):
    asked = hub_of(monkeypatch, tmp_path, {"config.json": {"model_type": "llama"}, "model.safetensors": {}})
    with pytest.raises(WeightsError, match="configuration of a 'llama' model, not of a 'vitpose' one"):
        fetch_hub_folder("org/name")
    assert [name for name, _ in asked] == ["config.json"]


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({"model.safetensors": {}}, r"config\.json"),
        (VITPOSE, r"model\.safetensors, model\.safetensors\.index\.json or pytorch_model\.bin"),
        (
            VITPOSE | {"model.safetensors.index.json": {"weight_map": {"x": "gone.safetensors"}}},
            r"gone\.safetensors",
        ),
    ],
)
def test_what_a_repository_lacks_is_named(monkeypatch, tmp_path, files, missing):
    hub_of(monkeypatch, tmp_path, files)
    with pytest.raises(WeightsError, match=rf"cannot get {missing} of org/name from .*has no such file"):
        fetch_hub_folder("org/name")


def test_a_hub_file_with_another_hash_is_removed_with_what_it_links_to(monkeypatch, tmp_path):
    blob, link = tmp_path / "blob", tmp_path / "b.pth"
    blob.write_bytes(CONTENT)
    link.symlink_to(blob)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", answering(str(link)))
    assert fetch_hub_file("org/name", "b.pth", sha256=DIGEST) == link
    with pytest.raises(WeightsError, match="is not the published file"):
        fetch_hub_file("org/name", "b.pth", sha256="00")
    assert list(tmp_path.iterdir()) == []


def test_every_row_of_the_catalogue_has_a_way_to_be_had(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path))
    for name in ("fetch_url", "fetch_hub_file", "fetch_hub_folder"):
        monkeypatch.setattr(locate, name, answering(tmp_path, asked))
    for row in list_models():
        if row.source == "manual":
            with pytest.raises(WeightsError, match=r"get it by hand from https.*put it at") as caught:
                locate.fetch_row(row)
            own = weights_cache() / row.local_name
            assert str(own) in str(caught.value)
        elif row.source != "package":  # for those, see test_packaged.py
            locate.fetch_row(row)
            expected = {"url": (row.url, weights_cache()), "hub": (row.repo, row.file)}[row.source]
            assert asked.pop() == (expected[:1] if row.format == "hf" else expected)
    row = next(row for row in list_models() if row.source == "manual" and not row.sha256)
    own = weights_cache() / row.local_name
    own.parent.mkdir(parents=True)
    own.write_bytes(b"by hand")
    found = locate.locate(row.id)
    assert (found.path, found.name, found.heads) == (own, row.id, row.heads)


def test_names(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path))
    monkeypatch.setattr(locate, "fetch_hub_folder", answering(tmp_path, asked))
    for name in ("vitpose-base", "vitpose-b", "usyd-community/vitpose-base"):
        found = locate.locate(name)
        assert asked.pop() == ("usyd-community/vitpose-base",)
        assert found.heads == find_model("vitpose-base").heads
    found = locate.locate("somebody/else")
    assert (asked.pop(), found.name, found.heads) == (("somebody/else",), "else", ())
    with pytest.raises(UsageError, match=r"holds .* checkpoints of the catalogue; name one"):
        locate.locate("nielsr/vitpose-original-checkpoints")
    assert locate.locate(tmp_path).path == tmp_path


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A working directory, and a catalogue whose files are all in one place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locate, "fetch_row", answering(Path("fetched")))
    return tmp_path


@pytest.mark.parametrize("name", ["animal", "Animal", "vitpose-b", "usyd-community/vitpose-base", "embedded"])
def test_a_folder_without_weights_hides_no_name(desk, name):
    (desk / name).mkdir(parents=True)
    (desk / name / "cat.jpg").touch()
    (desk / name / "config.json").touch()
    found = locate.locate(name)
    assert (found.path, found.name) == (Path("fetched"), find_model(name).id)
    assert locate.locate(f"./{name}").path == Path(name)
    assert locate.locate(Path(name)).path == Path(name)


@pytest.mark.parametrize("file", ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"])
def test_a_folder_with_a_model_is_that_model(desk, file):
    for name in ("animal", "embedded"):
        (desk / name).mkdir()
        (desk / name / file).touch()
    assert locate.locate("animal").path == Path("animal")
    assert locate.locate("embedded").path == Path("fetched"), "the pair is to be had whatever lies around"


def test_a_run_and_a_file_keep_their_names(desk):
    (desk / "animal").mkdir()
    for file in ("config.toml", "last.safetensors"):
        (desk / "animal" / file).touch()
    (desk / "human").touch()
    (desk / "mine").mkdir()
    assert locate.locate("animal").path == Path("animal/last.safetensors")
    assert locate.locate("human").path == Path("human")
    assert locate.locate("mine").path == Path("mine")


def test_without_a_network_a_hub_name_is_one_sentence():
    with pytest.raises(WeightsError, match=r"no folder some-org/some-model here, and cannot get config\.json"):
        locate.locate("some-org/some-model")
