"""Do the scores mean anything? Pictures are degraded by known amounts, and the scores have to follow.

`python -m comfy_nodes.evidence` measures and prints it. It needs scikit-image for the photographs in its wheel, which
the nodes do not; nothing else of the pack imports this.

pictures      photographs, and pictures drawn here
degradations  what can go wrong with a picture, by strength
cases         one dimension under one degradation: the scores of original and degraded pictures
statistics    AUC, monotonicity
page          the plots, and the worst errors side by side
"""
