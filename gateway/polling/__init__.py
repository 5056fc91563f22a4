"""Keeping the image true: plan what to read, when to read it, and place what came back."""
