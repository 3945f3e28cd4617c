"""The `ccformer` command, one file per sub-command."""
