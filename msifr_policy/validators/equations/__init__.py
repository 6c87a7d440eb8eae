"""Equations in a text: atoms, expressions, and the verdict on both sides."""
