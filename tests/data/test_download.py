"""--download from a local server: the real files, and every failure."""

import contextlib
import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import build_dataset
from ner.data import download
from ner.data.download import SOURCES

TEXT = {"msra_train_bio": "北\tB-LOC\n京\tI-LOC\n\n" * 20, "msra_test_bio": "王\tB-PER\n\n"}


def zipped(files: dict[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers `/MSRA.zip` with the server's body and states `length` as its size."""

    def do_GET(self):
        if self.path != "/MSRA.zip":
            self.send_error(404)
            return
        self.send_response(200)
        if self.server.length is not None:
            self.send_header("Content-Length", str(self.server.length))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client closes the connection when it has received too much
            self.wfile.write(self.server.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """`serve(body)` serves the body and returns its address."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def start(body: bytes, length: int | None = -1) -> str:
        server.body, server.length = body, len(body) if length == -1 else length
        return f"http://127.0.0.1:{server.server_port}/MSRA.zip"

    yield start
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory that also holds the temporary files; the source expects `TEXT`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sha256s = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in TEXT.items()}
    monkeypatch.setitem(SOURCES, "msra", SOURCES["msra"]._replace(sha256s=sha256s))
    return tmp_path


def options(url: str) -> list[str]:
    return ["--download", "msra", "--download_url", url, "--out_dir", "out", "--val_size", "2"]


@pytest.mark.parametrize("folder", ["", "MSRA/"])
@pytest.mark.parametrize("length", [-1, None])
def test_a_download_is_built_like_local_files(place, run_main, serve, folder, length):
    body = zipped({"__MACOSX/._msra_train_bio": "x"} | {folder + name: text for name, text in TEXT.items()})
    ended = run_main(build_dataset, *options(serve(body, length)))
    assert (ended.code, ended.err) == (0, "")
    assert [path.name for path in place.iterdir()] == ["out"]
    for name, text in TEXT.items():
        Path(name).write_text(text, encoding="utf-8")
    files = ["--train", "msra_train_bio", "--test", "msra_test_bio"]
    assert run_main(build_dataset, *files, "--out_dir", "again", "--val_size", 2).code == 0
    built = [path.relative_to("out") for path in Path("out").rglob("*.*")]
    assert len(built) == 8
    assert all((Path("out") / path).read_bytes() == (Path("again") / path).read_bytes() for path in built)


def test_progress_is_reported(place, serve):
    body = zipped(TEXT)
    seen = []
    download.fetch(SOURCES["msra"], place, url=serve(body), on_progress=lambda *numbers: seen.append(numbers))
    assert seen[-1] == (len(body), len(body))


def _corrupted() -> bytes:
    body = bytearray(zipped(TEXT))
    body[len("msra_train_bio") + 30 + 5] ^= 0xFF
    return bytes(body)


def _encrypted() -> bytes:
    body = bytearray(zipped(TEXT))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.index(signature) + flags] |= 1
    return bytes(body)


WRONG = {
    "not a zip": (b"<html>", -1, "not a zip file that can be read"),
    "empty": (b"", -1, "not a zip file"),
    "truncated": (zipped(TEXT)[:-30], None, "not a zip file"),
    "broken off": (zipped(TEXT)[:-30], len(zipped(TEXT)), "the download broke off, got"),
    "corrupted": (_corrupted(), -1, "not a zip file that can be read"),
    "encrypted": (_encrypted(), -1, "not a zip file that can be read"),
    "other text": (zipped(TEXT | {"msra_test_bio": "x"}), -1, "msra_test_bio has sha256 2d711642b726b044"),
    "member missing": (zipped({"msra_train_bio": TEXT["msra_train_bio"]}), -1, "no msra_test_bio in the"),
    "other text of one length": (
        zipped(TEXT | {"msra_train_bio": "z" * 100}),
        -1,
        "msra_train_bio has sha256",
    ),
    "bomb": (
        zipped({"msra_train_bio": b"0" * 5000}),
        -1,
        "unpacks to 5,000 bytes, expected no more than 4,000",
    ),
    "huge": (b"0" * 5000, None, "got more than 4,000 bytes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_archive_gives_one_line_and_leaves_nothing(place, monkeypatch, run_main, serve, case):
    body, length, message = WRONG[case]
    monkeypatch.setattr(download, "MAX_BYTES", 4000)
    monkeypatch.setattr(download, "_BLOCK", 1000)
    ended = run_main(build_dataset, *options(serve(body, length)))
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert list(place.iterdir()) == []


def test_an_address_that_does_not_answer(place, run_main, serve):
    url = serve(b"")
    ends = {
        url.replace("MSRA", "other"): "got HTTP status 404 Not Found, expected the archive",
        "http://127.0.0.1:1/MSRA.zip": "cannot be reached, Connection refused",
        "file:///nowhere/MSRA.zip": "cannot be reached",
        "MSRA.zip": "unknown url type: 'MSRA.zip', expected an address",
        "http://[/MSRA.zip": "expected an address",
        "gopher://x": "cannot be reached",
    }
    for address, message in ends.items():
        ended = run_main(build_dataset, *options(address))
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert message in ended.err
        assert list(place.iterdir()) == []


def test_a_server_that_never_answers(place, monkeypatch, run_main):
    """The system accepts the connection, but no program answers."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    ended = run_main(build_dataset, *options(f"http://127.0.0.1:{server.server_port}/MSRA.zip"))
    server.server_close()
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "timed out" in ended.err
    assert list(place.iterdir()) == []


def test_the_address_and_the_hashes_of_msra_are_complete():
    source = SOURCES["msra"]
    assert source.url.startswith("https://raw.githubusercontent.com/zhooufeng/Data/8994cd15")
    assert set(source.splits.values()) == set(source.sha256s)
    assert all(len(sha256) == 64 for sha256 in source.sha256s.values())


def test_msra_itself(ner_data, tmp_path, serve):
    files = {f"MSRA/{name}": (ner_data / "msra" / name).read_bytes() for name in SOURCES["msra"].sha256s}
    paths = download.fetch(SOURCES["msra"], tmp_path, url=serve(zipped(files, zipfile.ZIP_STORED)))
    assert {split: path.name for split, path in paths.items()} == {
        "train": "msra_train_bio",
        "test": "msra_test_bio",
    }
    assert [len(path.read_bytes()) for path in paths.values()] == [14037322, 1119341]
