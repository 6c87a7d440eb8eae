"""How validators read: lines, clauses, sentences, numbers, places in a document."""
