"""How text that arrives in pieces is read: by line, clause or sentence, its numbers, its JSON, a formal language."""
