"""The Lua files that run inside Dragonfly, each a whole step that nothing divides.

They run unchanged under Lua 5.1 (Valkey) and 5.4 (Dragonfly), touch only the keys
they are given, and hand numbers with fractions back as text, because the two
disagree about what becomes of a fraction.
"""
