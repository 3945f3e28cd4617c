"""Audio-visual segmentation with CCFormer: which pixels of a video are making the sound.

Nothing heavy is imported before it is asked for: `import ccformer_hf` takes milliseconds, the first public name
seconds. With the package imported, the Auto classes and `pipeline` of transformers know CCFormer, see `registration`.
"""

from importlib import import_module

from .registration import register_with_transformers

__version__ = "0.1.0"

_HOMES = {
    "AudioVisualCollator": "data.collator",
    "AudioVisualProcessor": "model.processing_ccformer",
    "AudioVisualSegmentationPipeline": "model.pipeline_ccformer",
    "CCFormerConfig": "model.configuration_ccformer",
    "CCFormerFeatureExtractor": "model.feature_extraction_ccformer",
    "CCFormerForAudioVisualSegmentation": "model.modeling_ccformer",
    "CCFormerImageProcessor": "model.image_processing_ccformer",
    "CCFormerModel": "model.modeling_ccformer",
    "compute_metrics": "evaluation.trainer_metrics",
    "iter_segments": "inference.segmenting",
    "load": "inference.loading",
    "load_avsbench": "data.loading",
    "load_folder": "data.loading",
    "load_metric": "metrics",
    "segment_video": "inference.segmenting",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


register_with_transformers()
