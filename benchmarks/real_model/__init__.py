"""A real instruct model, end to end: `python -m benchmarks.real_model --out FOLDER`."""
