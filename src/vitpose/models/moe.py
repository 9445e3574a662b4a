"""From ViTPose+ to a plain ViTPose: one dataset's expert folded into the shared weights.

The shared ``fc2`` gives the first channels of a feed-forward layer and the expert the last ones, so stacking their rows
gives a dense layer with the same output (exactly; only the order of additions in the matrix product may differ).
"""

from dataclasses import replace

import torch

from vitpose.models.pose import VitPose, build_from_state


def fold_expert(model: VitPose, dataset: str | None = None) -> VitPose:
    """Return a dense model with the expert and the head of one dataset only.

    Args:
        model: ViTPose+, or a dense model with several heads, of which one is kept.
        dataset: which; the first head if not given.

    Returns:
        a copy with one head; its heatmaps equal those of ``model(images, dataset)``.

    Raises:
        UsageError: the model has no head for that dataset.
    """
    head = model.spec.head(dataset)
    source = model.state_dict()
    state = {}
    for name, value in source.items():
        if name.startswith("heads."):
            if name.startswith(f"heads.{head.dataset}."):
                state[name] = value
        elif model.spec.backbone.experts and ".ffn.fc2." in name:
            part = source[name.replace(".fc2.", f".experts.{head.expert}.")]
            state[name] = torch.cat([value, part])
        elif ".ffn.experts." not in name:
            state[name] = value
    spec = replace(
        model.spec,
        name=f"{model.spec.name}-{head.dataset}",
        backbone=replace(model.spec.backbone, experts=0, expert_width=0),
        heads=(replace(head, expert=0),),
    )
    return build_from_state(spec, state, like=model)
