"""The TIE: tones of news and posts."""
