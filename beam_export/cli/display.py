"""The progress bar of a run, and the summary that is printed at its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TextIO

import tqdm

from beam_export.text import shown, size

__all__ = ["CARD_KEPT", "Found", "Progress", "plan", "summary"]

#: Line of the summary where the dataset card was not written.
CARD_KEPT = "  README.md is not this tool's, or was edited since: it was kept as it is"
#: Seconds between two lines of progress where stderr is no terminal.
_LINE_EVERY = 10.0


class Found(NamedTuple):
    """What a run has found of earlier runs in the output.

    Attributes:
        kept_shards: shards that were finished, and kept.
        mended_shards: shards that were there, and written anew.
        mended_files: other files that were written anew, where all shards were kept.
    """

    kept_shards: int = 0
    mended_shards: int = 0
    mended_files: int = 0


_COMPLETE = (
    "the export is complete already, and nothing was written (Parquet files, tables and manifest "
    "fit their digests, tars their sizes; beam-export verify reads the tars too):"
)


class Progress:
    """Shows the progress of a run: a bar on a terminal, else a line every ten seconds.

    Attributes:
        found: what the run has found of earlier runs.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        self._stream = stream
        self._started = time.monotonic()
        self._writing_since = self._started
        self._last_line = self._started
        self._done = self._bytes = self._planned = 0
        self.found = Found()
        self._known = True
        self._bar: tqdm.tqdm | None = None
        self._draws = stream.isatty()
        if self._draws:
            self._open_bar("starting", None)

    def _open_bar(self, title: str, total: int | None) -> None:
        self._close_bar()
        self._bar = tqdm.tqdm(
            desc=title,
            total=total,
            unit=" images",
            file=self._stream,
            dynamic_ncols=True,
            leave=False,
            mininterval=0.2,
        )

    def _close_bar(self) -> None:
        if self._bar is not None:
            # A short run may end before the bar is drawn a second time.
            self._bar.refresh()
            self._bar.close()
            self._bar = None

    def expect(self, images: int | None, work: str) -> None:
        """Starts a new phase.

        Args:
            images: number of images in it; None if unknown.
            work: title of the phase: `writing`.
        """
        self._planned = images or 0
        self._known = images is not None
        # After a lost worker the run is planned again, and finished shards are reported again.
        self._done = 0
        self._writing_since = time.monotonic()
        if self._draws:
            self._open_bar(work, images)

    def receive(self, counts: Mapping[str, int]) -> None:
        """Takes the counts that workers report (`progress.report`)."""
        if "planned" in counts:
            self.expect(counts["planned"], "writing")
            if not self._draws:
                self._line(f"planned {self._planned} images in {counts['planned_shards']} shards")
        if "shard" in counts:
            self._shard(counts)
        self.found = Found(*(have + counts.get(n, 0) for n, have in self.found._asdict().items()))
        if "listed" in counts and self._bar is not None:
            self._bar.set_description_str("listing", refresh=False)
            self._bar.update(counts["listed"])
        elif "finished" not in counts:
            self._advance(counts)

    def _advance(self, counts: Mapping[str, int]) -> None:
        done = sum(counts.get(name, 0) for name in ("copied", "encoded", "failed", "kept"))
        self._done += done
        self._bytes += counts.get("bytes", 0)
        now = time.monotonic()
        rate = self._bytes / max(1e-9, now - self._writing_since)
        if self._bar is not None:
            self._bar.set_postfix_str(f"{size(rate)}/s", refresh=False)
            self._bar.update(done)
        elif done and now - self._last_line >= _LINE_EVERY:
            pace = self._done / max(1e-9, now - self._writing_since)
            left = max(0, self._planned - self._done) / max(1e-9, pace)
            text = f"{self._done} of {self._planned} images, {pace:.0f} images/s, {size(rate)}/s, "
            if self._known:
                self._line(f"{text}about {left:.0f} s left")
            else:
                self._line(f"{self._done} images, {pace:.0f} images/s")

    def _shard(self, counts: Mapping[str, Any]) -> None:
        self._line(
            f"shard {counts['shard']:06d}: {counts['samples']} images, {size(counts['size'])}"
            + (", finished before" if counts["found"] else "")
        )

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def say(self, sentence: str) -> None:
        """Prints a message above the bar."""
        self._line(shown(f"beam-export: {sentence}"))

    def close(self) -> None:
        """Removes the bar."""
        self._close_bar()


