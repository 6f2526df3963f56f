"""Builds the images of a Dockerfile without Docker, as root: layers, and processes that see them.

A layer is a folder that overlayfs lays over those below, so it holds what its instruction has
changed, and its size is that of the image's layer. Stand-ins for the images at the bottom are made
by `support.base_images`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .dockerfiles import Instruction, Stage, read_stages, substituted

__all__ = ["Builder", "Image", "Layer"]

ENTER = Path(__file__).with_name("enter_root.sh")
#: As in Docker's images of Python.
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Variables of this machine that programs need to get at a network; no part of an image.
LENT = re.compile(
    r"PIP_(?!FIND_LINKS).*|(https?|no)_proxy|(SSL_CERT|REQUESTS_CA)_\w+", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Layer:
    """What one instruction has changed.

    Attributes:
        says: the instruction.
        folder: the changes.
        seconds: how long making it took.
    """

    says: str
    folder: Path
    seconds: float

    def size(self) -> int:
        """Returns the bytes of its files."""
        return sum(path.lstat().st_size for path in self.folder.rglob("*") if not path.is_dir())


@dataclasses.dataclass(frozen=True)
class Image:
    """An image: its layers from the lowest up, and what processes in it start with."""

    layers: tuple[Layer, ...] = ()
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict)
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()

    @contextlib.contextmanager
    def container(self) -> Iterator[Container]:
        """Gives a container of it; what processes write there is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="container-") as folder:
            yield Container(self, Path(folder))


class Container:
    """A place above an image where processes run, each with mounts of its own.

    Attributes:
        upper: what they have written.
    """

    def __init__(self, image: Image, folder: Path) -> None:
        self._image, self._folder = image, folder
        self.upper = folder / "upper"
        for name in ("upper", "work", "root"):
            (folder / name).mkdir(exist_ok=True)

    def start(
        self,
        *command: str,
        environ: Mapping[str, str] | None = None,
        folders: Mapping[Path, str] | None = None,
        offline: bool = True,
        **kwargs: object,
    ) -> subprocess.Popen[str]:
        """Starts a process; when it ends, or is killed, all that it has started ends too.

        Args:
            command: program and arguments.
            environ: variables beside those of the image.
            folders: folders of this machine, and where the process sees them.
            offline: whether it has a network of its own, in which there is nobody else.
            kwargs: of `subprocess.Popen`.
        """
        given = {"PATH": PATH, "HOME": "/root", **self._image.environ, **(environ or {})}
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        within = [f"{name}={value}" for name, value in given.items()]
        go = ["sh", "-c", 'cd "$0" && exec "$@"', self._image.workdir, *command]
        return subprocess.Popen(
            [*apart, *(["--net"] if offline else []), ENTER, "/usr/bin/env", "-i", *within, *go],
            env=self._mounts(folders or {}, offline),
            text=True,
            **kwargs,  # type: ignore[call-overload]
        )

    def run(self, *command: str, timeout: float = 900, **kwargs: object) -> str:
        """Runs a command to its end, and returns what it has printed.

        Raises:
            RuntimeError: if it fails; with all that it has printed.
        """
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        with self.start(*command, **pipe, **kwargs) as process:
            try:
                said, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
        return said

    def _mounts(self, folders: Mapping[Path, str], offline: bool) -> dict[str, str]:
        return {
            "PATH": PATH,
            "LAYERS": ":".join(str(layer.folder) for layer in reversed(self._image.layers)),
            "UPPER": str(self.upper),
            "WORK": str(self._folder / "work"),
            "ROOT": str(self._folder / "root"),
            "FOLDERS": " ".join(f"{here}:{there}" for here, there in folders.items()),
            "OFFLINE": "yes" if offline else "",
        }


