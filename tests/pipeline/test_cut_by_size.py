"""Exports with `--max_tar_bytes`: tars are as large as planned, and never larger than asked."""

from __future__ import annotations

from pathlib import Path

from support.exports import check_export, make_images
from support.runs import run_export


def test_copied_tars_are_as_large_as_planned(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 20)
    (folder / "img00000.txt").write_text("a caption")
    most = 6000
    export = run_export(
        folder, tmp_path / "out", encode="never", images_per_tar=6, max_tar_bytes=most
    )
    tars = [shard.tar.stat().st_size for shard in export.shards]
    assert sum(export.sizes) == 20
    assert max(tars) <= most
    assert max(export.sizes) <= 6
    # Greedy: the first sample of a shard would not have fitted into the one before.
    for shard, size, following in zip(export.shards, tars, export.shards[1:], strict=False):
        key = following.rows[0]["member_name"].rpartition(".")[0]
        members = [d for n, d in following.members.items() if n.rpartition(".")[0] == key]
        more = sum(512 + len(data) + -len(data) % 512 for data in members)
        assert len(shard.rows) == 6 or size + more > most
    assert export.manifest["options"]["max_tar_bytes"] == most


def test_the_limit_is_kept_with_sizes_too(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 9)
    export = run_export(folder, tmp_path / "out", images_per_tar=3, max_tar_bytes=10**6, limit=7)
    assert export.sizes == [3, 3, 1]
    check_export(export.out, 3, "--samples", "7")
