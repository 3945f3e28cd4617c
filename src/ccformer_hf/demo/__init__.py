"""The demo: a page on which a clip is dropped, and what sounds in it is seen. It needs Gradio:
`pip install "ccformer-hf[demo]"`.

Upload -> `limits` (is it a clip we take?) -> `analysis` (the model runs once, and its probabilities are kept; drawn at
any threshold, as often as wanted) -> `charts` (the page's own pictures) -> `app` (the interface, and nothing else).
"""
