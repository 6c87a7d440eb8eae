"""Other people's outputs, made into traces: a file for each format, recognised by what records hold.

`sources` reads records out of whatever packs them; `recognise` tells whose they are; a `Format` says what attempts a
record holds; `convert` gives these ids and outcomes, and counts what is lost on the way.
"""
