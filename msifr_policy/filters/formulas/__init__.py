"""Answers as mathematics: what kind of thing they are, and when two are the same."""
