"""How fast a model is and what it takes: by part, against its backbones alone and against Mask2Former."""
