"""Starts an emulator, prints its URL, and serves until it is interrupted."""

from .server import main

main()
