"""A run on disk and in trackers: its folder, what a round did, what is logged."""
