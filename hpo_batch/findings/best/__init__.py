"""The best trial, and how far its value may be luck."""
