"""From text to evidence: where checkpoints are, what is seen at each, and the table of it all."""
