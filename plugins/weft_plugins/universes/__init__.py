"""Universe rules: which instruments are chosen, at each instant."""
