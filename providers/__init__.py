"""Providers: one file knows all about one, and the rest of the project nothing."""
