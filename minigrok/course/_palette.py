"""The colours of every figure and player, and the signs that go with them for readers who see no colour."""

# Okabe and Ito's colours, those with contrast on white first; their yellow has none and is left out.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
# Dashes and gaps in line widths, one for each colour; () is a full line.
DASHES = ((), (5, 1.5), (1, 1.2), (6, 1.5, 1, 1.5), (2.5, 1.2), (8, 2), (3, 1, 1, 1, 1, 1))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# The units' lines: from dark and thick in the first layer to light and thin in the last.
LAYER_COLOURS = ("#52307C", "#3A78A8", "#2BAA83", "#93C83D")
LAYER_WIDTHS = (1.5, 1.1, 0.8, 0.7)
# Pale, to tell neighbouring regions apart.
TINTS = ("#F4F1EA", "#E3ECF3", "#F6E6DA", "#DDEDE5", "#F0E2EB", "#CFDDE8", "#EBDCC8", "#D3E2D6", "#E1D5E4")
# A map of numbers: the same order in grey and for the colour-blind.
SEQUENTIAL = "cividis"
INK, MUTED, FRAME = "#222222", "#6B6B6B", "#C4C4C4"
