"""The provider `tides` and the layer `momentum` for Weft."""
