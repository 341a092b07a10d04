"""The losses of supervised training, one file each; a loss is its settings and its formula.

All of them take log-probabilities at label positions, float32 [..., labels, vocabulary], and give
one value per label, so that whoever sums them decides what the mean is over.
"""
