from dataclasses import replace

import pytest
import torch
from small_models import BACKBONE, pictures, scatter, small_model, small_spec

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.models.attention import alternate
from vitpose.models.mae import (
    MaskedAutoencoder,
    MaskedSpec,
    create_masked_autoencoder,
    masked_spec_for,
    sine_positions,
)
from vitpose.models.variants import BACKBONES, plus
from vitpose.models.vit import Backbone

DECODER = MaskedSpec(width=16, depth=1, heads=2)
SIZE = Size(64, 48)


def autoencoder(spec: MaskedSpec = DECODER) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return create_masked_autoencoder(BACKBONE, SIZE, spec)


@pytest.mark.parametrize(("ratio", "seen"), [(0.75, 3), (0.5, 6), (0.9, 1), (0.99, 1), (0.01, 11), (0.7, 3)])
def test_the_mask_has_exactly_its_share(ratio: float, seen: int) -> None:
    model = autoencoder(replace(DECODER, mask_ratio=ratio))
    output = model(pictures(5))
    assert model.visible_patches == seen
    assert (~output.hidden).sum(dim=1).tolist() == [seen] * 5
    assert output.loss.isfinite()


def test_published_mask_ratio_at_the_published_size() -> None:
    with torch.device("meta"):
        model = create_masked_autoencoder(BACKBONES["B"], Size(256, 192))
    assert model.visible_patches == 48
    assert (model.spec.width, model.spec.depth, model.spec.heads) == (512, 8, 16)


def test_every_sample_is_hidden_in_its_own_way() -> None:
    hidden = autoencoder()(pictures(16)).hidden
    assert len(hidden.unique(dim=0)) > 8
    noise = torch.arange(12.0).flip(0).expand(2, -1)
    assert autoencoder()(pictures(2), noise).hidden.tolist() == [[True] * 9 + [False] * 3] * 2


def test_every_patch_is_hidden_equally_often() -> None:
    model = create_masked_autoencoder(replace(BACKBONE, depth=1), SIZE, DECODER)
    with torch.no_grad():
        share = model(pictures(1).expand(2000, -1, -1, -1)).hidden.float().mean(dim=0)
    assert share.sub(0.75).abs().max() < 5 * (0.75 * 0.25 / 2000) ** 0.5


def test_hidden_pixels_cannot_be_seen() -> None:
    """Changing what only hidden patches read leaves every prediction as it was."""
    model = autoencoder()
    scatter(model.decoder_blocks)
    scatter(model.backbone.blocks)
    image, noise = pictures(1), torch.arange(12.0)[None]
    output = model(image, noise)
    other = image.clone()
    other[:, :, 14:, :] = 5.0  # patches 0, 1 and 2, the first row, read rows -2 … 13
    assert torch.equal(model(other, noise).predictions, output.predictions)
    other[:, :, 13, :] = 5.0
    assert not torch.allclose(model(other, noise).predictions, output.predictions, atol=1e-4)


def test_tokens_return_to_their_places() -> None:
    """Without positions, and with a decoder that leaves tokens alone, hidden patches all look alike."""
    model = autoencoder()
    with torch.no_grad():
        model.decoder_positions.zero_()
        for block in model.decoder_blocks:
            block.proj.weight.zero_()
            block.ffn.fc2.weight.zero_()
    output = model(pictures(4))
    blank = model.decoder_out(model.decoder_norm(model.mask_token))
    alike = (output.predictions - blank).abs().amax(dim=2) < 1e-6
    assert torch.equal(alike, output.hidden)


def test_loss_counts_hidden_patches_only() -> None:
    model, images = autoencoder(), pictures(3)
    noise = torch.rand(3, 12)
    output = model(images, noise)
    error = (output.predictions - model.targets(images)).square().mean(dim=2)
    assert output.loss.item() == pytest.approx(error[output.hidden].mean().item(), rel=1e-5)
    assert output.predictions.shape == (3, 12, 768)


def test_targets_are_what_the_patches_read() -> None:
    """The patch convolution, with a weight that picks one pixel, gives that pixel of the target."""
    model, images = autoencoder(replace(DECODER, norm_targets=False)), pictures(2)
    targets, backbone = model.targets(images), model.backbone
    with torch.no_grad():
        backbone.patch_embed.weight.zero_()
        for channel, (colour, row, column) in enumerate([(0, 0, 0), (2, 15, 15), (1, 3, 12)]):
            backbone.patch_embed.weight[channel, colour, row, column] = 1.0
        read = backbone.patch_embed(images).flatten(2).transpose(1, 2)
    assert torch.equal(read[..., 0], targets[..., 0])
    assert torch.equal(read[..., 1], targets[..., 767])
    assert torch.equal(read[..., 2], targets[..., 256 + 3 * 16 + 12])
    assert torch.equal(targets[0, 5, 0], images[0, 0, 14, 30])  # second row, third column of patches


