"""Training clips composed of class-labelled pictures and sounds; the masks follow who sounds (ours)."""
