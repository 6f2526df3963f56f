"""`beam_export.images.dali.graph`: jobs by the pipeline that serves them, and its inputs."""

from __future__ import annotations

import numpy as np

from beam_export.images.dali import graph
from beam_export.images.dali.routing import DaliImage
from beam_export.images.geometry import plan_resize

PLAIN = DaliImage(data=b"", ext="jpg", width=40, height=30, channels=3)
SMALL = plan_resize(width=30, height=40, size=8, mode="keep_ratio")
TURNED = PLAIN._replace(orientation=6, plan=SMALL)


def test_jobs_of_one_kind_share_a_pipeline() -> None:
    assert graph.graph_kind(PLAIN) == graph.graph_kind(PLAIN._replace(width=7, orientation=3))
    kinds = {
        graph.graph_kind(job)
        for job in (PLAIN, PLAIN._replace(channels=1), TURNED, PLAIN._replace(plan=SMALL))
    }
    assert len(kinds) == 4


def test_an_image_is_turned_before_its_rows_are_resized() -> None:
    kind = graph.graph_kind(TURNED)
    found = graph.pipe_arguments(kind, [TURNED, TURNED])
    assert {name: len(arrays) for name, arrays in found.items()} == dict.fromkeys(found, 2)
    # Widths are scaled first: of the turned image, whose height is the width as stored.
    np.testing.assert_array_equal(found["widened"][0], [SMALL.scaled_width, 40])
    np.testing.assert_array_equal(found["scaled"][0], [SMALL.scaled_height, SMALL.scaled_width])
    np.testing.assert_array_equal(found["shape"][0], [SMALL.height, SMALL.width])


def test_an_image_that_is_not_resized_is_flipped_alone() -> None:
    upside_down = PLAIN._replace(orientation=3)
    found = graph.pipe_arguments(graph.graph_kind(upside_down), [PLAIN, upside_down])
    assert [int(one) for one in found["flip"]] == [0, 1]
    assert [int(one) for one in found["flop"]] == [0, 1]
    assert set(found) == {"flip", "flop"}
