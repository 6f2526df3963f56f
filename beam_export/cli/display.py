"""The progress bar of a run, and the summary that is printed at its end."""

from __future__ import annotations

import os
import sys
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

import tqdm

from beam_export.cli.joins import join_lines
from beam_export.cli.read_notes import note_lines
from beam_export.cli.split_lines import key_lines, split_lines
from beam_export.pipeline.progress import EMPTY_SHARD
from beam_export.planning.empty_plan import describe_skipped
from beam_export.planning.guess import guess_seconds, in_words
from beam_export.shards.undecodable import TXT, say_undecodable
from beam_export.shards.uniformity import describe_ensured, describe_lacks, member_notes
from beam_export.shards.writer import MENDED, TEXTS
from beam_export.text import quantity, shown, size

__all__ = ["CARD_KEPT", "INDEX_KEPT", "EarlierShards", "Progress", "plan", "summary"]

#: Line of the summary where the dataset card was not written.
CARD_KEPT = "  README.md is not this tool's, or was edited since: it was kept as it is"
#: Line of a summary for an index that was not written.
INDEX_KEPT = "  {} is not this tool's, or was edited since: it was kept as it is"
#: Seconds between two lines of progress where stderr is no terminal, and before a stage's first.
_LINE_EVERY = 10.0
_FIRST_LINE = 1.0
#: What workers count before anything is written, and the name of the stage.
_STAGES = {"listed": "listing", "ranked": "planning"}
_STARTING = "starting"
#: Columns of a terminal below which a bar has no room beside its numbers, and of one not known.
_NARROW, _USUAL = 72, 80


