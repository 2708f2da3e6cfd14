"""The addresses under /api, one file a resource."""
