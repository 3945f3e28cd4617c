"""Synthetic clips: drawn objects with synthetic sounds, free of any license and of any length."""