class EarlierShards(NamedTuple):
    """Numbers of shards and files of earlier runs that this run has kept or written anew.

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
    """Shows the progress of a run: a bar on a terminal with a width, else a line each ten seconds.

    Stages are called listing, planning and writing.

    Attributes:
        found: what the run has found of earlier runs.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        self._stream = stream
        self._started = time.monotonic()
        self._writing_since = self._started
        self._last_line, self._has_said = self._started, False
        self._stage, self._work = "", "writing"
        self._done = self._bytes = self._planned = 0
        self.found = EarlierShards()
        self._known, self._said_empty = True, False
        self._bar: tqdm.tqdm | None = None
        self._draws = _columns(stream) > 0
        if self._draws:
            self._open_bar(_STARTING, None)

    def _open_bar(self, title: str, total: int | None) -> None:
        self._close_bar()
        self._bar = tqdm.tqdm(
            desc=title,
            total=total,
            unit=" images",
            bar_format=_bar_format(title, total, _columns(self._stream)),
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
        self._planned, self._work = images or 0, work
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
                shards = quantity(counts["planned_shards"], "shard")
                self._line(f"planned {quantity(self._planned, 'image')} in {shards}")
        if "shard" in counts:
            self._shard(counts)
        if "empty_shard" in counts and not self._said_empty:
            # Of many, the end names the reasons.
            self._said_empty = True
            self.say(EMPTY_SHARD % (counts["empty_shard"], counts["why"]))
        self.found = EarlierShards(
            *(have + counts.get(n, 0) for n, have in self.found._asdict().items())
        )
        for name, stage in _STAGES.items():
            if name in counts:
                self._count(stage, counts[name])
                return
        if "finished" not in counts:
            self._advance(counts)

    def _count(self, stage: str, images: int) -> None:
        """Counts images of a stage before the writing, of which nobody knows how many there are."""
        if self._planned:
            # A word that was late.
            return
        if stage != self._stage:
            self._stage, self._done = stage, 0
            # What a stage does at once needs no line.
            soon = time.monotonic() - _LINE_EVERY + _FIRST_LINE
            self._last_line = max(self._last_line, soon) if self._has_said else soon
            if self._draws:
                self._open_bar(stage, None)
        self._done += images
        if self._bar is not None:
            self._bar.update(images)
            # A word is of thousands of images, and it may be long until the next one.
            self._bar.refresh()
        elif self._is_time():
            self._line(f"{stage}: {quantity(self._done, 'image')}")

    def _is_time(self) -> bool:
        """Returns whether the next line of progress may come, where nothing is drawn."""
        return time.monotonic() - self._last_line >= _LINE_EVERY

    def _advance(self, counts: Mapping[str, int]) -> None:
        done = sum(counts.get(name, 0) for name in ("copied", "encoded", "failed", "kept"))
        self._done += done
        self._bytes += counts.get("bytes", 0)
        took = max(1e-9, time.monotonic() - self._writing_since)
        # Work that writes nothing reports no bytes.
        rate = f"{size(self._bytes / took)}/s" if self._bytes else ""
        if self._bar is not None:
            self._bar.set_postfix_str(rate, refresh=False)
            self._bar.update(done)
        elif done and self._is_time():
            pace = self._done / took
            left = max(0, self._planned - self._done) / max(1e-9, pace)
            if self._known:
                self._line(
                    f"{self._work}: {self._done} of {quantity(self._planned, 'image')}, "
                    f"{pace:.0f} images/s, "
                    + (f"{rate}, " if rate else "")
                    + f"about {left:.0f} s left"
                )
            else:
                self._line(f"{quantity(self._done, 'image')}, {pace:.0f} images/s")

    def _shard(self, counts: Mapping[str, Any]) -> None:
        self._line(
            f"shard {counts['shard']:06d}: {quantity(counts['samples'], 'image')}, "
            f"{size(counts['size'])}" + (", finished before" if counts["found"] else "")
        )

    def _line(self, text: str) -> None:
        self._last_line, self._has_said = time.monotonic(), True
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


def _columns(stream: TextIO) -> int:
    """Returns how many columns a terminal has; 0 if it is none.

    Those of scripts and containers may say that they have no columns: a bar there is nothing.
    """
    if not stream.isatty():
        return 0
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except OSError:
        # No file: whoever made it knows that it is a terminal.
        return _USUAL


def _bar_format(title: str, total: int | None, columns: int) -> str | None:
    """Returns what a bar shows, as tqdm writes it; None for all that it can."""
    if title == _STARTING:
        # Nothing is counted yet.
        return "{desc} ..."
    if columns >= _NARROW:
        return None
    return "{desc}: {n_fmt}" + ("/{total_fmt}, {remaining} left" if total else " images")


def summary(
    manifest: Mapping[str, Any],
    output_dir: str,
    seconds: float,
    *,
    found: EarlierShards = EarlierShards(),  # noqa: B008 (a tuple)
    untouched: bool = False,
    failures: Sequence[str] = (),
    facts: Mapping[str, Any] = types.MappingProxyType({}),
) -> str:
    """Returns the summary of a run, some lines for people.

    Args:
        manifest: of the output, as parsed JSON.
        output_dir: the output directory.
        seconds: duration of the run.
        found: what the run has found of earlier runs.
        untouched: whether all files were there already, and none was written.
        failures: how many failed for each reason, with an example (`shards.reasons`).
        facts: of the run, as parsed JSON.
    """
    totals = manifest["totals"]
    bytes_ = totals["bytes"] + totals["parquet_bytes"]
    lines = [
        f"{quantity(totals['written'], 'image')} in {quantity(totals['shards'], 'shard')}, "
        f"{size(bytes_)}, "
        f"in {seconds:.1f} s",
        f"  copied {totals['copied']}, encoded {totals['encoded']}, failed {totals['failed']}",
    ]
    if untouched:
        lines.insert(0, _COMPLETE)
    lines.extend(_earlier_lines(found, untouched))
    splits = manifest.get("splits", ())
    lines.extend(split_lines((one["name"], one["samples"], one["shards"]) for one in splits))
    # Empty ones are in neither.
    lines.extend(key_lines((one["name"], one["key"]) for one in splits if one["shards"]))
    steps = {step["step"]: step for step in manifest["steps"]}
    encode = steps.get("encode", {})
    lines.extend(_color_lines(encode))
    alike = (*describe_ensured(encode), *describe_lacks(encode, facts))
    lines.extend(f"  {one}" for one in alike)
    lines.extend(_damage_lines(encode, steps.get("probe", {})))
    lines.extend(_text_lines(encode))
    lines.extend(note_lines({**facts, **steps.get("read", {})}))
    lines.extend(f"  {one}" for one in member_notes(encode, facts))
    skipped: Mapping[str, int] = steps.get("read", {}).get("skipped", {})
    if totals["filtered"]:
        lines.append(f"  left out {totals['filtered']} by --ids, --exclude_ids or --filter")
    lines.extend(join_lines(manifest["steps"]))
    lines.extend(_left_out_lines(totals))
    if skipped:
        lines.append(f"  passed by: {describe_skipped(skipped)}")
    folder = output_dir.rstrip("/")
    lines.extend(f"  failed: {reason}" for reason in failures)
    tables = [one["name"] for one in manifest["tables"] if "failures" in one["name"]]
    lines.extend(f"  each failure with its reason: {folder}/{name}" for name in tables)
    lines.append(f"  {folder}/images-{manifest['hash']}-manifest.json")
    return "\n".join(map(shown, lines))


def _left_out_lines(counts: Mapping[str, Any]) -> Iterator[str]:
    """Yields the line about equal ids and samples behind the limit; none if there are none."""
    doubled, limited = counts.get("duplicate", 0), counts.get("limited", 0)
    if doubled or limited:
        yield f"  left out {quantity(doubled, 'duplicate')}, {limited} beyond --limit"


def _earlier_lines(found: EarlierShards, untouched: bool) -> Iterator[str]:
    """Yields the lines about what stood in the output before."""
    if found.kept_shards and not untouched:
        yield f"  {found.kept_shards} of the shards stood finished before, and were kept"
    if found.mended_shards:
        yield (
            f"  written anew, as damaged, incomplete or older than their images: "
            f"{found.mended_shards} of the shards"
        )
    if found.mended_files:
        yield (
            f"  written anew, as missing or damaged: {found.mended_files} of the files beside them"
        )


def _color_lines(encode: Mapping[str, Any]) -> Iterator[str]:
    if other := encode.get("other_colors", 0):
        yield (
            f"  {quantity(other, 'PNG has', 'PNGs have')} colours that are not converted (a cICP "
            "chunk: PQ, HLG or unknown codes), which were encoded as if in sRGB"
        )


def _text_lines(encode: Mapping[str, Any]) -> Iterator[str]:
    if texts := encode.get(TEXTS, 0):
        yield f"  {say_undecodable(TXT, quantity(texts, 'sample'))}"
    if mended := encode.get(MENDED, 0):
        have = quantity(mended, "sample has", "samples have")
        yield (
            f"  {have} text that is no Unicode (names of files that are not UTF-8, lone surrogates "
            "in JSON): U+FFFD is stored in its place"
        )


def _damage_lines(encode: Mapping[str, Any], probe: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines about damaged JPEGs; none if there were none."""
    if kept := encode.get("damaged", 0):
        verbs = ("is", "was", "it decodes") if kept == 1 else ("are", "were", "they decode")
        yield "  {} of the encoded JPEGs {} damaged, and {} kept as far as {}".format(kept, *verbs)
    failed, copied = encode.get("failed_damaged", 0), encode.get("copied", 0)
    if (kept or failed) and copied and probe.get("probe") != "full":
        failures = f"{quantity(failed, 'JPEG')} failed as damaged; " if failed else ""
        yield f"  {failures}the {copied} copied ones were not decoded: --probe=full does that too"


def plan(facts: Mapping[str, Any], *, resizes: bool = False, cores: int = 1) -> str:
    """Returns the message of `--dry_run`: what is planned, a guess of the time, notes.

    Args:
        facts: counts as `pipeline.dry_run` reports them.
        resizes: whether images are resized.
        cores: of this machine, that an export would use.
    """
    filtered = facts.get("filtered", 0)
    left_out = f"{filtered} left out by --ids, --exclude_ids or --filter; " if filtered else ""
    line = (
        f"would write {quantity(facts['planned'], 'image')} in "
        f"{quantity(facts['planned_shards'], 'shard')}: "
        f"{facts['copied']} copied ({size(facts['copied_bytes'])}), {facts['encoded']} encoded "
        f"(from {size(facts['encoded_bytes'])}), judged by their suffix; {left_out}nothing was "
        "written"
    )
    seconds = guess_seconds(
        (facts["copied"], facts["copied_bytes"]),
        (facts["encoded"], facts["encoded_bytes"]),
        resizes=resizes,
        cores=cores,
    )
    guess = (
        f"  it may take {in_words(seconds)} on {quantity(cores, 'core')} like those of our "
        "benchmarks, if the files come as fast: a guess by their number and size"
    )
    return "\n".join([line, *map(shown, _plan_notes(facts)), guess])


def _plan_notes(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of `--dry_run` on what was found of the input."""
    yield from split_lines(facts.get("splits", ()), facts.get("more_splits", 0))
    yield from key_lines(facts.get("split_keys", ()))
    yield from note_lines(facts.get("read", {}))
    yield from join_lines(facts.get("lookups", ()))
    yield from _left_out_lines(facts)
    yield from (f"  failed already: {reason}" for reason in facts.get("failures", ()))
    if lacking := facts.get("lacking_heif", 0):
        yield (
            f"  {quantity(lacking, 'image looks', 'images look')} like HEIC or HEIF, which takes "
            "an extra to read: pip install 'beam_export[heif]', where the workers run"
        )
    passed_by = dict(facts.get("skipped", {}))
    if more := facts.get("more_skipped", 0):
        passed_by["of other kinds"] = more
    if passed_by:
        yield f"  passed by: {describe_skipped(passed_by)}"
