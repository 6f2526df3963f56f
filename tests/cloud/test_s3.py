"""Exports from and to S3 through Beam's file system, on moto's server; and its keys stay secret."""

from __future__ import annotations

import dataclasses
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.devices import need_aws
from support.exports import (
    Export,
    check_export,
    directory_hashes,
    make_images,
    picture,
    read_export,
    same_but_for_paths,
)
from support.runs import run_export

from beam_export.cli import main as cli
from beam_export.exports.dataset import open_export

IN_MEMORY = "--direct_num_workers=1"
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@dataclasses.dataclass
class Store:
    """S3 as moto has it, and what opens it."""

    url: str
    secret: str
    client: Any

    @property
    def flags(self) -> list[str]:
        """Beam's own flags, as a user gives them."""
        return [
            f"--s3_endpoint_url={self.url}",
            "--s3_region_name=us-east-1",
            "--s3_access_key_id=AKIATESTS",
            f"--s3_secret_access_key={self.secret}",
        ]

    def upload(self, folder: Path, prefix: str) -> None:
        for path in folder.rglob("*.*"):
            key = f"{prefix}/{path.relative_to(folder).as_posix()}"
            self.client.put_object(Bucket="bucket", Key=key, Body=path.read_bytes())

    def keys(self, prefix: str) -> dict[str, Any]:
        found = self.client.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
        return {one["Key"]: one["LastModified"] for one in found}

    def download(self, prefix: str, folder: Path) -> Path:
        for key in self.keys(f"{prefix}/"):
            path = folder / key.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.client.get_object(Bucket="bucket", Key=key)["Body"].read())
        return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"), 5)


@pytest.fixture(scope="module")
def plain(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return run_export(images, tmp_path_factory.mktemp("plain") / "out", images_per_tar=2)


@pytest.fixture(scope="module")
def store(images: Path) -> Iterator[Store]:
    need_aws()
    import boto3

    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    url = next(line.strip() for line in server.stdout if line.startswith("http"))
    secret = f"secret{secrets.token_hex(16)}"
    with pytest.MonkeyPatch.context() as patch:
        # Nothing of whoever runs the tests.
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="AKIATESTS",
            aws_secret_access_key=secret,
        )
        client.create_bucket(Bucket="bucket")
        made = Store(url, secret, client)
        made.upload(images, "in")
        yield made
        client.close()
    server.stdin.close()
    server.wait(10)
    server.stdout.close()


def export(store: Store, source: str, out: str, *more: str) -> int:
    given = [f"--input={source}", f"--output_dir={out}", "--images_per_tar=2", IN_MEMORY]
    return cli.main([*given, *store.flags, *more])


@pytest.mark.slow
def test_from_s3_to_s3_resumed_and_verified(
    store: Store, plain: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = "s3://bucket/out"
    assert export(store, "s3://bucket/in", out) == 0
    copy = store.download("out", tmp_path / "copy")
    check_export(copy, 2, "--samples", "5")
    same_but_for_paths(read_export(copy), plain)
    assert not store.keys("out/_tmp")
    # As a run that was killed leaves it.
    before = store.keys("out/")
    for key in before:
        if key.endswith(("manifest.json", "000001.parquet")):
            store.client.delete_object(Bucket="bucket", Key=key)
    capsys.readouterr()
    assert export(store, "s3://bucket/in", out) == 0
    assert "2 of the shards stood finished" in capsys.readouterr().out
    again = store.download("out", tmp_path / "again")
    assert directory_hashes(again) == directory_hashes(copy)
    after = store.keys("out/")
    kept = [key for key in after if key.endswith(("000000.tar", "000002.parquet"))]
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert cli.main(["verify", out, "--against=s3://bucket/in", IN_MEMORY, *store.flags]) == 0
    tar = next(key for key in after if key.endswith("000002.tar"))
    store.client.put_object(Bucket="bucket", Key=tar, Body=picture(0))
    assert cli.main(["verify", out, IN_MEMORY, *store.flags]) == 1
    assert tar.rpartition("/")[2] in capsys.readouterr().out


@pytest.mark.slow
def test_from_a_disk_to_s3(store: Store, images: Path, plain: Export, tmp_path: Path) -> None:
    assert export(store, str(images), "s3://bucket/disk") == 0
    copy = store.download("disk", tmp_path / "copy")
    assert directory_hashes(copy) == directory_hashes(plain.out)


def test_a_look_before_the_run(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(store, "s3://bucket/in", "s3://bucket/look", "--dry_run") == 0
    assert "5 images" in capsys.readouterr().out
    assert not store.keys("look")


@pytest.mark.slow
def test_keys_are_nowhere_to_be_read(store: Store, tmp_path: Path) -> None:
    """Not even where everything is told: by worker processes, and of a run that fails."""
    store.client.put_object(Bucket="bucket", Key="broken/a.jpg", Body=picture(1)[:60])
    store.client.put_object(Bucket="bucket", Key="broken/b.jpg", Body=picture(2))
    for number, (source, more, code) in enumerate(
        [
            ("s3://bucket/in", ["--direct_num_workers=2", "--verbose"], 0),
            ("s3://bucket/broken", [IN_MEMORY, "--max_failed_fraction=1"], 0),
            ("s3://bucket/broken", [IN_MEMORY, "--max_failed_fraction=0", "--verbose"], 1),
            ("s3://bucket/none", [IN_MEMORY, "--verbose"], 2),
            ("s3://nowhere/in", [IN_MEMORY, "--verbose"], 2),
        ]
    ):
        given = [f"--input={source}", f"--output_dir=s3://bucket/secret/{number}"]
        done = subprocess.run(
            [sys.executable, "-m", "beam_export", *given, *more, *store.flags],
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        assert done.returncode == code, done.stderr
        assert store.secret not in done.stdout + done.stderr
    folder = store.download("secret", tmp_path / "copy")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if store.secret.encode() in path.read_bytes()] == []


def test_an_export_on_s3_is_opened_and_shown(
    store: Store, plain: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(plain.out.rglob("*.*")):
        key = f"shown/{path.relative_to(plain.out).as_posix()}"
        store.client.put_object(Bucket="bucket", Key=key, Body=path.read_bytes())
    assert cli.main(["report", "s3://bucket/shown", *store.flags]) == 0
    assert "s3://bucket/shown/_meta/report.html: 5 images" in capsys.readouterr().out
    assert "shown/_meta/report.html" in store.keys("shown/")
    assert not store.keys("shown/_tmp")
    # The flags were given to Beam's file system, in this process.
    dataset = open_export("s3://bucket/shown")
    assert [one.id for one in dataset] == plain.ids
    assert dataset[3].image == plain.image(plain.rows[3])
