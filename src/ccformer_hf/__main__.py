"""`python -m ccformer_hf`: the `ccformer` command."""

import sys

from .cli import main

sys.exit(main())
