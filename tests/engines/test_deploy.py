import pytest
import torch

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.engines.deploy import DeployModel
from vitpose.models.pose import create_model
from vitpose.models.variants import BackboneSpec, HeadSpec, ModelSpec

SPEC = ModelSpec(
    name="tiny",
    backbone=BackboneSpec(width=32, depth=1, heads=2),
    heads=(HeadSpec(dataset="coco", skeleton="coco17", keypoints=17),),
    input_size=Size(64, 48),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_uint8_in_float32_out_whatever_the_weights_are(dtype):
    deploy = DeployModel(create_model(SPEC).eval().to(dtype))
    with torch.inference_mode():
        heatmaps = deploy(torch.zeros(2, 64, 48, 3, dtype=torch.uint8))
    assert heatmaps.dtype == torch.float32
    assert heatmaps.shape == (2, 17, 16, 12)


def test_the_graph_can_be_exported_with_a_dynamic_batch():
    deploy = DeployModel(create_model(SPEC, seed=0).eval())
    example = torch.randint(0, 256, (2, 64, 48, 3), dtype=torch.uint8)
    program = torch.export.export(deploy, (example,), dynamic_shapes=({0: torch.export.Dim("people")},))
    crops = torch.randint(0, 256, (5, 64, 48, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(program.module()(crops), deploy(crops), atol=1e-6)


def test_unknown_head_is_refused():
    with pytest.raises(UsageError, match="no head for dataset"):
        DeployModel(create_model(SPEC), "mpii")
