"""Registers the package's classes with transformers, so that `AutoModel`, `AutoProcessor` and `pipeline` find them.

Importing this module is all there is to do; `import ccformer_hf` sees to it. Registering also makes every
`save_pretrained` ship the code with the weights, so that the result loads with `trust_remote_code=True` where this
package is not installed. And it makes `from_pretrained` of these classes know the models that ship with the package by
their names, as transformers has no register for names.
"""

from functools import wraps
from typing import Any

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoModelForSemanticSegmentation,
    AutoProcessor,
)
from transformers.pipelines import PIPELINE_REGISTRY

from .checkpoints import CHECKPOINTS, DEFAULT_MODEL, model_place
from .model.configuration_ccformer import TASK, CCFormerConfig
from .model.feature_extraction_ccformer import CCFormerFeatureExtractor
from .model.image_processing_ccformer import CCFormerImageProcessor
from .model.modeling_ccformer import CCFormerForAudioVisualSegmentation, CCFormerModel, CCFormerPreTrainedModel
from .model.pipeline_ccformer import AudioVisualSegmentationPipeline
from .model.processing_ccformer import AudioVisualProcessor

# What save_pretrained writes into `auto_map`, next to a copy of the code.
CCFormerConfig.register_for_auto_class()
CCFormerModel.register_for_auto_class("AutoModel")
CCFormerForAudioVisualSegmentation.register_for_auto_class("AutoModelForSemanticSegmentation")
CCFormerImageProcessor.register_for_auto_class("AutoImageProcessor")
CCFormerFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
AudioVisualProcessor.register_for_auto_class("AutoProcessor")

# What the Auto classes find in this process.
AutoConfig.register(CCFormerConfig.model_type, CCFormerConfig, exist_ok=True)
AutoModel.register(CCFormerConfig, CCFormerModel, exist_ok=True)
AutoModelForSemanticSegmentation.register(CCFormerConfig, CCFormerForAudioVisualSegmentation, exist_ok=True)
# One class, with torchvision or without; named for one alone, transformers warns that the other is missing.
AutoImageProcessor.register(
    CCFormerConfig,
    image_processor_classes={"pil": CCFormerImageProcessor, "torchvision": CCFormerImageProcessor},
    exist_ok=True,
)
AutoFeatureExtractor.register(CCFormerConfig, CCFormerFeatureExtractor, exist_ok=True)
AutoProcessor.register(CCFormerConfig, AudioVisualProcessor, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    TASK,
    AudioVisualSegmentationPipeline,
    pt_model=AutoModelForSemanticSegmentation,
    default={"model": (str(CHECKPOINTS / DEFAULT_MODEL), None)},  # a folder, which has no revision
    type="multimodal",
)


def take_built_in_names(loader: type) -> None:
    """Makes `from_pretrained` of a class take `"ccformer-small"` and `"ccformer-tiny"`, all else as before."""
    before = loader.from_pretrained.__func__

    @wraps(before)
    def from_pretrained(cls: type, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        return before(cls, model_place(pretrained_model_name_or_path), *args, **kwargs)

    loader.from_pretrained = classmethod(from_pretrained)


for _loader in (
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoModelForSemanticSegmentation,
    AutoProcessor,
    AudioVisualProcessor,
    CCFormerConfig,
    CCFormerFeatureExtractor,
    CCFormerImageProcessor,
    CCFormerPreTrainedModel,
):
    take_built_in_names(_loader)