class Builder:
    """Builds stages of a Dockerfile, and keeps layers for the next time.

    Args:
        dockerfile: the text.
        context: the folder that COPY copies from.
        cache: where layers are kept.
        bases: what fills a folder with the root of an image, by the image's name without its tag.
    """

    def __init__(
        self,
        dockerfile: str,
        *,
        context: Path,
        cache: Path,
        bases: Mapping[str, Callable[[Path, str], None]],
    ) -> None:
        self._text, self._context, self._cache, self._bases = dockerfile, context, cache, bases
        cache.mkdir(parents=True, exist_ok=True)

    def build(self, target: str, **arguments: str) -> Image:
        """Returns the image of a stage.

        Args:
            target: its name.
            arguments: those of `--build-arg`.
        """
        stages = read_stages(self._text, arguments)
        return self._stage(stages[target], stages, arguments)

    def _stage(
        self, stage: Stage, stages: Mapping[str, Stage], arguments: Mapping[str, str]
    ) -> Image:
        if stage.base in stages:
            image = self._stage(stages[stage.base], stages, arguments)
        else:
            image = self._base(stage.base)
        variables: dict[str, str] = {}
        for instruction in stage.instructions:
            if instruction.name == "ARG":
                variables |= {name: arguments.get(name, v) for name, v in instruction.pairs()}
                continue
            known = {**variables, **image.environ}
            if instruction.name == "COPY":
                image = self._copied(image, instruction, stages, arguments)
            elif instruction.name == "RUN":
                image = self._ran(image, instruction, known)
            else:
                image = _noted(image, instruction, known)
        return image

    def _base(self, name: str) -> Image:
        repository, _, tag = name.partition(":")

        def fill(layer: Path) -> None:
            self._bases[repository](layer, tag)

        return self._with_layer(Image(), f"FROM {name}", fill)

    def _copied(
        self,
        image: Image,
        instruction: Instruction,
        stages: Mapping[str, Stage],
        arguments: Mapping[str, str],
    ) -> Image:
        words = instruction.text.split()
        roots = [self._context]
        if words[0].startswith("--from="):
            source = self._stage(stages[words.pop(0).partition("=")[2]], stages, arguments)
            roots = [layer.folder for layer in source.layers]
        *names, target = words
        found = [root / name.lstrip("/") for name in names for root in roots]
        found = [path for path in found if path.exists()]
        if len(found) < len(names):
            raise FileNotFoundError(f"COPY {instruction.text}: not all of it is there")

        def fill(layer: Path) -> None:
            place = layer / os.path.join(image.workdir, target).lstrip("/")
            for path in found:
                _copy(path, place / path.name if target.endswith("/") else place)

        return self._with_layer(image, f"COPY {instruction.text}", fill, _digest(found))

    def _ran(self, image: Image, instruction: Instruction, variables: Mapping[str, str]) -> Image:
        lent = {name: value for name, value in os.environ.items() if LENT.fullmatch(name)}

        def fill(layer: Path) -> None:
            with tempfile.TemporaryDirectory(dir=self._cache) as folder:
                container = Container(image, Path(folder))
                command = ("/bin/sh", "-c", instruction.text)
                container.run(*command, offline=False, environ={**lent, **variables})
                container.upper.rename(layer)

        says = f"RUN {substituted(instruction.text, variables)}"
        return self._with_layer(image, says, fill, f"{sorted(variables.items())}")

    def _with_layer(
        self, image: Image, says: str, fill: Callable[[Path], None], content: str = ""
    ) -> Image:
        """Returns an image with one layer more, which is made where it is not kept."""
        below = image.layers[-1].folder.name if image.layers else ""
        key = hashlib.sha256(f"{below} {image.workdir} {says} {content}".encode()).hexdigest()[:20]
        folder, seconds = self._cache / key, 0.0
        if not folder.exists():
            part = self._cache / f"{key}.part"
            shutil.rmtree(part, ignore_errors=True)
            begun = time.monotonic()
            fill(part)
            seconds = time.monotonic() - begun
            part.rename(folder)
        return dataclasses.replace(image, layers=(*image.layers, Layer(says, folder, seconds)))


def _noted(image: Image, instruction: Instruction, variables: Mapping[str, str]) -> Image:
    """Returns an image after an instruction that changes no file."""
    text = substituted(instruction.text, variables)
    if instruction.name == "ENV":
        pairs = instruction._replace(text=text).pairs()
        return dataclasses.replace(image, environ={**image.environ, **dict(pairs)})
    if instruction.name == "WORKDIR":
        return dataclasses.replace(image, workdir=text)
    return dataclasses.replace(image, entrypoint=tuple(instruction.argv()))


def _copy(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(path, place, symlinks=True, dirs_exist_ok=True, ignore=ignore)
    else:
        shutil.copy2(path, place)


def _digest(paths: list[Path]) -> str:
    """Returns a digest over names and bytes of files and of all that is in folders."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted([path, *path.rglob("*")] if path.is_dir() else [path]):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(path.parent)} {file.stat().st_mode} ".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
