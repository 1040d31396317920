"""What every room may use: named random streams, files that are written whole, a clock for stages."""
