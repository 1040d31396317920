"""Plain values: how they are encoded, compared and shown. Used on both sides of a channel."""
