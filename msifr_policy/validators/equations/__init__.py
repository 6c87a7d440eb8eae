"""Equations in running text, in three steps: `atoms` of its characters, `expressions` and their values, `judge`."""
