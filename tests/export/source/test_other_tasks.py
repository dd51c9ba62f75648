"""Networks that find objects, or give masks of queries, are told so before their maps pass for scores."""

from __future__ import annotations

import pytest

from edge_vseg.errors import HeadError
from edge_vseg.export.source.output_choice import Output, choose_output

SIZE_HW = (512, 1024)
CELLS = 64 * 128 + 32 * 64 + 16 * 32


def outputs(**shapes: tuple[int, ...]) -> list[Output]:
    return [Output(name=name.replace("_in_", "."), shape=shape) for name, shape in shapes.items()]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            {"class_queries_logits": (1, 100, 20), "masks_queries_logits": (1, 100, 128, 256)},
            r"'masks_queries_logits' \(1, 100, 128, 256\) holds a mask for each of 100 queries.*torch.einsum",
        ),
        ({"logits": (1, 50, 20), "pred_masks": (1, 50, 128, 256)}, "a mask for each of 50 queries"),
        ({"output0": (1, 116, CELLS), "output1": (1, 32, 128, 256)}, r"boxes in 'output0' .*YOLO-seg and Mask R-CNN"),
        ({"output0": (1, 3 * CELLS, 117), "output1": (1, 32, 128, 256)}, "finds objects one by one"),
        ({"output0": (1, 300, 38), "output1": (1, 32, 128, 256)}, "finds objects one by one"),
        ({"output0": (1, 116, CELLS), "output1": (1, 128, 256, 32)}, "finds objects one by one"),
        ({"a_in_boxes": (7, 4), "a_in_labels": (7,), "a_in_masks": (7, 1, 512, 1024)}, "boxes, and a mask for each"),
    ],
    ids=["Mask2Former", "DETR", "YOLOv8", "YOLOv5", "YOLO without double boxes", "YOLO in NHWC", "Mask R-CNN"],
)
def test_no_scores_of_classes(shapes, message):
    with pytest.raises(HeadError, match=message):
        choose_output(outputs(**shapes), "", None, SIZE_HW)
    asked = list(outputs(**shapes))[-1].name
    assert choose_output(outputs(**shapes), asked, None, SIZE_HW).name == asked


@pytest.mark.parametrize(
    ("shapes", "classes"),
    [
        ({"logits": (1, 19, 128, 256), "regions": (1, 19, 64)}, None),
        ({"scores": (1, 19, 128, 256), "regions": (1, 19, 64)}, 19),
    ],
    ids=["the name says so", "the classes say so"],
)
def test_scores_beside_lists_of_features(shapes, classes):
    chosen = choose_output(outputs(**shapes), "", classes, SIZE_HW)
    assert chosen.name == next(iter(shapes))
