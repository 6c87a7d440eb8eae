"""Records that everyone shares: traces of finished attempts, and the ledger of a run."""
