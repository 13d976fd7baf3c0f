"""The gallery's server: its own files to those who call it by its name, and marks from its own page only."""

from __future__ import annotations

import http.client
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from comfyui_eridiffusion.compare.collection import GALLERY_MARKER, read_collection
from comfyui_eridiffusion.errors import CompareError
from comfyui_eridiffusion.gallery.marks import KeptMarks
from comfyui_eridiffusion.gallery.serve import _may_be_called, serving
from comfyui_eridiffusion.gallery.write import write_gallery
from comfyui_eridiffusion.tests.compare.sample_pictures import run_of_pictures, spec_of
from comfyui_eridiffusion.tests.waiting import PATIENCE


class Site:
    """A served gallery, asked as a program on this machine can."""

    def __init__(self, url: str, run: Path) -> None:
        self.run, self.host = run, urlsplit(url).netloc

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        asking = http.client.HTTPConnection(self.host, timeout=PATIENCE)
        try:
            asking.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            answer = asking.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            asking.close()

    @property
    def token(self) -> str:
        found = re.search(rb'name="eridiffusion-token" content="([^"]+)"', self.ask("/")[2])
        assert found
        return found[1].decode()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    run = run_of_pictures(tmp_path_factory.mktemp("out") / "my_run", spec_of(), (500,))
    found = read_collection(run)
    write_gallery(found)
    (run / "gallery" / "secret.txt").write_text("secret", encoding="utf-8")
    (run / "gallery" / "pictures" / ("a" * 20 + ".png")).symlink_to(run / "gallery" / "secret.txt")
    with serving(run / "gallery", {"marks": KeptMarks(found)}, port=0) as url:
        yield Site(url, run)


def test_the_page_and_its_pictures(site: Site) -> None:
    status, headers, body = site.ask("/")
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "connect-src 'self'" in headers["Content-Security-Policy"]
    assert b"connect-src 'self'" in body
    name = next(path.name for path in (site.run / "gallery" / "pictures").iterdir() if not path.is_symlink())
    status, headers, body = site.ask(f"/pictures/{name}")
    assert (status, headers["X-Content-Type-Options"]) == (200, "nosniff")
    assert body == (site.run / "gallery" / "pictures" / name).read_bytes()


@pytest.mark.parametrize(
    "path",
    ["/pictures/", "/pictures", f"/{GALLERY_MARKER}", "/secret.txt", "/pictures/../secret.txt",
     f"/pictures/{'a' * 20}.png", "/pictures/..%2Fsecret.txt", "/pictures/%2e%2e/%2e%2e/eridiffusion.json",
     "/small/x.webp", "/keep/votes"],
)  # fmt: skip
def test_nothing_else_is_answered(site: Site, path: str) -> None:
    status, _, body = site.ask(path)
    assert status == 404
    assert b"secret" not in body


def test_other_names_are_refused(site: Site) -> None:
    port = site.host.rpartition(":")[2]
    for name in (f"attacker.example:{port}", "attacker.example", "", "127.0.0.1.attacker.example"):
        assert site.ask("/", Host=name)[0] == 403, name
    assert site.ask("/", Host=f"localhost:{port}")[0] == 200
    anywhere = "0.0.0.0"  # noqa: S104 - only a name is judged
    assert _may_be_called("192.168.0.7:8190", anywhere)
    assert not _may_be_called("192.168.0.7:8190", "127.0.0.1")
    assert not _may_be_called("attacker.example", anywhere)


def test_marks_are_kept_for_the_page_alone(site: Site) -> None:
    mark = json.dumps({"variant": "", "step": 500, "item": 1, "mark": "favourite"})
    for token in ({}, {"X_Eridiffusion_Token": "guessed"}):
        assert site.ask("/keep/marks", "POST", mark, **token)[0] == 403
    assert not (site.run / "eridiffusion.json").exists()
    token = site.token
    for body in ("{", "[]", "{}", json.dumps({"step": 500, "item": 1, "mark": "great"})):
        assert site.ask("/keep/marks", "POST", body, X_Eridiffusion_Token=token)[0] == 400, body
    assert site.ask("/keep/marks", "POST", "1" * 100_000, X_Eridiffusion_Token=token)[0] == 413
    assert site.ask("/keep/marks", "POST", mark, X_Eridiffusion_Token=token)[0] == 200
    kept = json.loads(site.ask("/keep/marks")[2])["kept"]
    assert kept == [{"step": 500, "item": 1, "mark": "favourite"}]
    assert json.loads((site.run / "eridiffusion.json").read_text(encoding="utf-8"))["marks"] == kept


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("[" * 60_000, {}, 400),
        ('{"step": ' * 7_000, {}, 400),
        ("{}", {"Content_Type": "application/json; charset=none-such"}, 400),
        ("none", {"Content_Encoding": "gzip"}, 400),
        ('{"step": 1e999, "item": 0, "mark": "favourite"}', {}, 400),
        ('{"step": NaN, "item": 0, "mark": "favourite"}', {}, 400),
        ('{"step": 9999999999, "item": true, "mark": "favourite"}', {}, 400),
        ('{"step": 500, "item": 0, "mark": "\\ud800"}', {}, 400),
        ("x" * 70_000, {}, 413),
        ("{}", {"X_Eridiffusion_Token": "h\u00e9"}, 403),
    ],
)  # fmt: skip
def test_what_is_no_mark_is_refused(site: Site, body: str, headers: dict[str, str], status: int) -> None:
    answer = site.ask("/keep/marks", "POST", body, **{"X_Eridiffusion_Token": site.token, **headers})
    assert answer[0] == status, answer[2]
    assert str(site.run).encode() not in answer[2]


def test_a_gallery_that_went_is_told(tmp_path: Path) -> None:
    run = run_of_pictures(tmp_path / "my_run", spec_of(), (500,))
    found = read_collection(run)
    write_gallery(found, animation="none")
    with serving(run / "gallery", {"marks": KeptMarks(found)}, port=0) as url:
        site = Site(url, run)
        shutil.rmtree(run / "gallery")
        (run / "eridiffusion.json").write_text("{", encoding="utf-8")
        for path, status in (("/", 404), ("/version", 404), ("/keep/marks", 409)):
            answer = site.ask(path)
            assert answer[0] == status
            assert str(run).encode() not in answer[2]


def test_a_port_that_is_taken_and_a_folder_that_is_no_gallery(site: Site, tmp_path: Path) -> None:
    port = int(site.host.rpartition(":")[2])
    with pytest.raises(CompareError, match=r"--serve-host and --port"), serving(site.run / "gallery", {}, port=port):
        pass
    with pytest.raises(CompareError, match="no gallery"), serving(tmp_path, {}):
        pass
