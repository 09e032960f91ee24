"""The directory of one study: its paths, leases, submissions and trial folders."""
