"""Masked pre-training as an objective: the backbone learns to draw the hidden parts of pictures (He et al. 2022)."""

from torch import Tensor, nn

from vitpose.data.batch import Batch
from vitpose.models.mae import MaskedAutoencoder, MaskedSpec, sine_positions
from vitpose.models.pixels import normalize
from vitpose.models.pose import VitPose
from vitpose.training.config import MaskedConfig
from vitpose.training.supervised import Logs


class Masked(nn.Module):
    """Batch of crops to reconstruction loss; labels are not looked at."""

    def __init__(self, model: VitPose, config: MaskedConfig, *, fresh: bool) -> None:
        """Put a decoder behind the backbone of ``model``.

        Args:
            model: the pose model whose backbone is trained; its heads are left as they are.
            config: mask and decoder.
            fresh: the backbone has random weights: start its positions from sines and cosines, held fixed.
        """
        super().__init__()
        if fresh:
            positions = model.backbone.pos_embed
            positions.data.copy_(sine_positions(positions.shape[2], model.backbone.grid))
        model.backbone.pos_embed.requires_grad = False
        self.autoencoder = MaskedAutoencoder(
            model.backbone,
            MaskedSpec(
                mask_ratio=config.ratio,
                width=config.decoder_width,
                depth=config.decoder_depth,
                heads=config.decoder_heads,
                norm_targets=config.norm_pixels,
            ),
        )
        # In a tuple, so that the heads do not become part of what is trained and the backbone does not appear twice.
        self._kept = (model,)

    @property
    def model(self) -> VitPose:
        """The pose model whose backbone is trained."""
        return self._kept[0]

    def forward(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Return the mean squared error over hidden patches."""
        return self.autoencoder(normalize(batch.crops)).loss, {}
