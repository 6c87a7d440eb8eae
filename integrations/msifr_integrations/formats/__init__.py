"""Other people's formats: reading tokenizers, traces and logs."""
