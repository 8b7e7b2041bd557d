"""The contracts: one small base class for every kind of component."""
