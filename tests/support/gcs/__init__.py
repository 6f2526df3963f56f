"""An emulator of Google Cloud Storage, its own process on the loopback interface, for the tests.

It models what this package, Beam and `google-cloud-storage` ask of the JSON API, as
cloud.google.com/storage/docs/json_api describes it, and refuses everything else with 501: a test
never passes because a parameter was ignored. `python -m support.gcs` starts one by hand.
"""

from .control import Emulator

__all__ = ["Emulator"]