def summary(
    manifest: Mapping[str, Any],
    output_dir: str,
    seconds: float,
    *,
    found: Found = Found(),  # noqa: B008 (a tuple)
    untouched: bool = False,
) -> str:
    """Returns the summary of a run, some lines for people.

    Args:
        manifest: of the output, as parsed JSON.
        output_dir: the output directory.
        seconds: duration of the run.
        found: what the run has found of earlier runs.
        untouched: whether all files were there already, and none was written.
    """
    totals = manifest["totals"]
    bytes_ = totals["bytes"] + totals["parquet_bytes"]
    lines = [
        f"{totals['written']} images in {totals['shards']} shards, {size(bytes_)}, "
        f"in {seconds:.1f} s",
        f"  copied {totals['copied']}, encoded {totals['encoded']}, failed {totals['failed']}",
    ]
    if untouched:
        lines.insert(0, _COMPLETE)
    elif found.kept_shards:
        lines.append(f"  {found.kept_shards} of the shards stood finished before, and were kept")
    if found.mended_shards:
        lines.append(
            f"  written anew, as damaged, incomplete or older than their images: "
            f"{found.mended_shards} of the shards"
        )
    if found.mended_files:
        lines.append(
            f"  written anew, as missing or damaged: {found.mended_files} of the files beside them"
        )
    steps = {step["step"]: step for step in manifest["steps"]}
    if other := steps.get("encode", {}).get("other_colors", 0):
        lines.append(
            f"  {other} PNGs have colours that are not converted (a cICP chunk: PQ, HLG or unknown "
            "codes), and were encoded as if in sRGB"
        )
    lines.extend(_damage_lines(steps.get("encode", {}), steps.get("probe", {})))
    skipped: Mapping[str, int] = steps.get("read", {}).get("skipped", {})
    if totals["filtered"]:
        lines.append(f"  left out {totals['filtered']} by --ids, --exclude_ids or --filter")
    if totals["duplicate"] or totals["limited"]:
        lines.append(
            f"  left out {totals['duplicate']} duplicates, {totals['limited']} beyond --limit"
        )
    if skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))
        lines.append(f"  passed by files that are no images: {kinds}")
    folder = output_dir.rstrip("/")
    failures = [one["name"] for one in manifest["tables"] if "failures" in one["name"]]
    lines.extend(f"  each failure with its reason: {folder}/{name}" for name in failures)
    lines.append(f"  {folder}/images-{manifest['hash']}-manifest.json")
    return "\n".join(map(shown, lines))


def _damage_lines(encode: Mapping[str, Any], probe: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines about damaged JPEGs; none if there were none."""
    if kept := encode.get("damaged", 0):
        yield f"  {kept} of the encoded JPEGs are damaged, and were kept as far as they decode"
    failed, copied = encode.get("failed_damaged", 0), encode.get("copied", 0)
    if (kept or failed) and copied and probe.get("probe") != "full":
        failures = f"{failed} JPEGs failed as damaged; " if failed else ""
        yield f"  {failures}the {copied} copied ones were not decoded: --probe=full does that too"


def plan(facts: Mapping[str, int]) -> str:
    """Returns the message of `--dry_run`: the planned shards and images, in one line.

    Args:
        facts: counts as `pipeline.dry_run` reports them.
    """
    filtered = facts.get("filtered", 0)
    left_out = f"{filtered} left out by --ids, --exclude_ids or --filter; " if filtered else ""
    return (
        f"would write {facts['planned']} images in {facts['planned_shards']} shards: "
        f"{facts['copied']} copied ({size(facts['copied_bytes'])}), {facts['encoded']} encoded "
        f"(from {size(facts['encoded_bytes'])}), judged by their suffix; {left_out}nothing was "
        "written"
    )
