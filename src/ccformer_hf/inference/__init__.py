"""From a video to masks on disk: loading a model, segmenting, results, pictures, video, export."""
