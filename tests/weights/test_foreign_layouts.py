"""Every foreign layout gives, through the declared key map, the heatmaps of the model it was written from."""

import foreign_layouts as foreign
import pytest
import torch
from foreign_layouts import COCO, SIMPLE, heatmaps, random_model, tiny_plus, tiny_spec, write

from vitpose.core.errors import UsageError, WeightsError
from vitpose.models.moe import fold_expert
from vitpose.models.variants import PLUS_HEADS, HeadSpec
from vitpose.weights.adapt import from_ours, to_ours
from vitpose.weights.keymaps import IGNORED, rows
from vitpose.weights.load import load_model

DATASETS = [head.dataset for head in PLUS_HEADS]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = float(expected.abs().max())
    assert scale > 1e-3
    torch.testing.assert_close(found / scale, expected / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", [COCO, SIMPLE], ids=["classic", "simple"])
@pytest.mark.parametrize("wrapper", ["state_dict", None])
def test_original_dense(tmp_path, head, wrapper):
    model = random_model(tiny_spec(head))
    loaded = load_model(write(tmp_path / "a.pth", foreign.original(model), wrapper))
    close(heatmaps(loaded.model), heatmaps(model))
    assert loaded.model.spec.heads == (head,)
    assert loaded.model.spec.input_size == foreign.SIZE
    assert list(loaded.skeletons) == ["coco"]
    assert any("COCO order because K = 17" in words for words in loaded.assumptions)
    assert any("class token" in words for words in loaded.ignored)
    assert not loaded.model.training


def test_a_parallel_wrapper_prefix_is_taken_off(tmp_path):
    model = random_model(tiny_spec())
    state = {f"module.{name}": value for name, value in foreign.original(model).items()}
    close(heatmaps(load_model(write(tmp_path / "a.pth", state)).model), heatmaps(model))


def test_original_plus_unsplit_keeps_all_six_heads_and_experts(tmp_path):
    model = random_model(tiny_plus())
    loaded = load_model(write(tmp_path / "plus.pth", foreign.original(model)))
    assert [head.dataset for head in loaded.model.spec.heads] == DATASETS
    assert loaded.model.spec.heads == PLUS_HEADS
    assert {name: len(skeleton) for name, skeleton in loaded.skeletons.items()} == {
        head.dataset: head.keypoints for head in PLUS_HEADS
    }
    outputs = [heatmaps(model, dataset) for dataset in DATASETS]
    for dataset, expected in zip(DATASETS, outputs, strict=True):
        close(heatmaps(loaded.model, dataset), expected)
    # The experts differ, so a head with the wrong one would show.
    assert (outputs[0] - heatmaps(model, "ap10k")).abs().max() > 0.01


def test_padded_heads_of_unsplit_files_are_cut(tmp_path):
    model = random_model(tiny_plus())
    state = foreign.original(model)
    for kind in ("weight", "bias"):
        name = f"associate_keypoint_heads.0.final_layer.{kind}"
        state[name] = torch.cat([state[name], torch.ones_like(state[name])[:3]])
    loaded = load_model(write(tmp_path / "plus.pth", state))
    close(heatmaps(loaded.model, "aic"), heatmaps(model, "aic"))
    assert any("cut the head for aic from 17 to its 14" in words for words in loaded.assumptions)


@pytest.mark.parametrize("forgetful", [False, True], ids=["clean", "left-overs"])
@pytest.mark.parametrize("target", [0, 1, 3, 5])
def test_split_files(tmp_path, target, forgetful):
    model = random_model(tiny_plus())
    head = PLUS_HEADS[target]
    path = write(tmp_path / "split.pth", foreign.split(foreign.original(model), target, forgetful=forgetful))
    loaded = load_model(path, dataset=head.dataset)
    assert loaded.model.spec.backbone.experts == 0
    assert [found.codec for found in loaded.model.spec.heads] == [head.codec]
    close(heatmaps(loaded.model), heatmaps(model, head.dataset))
    assert any("experts left over" in words for words in loaded.ignored) == forgetful
    assert any("heads left over" in words for words in loaded.ignored) == forgetful


def test_the_dataset_named_comes_first(tmp_path):
    model = random_model(tiny_plus())
    path = write(tmp_path / "plus.pth", foreign.original(model))
    loaded = load_model(path, dataset="ap10k")
    close(heatmaps(loaded.model), heatmaps(model, "ap10k"))
    close(heatmaps(loaded.model, "coco"), heatmaps(model, "coco"))
    with pytest.raises(UsageError, match=r"no head for dataset 'horses', only for coco, aic"):
        load_model(path, dataset="horses")
    with pytest.raises(UsageError, match="6 heads, each with its own keypoints"):
        load_model(path, skeleton="coco17")


def test_several_heads_without_experts(tmp_path):
    aic, mpii = PLUS_HEADS[1], PLUS_HEADS[2]
    heads = (COCO, HeadSpec(**{**_plain(aic), "expert": 0}), HeadSpec(**{**_plain(mpii), "expert": 0}))
    model = random_model(tiny_spec(*heads))
    loaded = load_model(write(tmp_path / "multi.pth", foreign.original(model)))
    assert loaded.model.spec.heads == heads
    for head in heads:
        close(heatmaps(loaded.model, head.dataset), heatmaps(model, head.dataset))
    assert any("its 3 heads are those of coco, aic, mpii" in words for words in loaded.assumptions)


def _plain(head: HeadSpec) -> dict[str, object]:
    return {name: getattr(head, name) for name in HeadSpec.__dataclass_fields__}


@pytest.mark.parametrize("unconverted", [False, True])
@pytest.mark.parametrize("head", [COCO, SIMPLE], ids=["classic", "simple"])
def test_mmpose_1(tmp_path, head, unconverted):
    model = random_model(tiny_spec(head))
    loaded = load_model(write(tmp_path / "mm.pth", foreign.mmpose(model, unconverted=unconverted)))
    close(heatmaps(loaded.model), heatmaps(model))
    assert loaded.model.spec.heads == (head,)


@pytest.mark.parametrize(
    ("layout", "spec"),
    [
        *((layout, tiny_spec(head)) for layout in ("original", "huggingface", "mmpose") for head in (COCO, SIMPLE)),
        ("original", tiny_plus()),
        ("huggingface", tiny_spec(COCO, experts=6)),
    ],
)
def test_writing_and_reading_a_layout_gives_the_same_tensors(layout, spec):
    state = random_model(spec).state_dict()
    there = from_ours(state, layout, spec)
    back = to_ours(there, layout, spec, "a test", IGNORED[layout])
    assert back.state.keys() == state.keys()
    assert back.ignored == ()
    for name, value in state.items():
        assert torch.equal(back.state[name], value), name


@pytest.mark.parametrize("layout", ["original", "huggingface"])
def test_the_map_names_every_tensor_once(layout):
    spec = tiny_spec(COCO, experts=6)
    table = rows(layout, spec)
    names = [name for row in table for name in row.theirs]
    assert len(set(names)) == len(names)
    assert sorted(row.ours for row in table) == sorted(random_model(spec).state_dict())


@pytest.mark.parametrize("count", [193, 433])
def test_input_size_follows_from_the_positions(tmp_path, count):
    size = {193: (256, 192), 433: (384, 288)}[count]
    model = random_model(tiny_spec(SIMPLE, size=foreign.Size(*size)))
    loaded = load_model(write(tmp_path / "a.pth", foreign.original(model)))
    assert loaded.model.spec.input_size == size
    assert any("input size" in words for words in loaded.assumptions) == (count != 193)


def test_odd_input_sizes_have_to_be_named(tmp_path):
    model = random_model(tiny_spec(size=foreign.Size(96, 80)))
    path = write(tmp_path / "a.pth", foreign.original(model))
    with pytest.raises(WeightsError, match=r"31 position embeddings.*pass input_size"):
        load_model(path)
    close(heatmaps(load_model(path, input_size=(96, 80)).model), heatmaps(model))


def test_another_input_size_resizes_the_positions_and_says_so(tmp_path):
    model = random_model(tiny_spec())
    path = write(tmp_path / "a.pth", foreign.original(model))
    loaded = load_model(path, input_size=(96, 64))
    assert heatmaps(loaded.model).shape == (2, 17, 24, 16)
    close(heatmaps(loaded.model), heatmaps(model.resized(foreign.Size(96, 64))))
    assert any("resized position embeddings" in words for words in loaded.assumptions)


@pytest.mark.parametrize("layout", [foreign.original, foreign.mmpose])
@pytest.mark.parametrize("size", [(48, 64), (96, 32), (32, 96)])
def test_a_size_of_as_many_tokens_resizes_too(tmp_path, layout, size):
    """64 x 48 pixels are 12 tokens, as are these: which of them the file was made for does not follow from wishes."""
    model = random_model(tiny_spec())
    loaded = load_model(write(tmp_path / "a.pth", layout(model)), input_size=size)
    close(heatmaps(loaded.model), heatmaps(model.resized(foreign.Size(*size))))
    assert any(f"from input 64x48 to {size[0]}x{size[1]}" in words for words in loaded.assumptions)


def test_a_wish_decides_between_usual_sizes(tmp_path):
    """49 positions are a square of 7, or 48 tokens and the row of none."""
    square = random_model(tiny_spec(SIMPLE, size=foreign.Size(112, 112)))
    upright = random_model(tiny_spec(SIMPLE, size=foreign.Size(128, 96)))
    path = write(tmp_path / "square.pth", foreign.mmpose(square))
    close(heatmaps(load_model(path, input_size=(112, 112)).model), heatmaps(square))
    path = write(tmp_path / "upright.pth", foreign.original(upright))
    for wish in ((128, 96), None):
        close(heatmaps(load_model(path, input_size=wish).model), heatmaps(upright))


def test_fold_after_loading_equals_the_expert(tmp_path):
    model = random_model(tiny_plus())
    loaded = load_model(write(tmp_path / "plus.pth", foreign.original(model)))
    for dataset in DATASETS:
        close(heatmaps(fold_expert(loaded.model, dataset)), heatmaps(model, dataset))


def test_one_head_with_experts_takes_the_expert_of_its_dataset(tmp_path):
    model = random_model(tiny_spec(PLUS_HEADS[3], experts=6))
    path = write(tmp_path / "one.pth", foreign.original(model))
    loaded = load_model(path, dataset="ap10k")
    assert loaded.model.spec.heads == (PLUS_HEADS[3],)
    close(heatmaps(loaded.model), heatmaps(model))
    assert (heatmaps(load_model(path).model) - heatmaps(model)).abs().max() > 1e-3
