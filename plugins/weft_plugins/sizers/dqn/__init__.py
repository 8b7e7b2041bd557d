"""A sizer that learns from closed trades how much of a signal to hold, by deep Q-learning."""

from weft_plugins.sizers.dqn.sizer import DqnSizer

__all__ = ["DqnSizer"]