def test_normalised_targets() -> None:
    targets = autoencoder().targets(pictures(2) * 3 + 1)
    torch.testing.assert_close(targets.mean(dim=2), torch.zeros(2, 12), atol=1e-5, rtol=0)
    torch.testing.assert_close(targets.var(dim=2), torch.ones(2, 12), atol=1e-4, rtol=0)
    assert autoencoder().targets(torch.ones(1, 3, *SIZE)).isfinite().all()


def test_loss_decreases_on_a_tiny_set() -> None:
    """Pictures of few waves: what is hidden follows from what is seen."""
    torch.manual_seed(0)
    model = create_masked_autoencoder(BACKBONE, SIZE, replace(DECODER, width=32, mask_ratio=0.5))
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")
    waves = [torch.sin((rows * down + columns * across) / 3) for down, across in ((1, 0), (0, 1), (1, 1), (1, -1))]
    images = torch.stack(waves)[:, None].expand(-1, 3, -1, -1)
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=3e-3)
    losses = []
    for _ in range(150):
        loss = model(images).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.9  # predicting nothing costs the variance, 1
    assert sum(losses[-10:]) / 10 < 0.5


def test_encoder_loads_straight_into_a_pose_model() -> None:
    encoder = autoencoder()
    pose = small_model()
    pose.backbone.load_state_dict(encoder.backbone.state_dict())
    encoder.eval()
    assert torch.equal(pose.backbone(pictures()).tokens, encoder.backbone(pictures()).tokens)
    assert pose.backbone.pos_embed.requires_grad


def test_positions_of_a_new_encoder_are_fixed_and_of_a_given_one_kept() -> None:
    model = autoencoder()
    assert not model.backbone.pos_embed.requires_grad
    assert torch.equal(model.backbone.pos_embed, sine_positions(32, Size(4, 3)))
    backbone = Backbone(BACKBONE, SIZE)
    before = backbone.pos_embed.clone()
    assert torch.equal(MaskedAutoencoder(backbone, DECODER).backbone.pos_embed, before)
    assert backbone.pos_embed.requires_grad


def test_everything_else_learns() -> None:
    model = autoencoder()
    model(pictures()).loss.backward()
    idle = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert idle == ["backbone.pos_embed"]


def test_sine_positions() -> None:
    positions = sine_positions(16, Size(5, 3))
    assert positions.shape == (1, 15, 16)
    assert len(positions[0].unique(dim=0)) == 15
    torch.testing.assert_close(positions.square().sum(dim=2), torch.full((1, 15), 8.0))
    grid = positions.reshape(5, 3, 16)
    assert (grid[..., :8] == grid[:1, :, :8]).all()  # the first half tells the column
    assert (grid[..., 8:] == grid[:, :1, 8:]).all()  # the second half the row
    assert grid[0, 1, 0].item() == pytest.approx(torch.tensor(1.0).sin().item())
    # Distance is all that matters for the product of two positions.
    torch.testing.assert_close(grid[0, 0] @ grid[1, 2], grid[3, 0] @ grid[4, 2])


def test_decoders_in_proportion() -> None:
    sizes = {letter: masked_spec_for(spec) for letter, spec in BACKBONES.items()}
    assert {letter: (spec.width, spec.depth, spec.heads) for letter, spec in sizes.items()} == {
        "Ti": (128, 4, 4),
        "S": (256, 8, 8),
        "B": (512, 8, 16),
        "L": (512, 8, 16),
        "H": (512, 8, 16),
        "G": (512, 8, 16),
    }


def test_checkpointing_half_precision_and_a_smaller_grid() -> None:
    model = autoencoder().train()
    model.backbone.set_checkpointing(True)
    model(pictures()).loss.backward()
    rough = autoencoder().bfloat16()(pictures().bfloat16())
    assert rough.loss.isfinite()
    two = create_masked_autoencoder(BACKBONE, Size(32, 16), DECODER)
    assert two(pictures(2, Size(32, 16))).hidden.sum(dim=1).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (plus(BACKBONE), "dense"),
        (replace(BACKBONE, stride=8), "overlap"),
        (replace(BACKBONE, stem="convolutions"), "stem of patches: convolutions look into hidden ones"),
        (replace(BACKBONE, attention=alternate("window", Size(2, 2), 3)), "full attention"),
    ],
)
def test_backbones_that_cannot_be_pretrained(backbone: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        create_masked_autoencoder(backbone, SIZE, DECODER)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"mask_ratio": 0.0}, {"mask_ratio": 1.0}, {"width": 18}, {"heads": 3}])
def test_specs_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        replace(DECODER, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="multiple of 4"):
        sine_positions(6, SIZE)


def test_pose_model_resizes_what_was_pretrained_at_another_size() -> None:
    pose = small_model(small_spec(size=SIZE))
    pose.backbone.load_state_dict(autoencoder().backbone.state_dict())
    assert pose.resized(Size(80, 64))(pictures(1, Size(80, 64))).isfinite().all()
