"""Usual mistakes in the exercises of lesson 00, and the words by which each must be diagnosed."""

WRONG = {
    "00-compose": [
        ("the product in the wrong order", """
def compose(A2, b2, A1, b1):
    return A1 @ A2, A2 @ b1 + b2
""", r"`A` is not right.*acts first stands on the right"),
        ("the second map does not act on b1", """
def compose(A2, b2, A1, b1):
    return A2 @ A1, b1 + b2
""", r"`b` is not right.*acts on b1 as well"),
        ("b2 forgotten", """
def compose(A2, b2, A1, b1):
    return A2 @ A1, A2 @ b1
""", r"`b` is not right.*b2 of the second map is missing"),
        ("the matrix alone", """
def compose(A2, b2, A1, b1):
    return A2 @ A1
""", r"should return two things"),
        ("elementwise product", """
def compose(A2, b2, A1, b1):
    return A2 * A1, A2 @ b1 + b2
""", r"Is this new to you\? Unfold primer 1 \(affine maps and half-planes, 3 minutes\)"),
        ("square maps only", """
def compose(A2, b2, A1, b1):
    return A2 @ A1, A2.reshape(2, 2) @ b1 + b2
""", r"your function `compose` raised RuntimeError"),
    ],
    "00-frequency": [
        ("the mean", """
signal = check.signal(seed=CLASS_SEED)
frequency = int(torch.fft.rfft(signal).abs().argmax())
""", r"0 is the mean of the signal"),
        ("the mirror image", """
signal = check.signal(seed=CLASS_SEED)
frequency = 97 - int(torch.fft.rfft(signal - signal.mean()).abs().argmax())
""", r"is a mirror image: .* give the smaller of the two"),
        ("off by one", """
signal = check.signal(seed=CLASS_SEED)
frequency = int(torch.fft.rfft(signal).abs()[1:].argmax())
""", r"a neighbour explains most of it: entry 0 of the transform is the mean"),
        ("an angle", """
signal = check.signal(seed=CLASS_SEED)
frequency = 2 * torch.pi * int(torch.fft.rfft(signal - signal.mean()).abs().argmax()) / 97
""", r"should be a whole number of turns, got .* not the angle"),
        ("out of range", "frequency = 1000", r"between 1 and 48, got 1000"),
        ("a guess", "frequency = 1", r"a wave of `frequency` 1 explains \d+ % of the variance"),
    ],
    "00-multipliers": [
        ("the best point", """
problem = check.program(seed=CLASS_SEED)
multipliers = linprog(-problem.c, problem.A, problem.b).x
""", r"is the best point x: it shows what can be reached"),
        ("rows and columns mixed up", """
problem = check.program(seed=CLASS_SEED)
multipliers = np.linalg.solve(problem.A, problem.c)
""", r"the multipliers weigh the rows of A: solve A.T y = c"),
        ("a negative multiplier", "multipliers = (100, -1)", r"a negative one turns <= into >="),
        ("too small to prove anything", "multipliers = (0, 0)",
         r"your sum of the constraints reads 0 x1 \+ 0 x2 <= 0.*proves nothing yet"),
        ("true but loose", "multipliers = (100, 100)", r"True, but a smaller bound can be proved"),
        ("the bound itself", "multipliers = 12.0", r"`multipliers` should have shape \(2,\), got \(\)"),
    ],
    "00-entropy": [
        ("bits", """
def matrix_entropy(z):
    z = z / z.norm(dim=1, keepdim=True)
    return torch.special.entr(torch.linalg.eigvalsh(z @ z.T / len(z)).clamp_min(0)).sum() / np.log(2)
""", r"6 orthogonal rows.* is not right.*natural logarithm"),
        ("sign", """
def matrix_entropy(z):
    z = z / z.norm(dim=1, keepdim=True)
    return -torch.special.entr(torch.linalg.eigvalsh(z @ z.T / len(z)).clamp_min(0)).sum()
""", r"the sign is turned round"),
        ("not divided by n", """
def matrix_entropy(z):
    z = z / z.norm(dim=1, keepdim=True)
    return torch.special.entr(torch.linalg.eigvalsh(z @ z.T).clamp_min(0)).sum()
""", r"the eigenvalues have to sum to 1, divide the Gram matrix by n"),
        ("rows of any length", """
def matrix_entropy(z):
    p = torch.linalg.eigvalsh(z @ z.T).clamp_min(0)
    return torch.special.entr(p / p.sum()).sum()
""", r"different lengths.* is not right.*give each row length 1 first"),
        ("rows of any length, not scaled", """
def matrix_entropy(z):
    p = torch.linalg.eigvalsh(z @ z.T / len(z))
    return -(p * p.log()).sum()
""", r"different lengths.* is not right.*give each row length 1 before you form R"),
        ("0 log 0", """
def matrix_entropy(z):
    z = z / z.norm(dim=1, keepdim=True)
    p = torch.linalg.eigvalsh(z @ z.T / len(z))
    return -(p * p.log()).sum()
""", r"gave nan for 8 equal rows: .* 0 log 0 has to count as 0"),
        ("singular values", """
def matrix_entropy(z):
    z = z / z.norm(dim=1, keepdim=True)
    s = torch.linalg.svdvals(z)
    return torch.special.entr(s / s.sum()).sum()
""", r"6 equal rows and 2 others.* is not right.*squares of the singular values"),
    ],
    "00-largest": [
        ("the true value", "largest = 1.0", r"1 belongs to the true covariance"),
        ("no square", """
n, d = check.noise_shape(seed=CLASS_SEED)
largest = 1 + (d / n) ** 0.5
""", r"its square would be nearer"),
        ("the smallest one", """
n, d = check.noise_shape(seed=CLASS_SEED)
largest = (1 - (d / n) ** 0.5) ** 2
""", r"that is near the smallest eigenvalue"),
        ("samples over features", """
n, d = check.noise_shape(seed=CLASS_SEED)
largest = (1 + (n / d) ** 0.5) ** 2
""", r"the ratio d / n is turned round"),
        ("all of them", "largest = torch.linalg.eigvalsh(torch.eye(3))", r"one number, got 3 numbers"),
    ],
    "00-draw": [
        ("the global state", """
def draw(n, seed):
    torch.manual_seed(seed)
    return torch.randn(n)
""", r"moved PyTorch's global random state"),
        ("a generator that goes on", """
shared = torch.Generator().manual_seed(0)

def draw(n, seed):
    return torch.randn(n, generator=shared)
""", r"gave other numbers the second time"),
        ("seed not used", """
def draw(n, seed):
    return torch.randn(n, generator=torch.Generator().manual_seed(0))
""", r"gave the same numbers: the seed is not used"),
        ("uniform numbers", """
def draw(n, seed):
    return torch.rand(n, generator=torch.Generator().manual_seed(seed))
""", r"uniform between 0 and 1, use `torch.randn`"),
        ("a column", """
def draw(n, seed):
    return torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))
""", r"axis of size 1 too many"),
    ],
}
