"""The Space: the same page as `ccformer demo`. Its checkpoint is `CCFORMER_MODEL`, a Hub id, or the one inside the package."""

from ccformer_hf.demo.app import launch

launch()
