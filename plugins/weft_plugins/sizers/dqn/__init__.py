"""A sizer that learns from closed trades which share of the full size to hold."""
