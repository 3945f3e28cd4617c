"""Labels videos without annotation: an audio tagger and an open-vocabulary segmenter of transformers, where they
agree."""
