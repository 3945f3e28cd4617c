"""The demo: a page that shows what sounds in a clip. It needs Gradio: `pip install "ccformer-hf[demo]"`.

Upload -> `limits` (is it a clip we take?) -> `analysis` (the model runs once, and its probabilities are kept; drawn at
any threshold, as often as wanted) -> `charts` (the page's own pictures) -> `app` (the interface, and nothing else).
"""
