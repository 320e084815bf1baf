"""Thalweg: write each optimizer once as its paper's equation."""
