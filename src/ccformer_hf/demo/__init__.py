"""The demo: a page on which a clip is dropped, and what sounds in it is seen (ours). It needs Gradio: `pip install "ccformer-hf[demo]"`.

Upload -> `limits` (is it a clip we take?) -> `looks` (the model runs once; what it saw is kept) -> `looks.render` (drawn at any
threshold, as often as wanted) -> `charts` (the page's own pictures) -> `app` (the interface, and nothing else).
"""
