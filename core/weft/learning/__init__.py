"""Learning: training, judging on later rows, promotion, and artifacts on disk."""
