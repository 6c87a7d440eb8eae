"""Equations in running text: `atoms` of its characters, `expressions` and their values, `judge`; then whether the text
claims them (`claims`). What else they may mean: `quantities`, `notations`, `systems`."""
