"""The one line that is shown of a failed run, from texts that engines have given."""

from __future__ import annotations

import pytest

from beam_export.cli import main
from beam_export.cli.causes import cause_of

PIPELINE = "RuntimeError: Pipeline BeamApp-1130015146-3f6b8647_6615-9396 failed in state FAILED: "
FRAMES = """
\tat org.apache.beam.sdk.fn.stream.Observer.onNext(Observer.java:46)
\tat org.apache.spark.rdd.RDD.$anonfun$mapPartitions$2$adapted(RDD.scala:855)
\tat java.base/java.lang.Thread.run(Thread.java:840)
"""
#: All that Spark 3.5.0 says of an export whose worker was killed, but for most of the frames.
SPARK = (
    f"{PIPELINE}org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage "
    "179.0 failed 4 times, most recent failure: Lost task 0.3 in stage 179.0 (TID 269) (192.0.2.2 "
    f"executor driver): {{cause}}{FRAMES}\nDriver stacktrace:\n"
)
CANCELLED = (
    "CANCELLED: call already cancelled. Use ServerCallStreamObserver.setOnCancelHandler() to "
    "disable this exception"
)
GRPC = "org.apache.beam.vendor.grpc.v1p69p0.io.grpc.StatusRuntimeException: "
SPARK_LOSS = SPARK.format(cause=f"{GRPC}{CANCELLED}")
#: That of Flink 1.19.
FLINK_LOSS = f"{PIPELINE}{GRPC}{GRPC}{CANCELLED}\n"
KEY_ERROR = "KeyError: \"boom [while running 'Export/Export/WriteManifest/Finish']\""
#: An error of Python's, of Spark and of Flink alike.
PYTHON = f"""{PIPELINE}java.lang.RuntimeException: Error received from SDK harness for \
instruction 40: Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in apache_beam.runners.common.DoFnRunner.process
  File "beam_export/pipeline/write_manifest.py", line 17, in process
    yield write_manifest(
          ^^^^^^^^^^^^^^^
{KEY_ERROR}
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (SPARK_LOSS, f"StatusRuntimeException: {CANCELLED}"),
        (FLINK_LOSS, f"StatusRuntimeException: {CANCELLED}"),
        (
            SPARK.format(cause="java.io.IOException: No space left on device"),
            "IOException: No space left on device",
        ),
        (
            f"java.lang.RuntimeException: a.B: no{FRAMES}Caused by: java.io.IOException: no\n"
            "\tat a.B.c(B.java:3)\n\t... 3 more\n",
            "IOException: no",
        ),
        (PYTHON, KEY_ERROR),
        (PYTHON + FRAMES, KEY_ERROR),
        # Of Python alone: as it stands.
        ("ValueError: at 3 (of 4)\n", "ValueError: at 3 (of 4)"),
        ("pyarrow.lib.ArrowInvalid: no\n", "pyarrow.lib.ArrowInvalid: no"),
        ("", ""),
    ],
)
def test_the_cause_without_what_engines_put_around_it(text: str, cause: str) -> None:
    assert cause_of(text) == cause


@pytest.mark.parametrize("text", [SPARK_LOSS, FLINK_LOSS])
def test_a_worker_that_an_engine_in_java_has_lost(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main._explain(RuntimeError(text.removeprefix("RuntimeError: ")), verbose=False) == 1
    said = capsys.readouterr().err
    assert said.startswith("beam-export: the run failed: a worker process was killed")
    assert said.count("\n") == 1
