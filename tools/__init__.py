"""Tools that make what the package ships; they are not part of the wheel."""
