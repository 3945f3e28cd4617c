"""`python -m ccformer_hf`: the `ccformer` command."""

import sys

from .cli.main import main

sys.exit(main())
