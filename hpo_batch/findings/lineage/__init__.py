"""The studies that one comes from."""
