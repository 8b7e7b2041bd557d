"""Reading texts: what they are about, how they sound, and which of them say the same."""
