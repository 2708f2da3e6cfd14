"""Applications that show how the broker is used; part of no package."""
