"""The Space: the same page as `ccformer demo`, with the model that the variable `CCFORMER_MODEL` names, a Hub id.

Without it: the checkpoint inside the package.
"""

from ccformer_hf.demo.app import launch

launch()
