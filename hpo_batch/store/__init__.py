"""One study's directory: where each file is, the journal and its lock, leases, submissions, the folders of trials."""
