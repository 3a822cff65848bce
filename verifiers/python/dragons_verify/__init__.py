"""A verifier of evidence packs, written from docs/formats.md alone."""
