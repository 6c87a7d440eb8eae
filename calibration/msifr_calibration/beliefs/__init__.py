"""Learning beliefs from recorded attempts: linear models, words, networks."""
