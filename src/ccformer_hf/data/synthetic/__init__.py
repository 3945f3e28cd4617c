"""Synthetic clips: drawn objects with synthetic sounds, free of any licence and of any length."""
