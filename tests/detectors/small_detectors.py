"""Detectors of transformers, small and random, in a folder as if they had been downloaded."""

import json
from pathlib import Path

import torch

NAMES = {0: "person", 1: "dog", 2: "Horse"}

KINDS = ("rt_detr", "rt_detr_v2", "d_fine", "rf_detr", "detr", "yolos")

SETTINGS = {
    "rt_detr": {"image_processor_type": "RTDetrImageProcessor", "size": {"height": 64, "width": 64}},
    "rt_detr_v2": {"image_processor_type": "RTDetrImageProcessorFast", "size": {"height": 64, "width": 64}},
    "d_fine": {"image_processor_type": "RTDetrImageProcessor", "size": {"height": 64, "width": 64}},
    "rf_detr": {"image_processor_type": "RfDetrImageProcessor", "size": {"height": 56, "width": 56}},
    "detr": {"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 48, "longest_edge": 96}},
    "yolos": {"image_processor_type": "YolosImageProcessor", "size": {"shortest_edge": 48, "longest_edge": 96}},
}


def save_detector(folder: Path, kind: str = "rt_detr", seed: int = 0) -> str:
    """Save a random detector with its preprocessing settings and return the folder's name."""
    torch.manual_seed(seed)
    build(kind).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(SETTINGS[kind]))
    return str(folder)


def build(kind: str):
    import transformers as tf

    names = {"id2label": NAMES, "label2id": {name: index for index, name in NAMES.items()}}
    if kind in ("rt_detr", "rt_detr_v2", "d_fine"):
        return _rt_family(tf, kind, names)
    small = {"d_model": 16, "decoder_layers": 2, "decoder_ffn_dim": 16, "num_queries": 12}
    if kind == "rf_detr":
        layers = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_register_tokens": 0}
        patches = {"image_size": 56, "patch_size": 14, "num_windows": 2, "out_features": ["stage1", "stage2"]}
        backbone = {"model_type": "rf_detr_dinov2"} | layers | patches
        heads = {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2, "decoder_n_points": 2}
        config = tf.RfDetrConfig(backbone_config=backbone, group_detr=1, **heads, **small, **names)
        return tf.RfDetrForObjectDetection(config)
    if kind == "detr":
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16}
        widths = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "layer_type": "basic"}
        backbone = tf.ResNetConfig(out_features=["stage4"], **widths)
        plain = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
        config = tf.DetrConfig(backbone_config=backbone, encoder_layers=1, **plain, **heads, **small, **names)
        return tf.DetrForObjectDetection(config)
    layers = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = tf.YolosConfig(image_size=[48, 64], patch_size=16, num_detection_tokens=12, **layers, **names)
    return tf.YolosForObjectDetection(config)


def _rt_family(tf, kind, names):
    config, model = {
        "rt_detr": (tf.RTDetrConfig, tf.RTDetrForObjectDetection),
        "rt_detr_v2": (tf.RTDetrV2Config, tf.RTDetrV2ForObjectDetection),
        "d_fine": (tf.DFineConfig, tf.DFineForObjectDetection),
    }[kind]
    backbone = tf.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    encoder = {"encoder_hidden_dim": 16, "encoder_in_channels": [8, 16, 16], "encoder_ffn_dim": 16}
    heads = {"encoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    decoder = {"decoder_in_channels": [16] * 3, "decoder_ffn_dim": 16, "decoder_layers": 2, "num_denoising": 0}
    sizes = {"d_model": 16, "num_queries": 12, "anchor_image_size": None}
    return model(config(backbone_config=backbone, **encoder, **heads, **decoder, **sizes, **names))
