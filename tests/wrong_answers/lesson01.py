"""Usual mistakes in the exercises of lesson 01, and the words by which each must be diagnosed."""

WRONG = {
    "01-pattern": [
        ("the pre-activation itself", "def pattern(x, w, b):\n    return x @ w.T + b",
         r"should hold True and False"),
        ("zero counted as active", "def pattern(x, w, b):\n    return x @ w.T + b >= 0",
         r"exactly z = 0 is silent"),
        ("bias forgotten", "def pattern(x, w, b):\n    return x @ w.T > 0", r"the bias is missing"),
        ("exchanged", "def pattern(x, w, b):\n    return x @ w.T + b <= 0", r"True and False are exchanged"),
        ("transposed", "def pattern(x, w, b):\n    return (x @ w.T + b > 0).T",
         r"shape \(7, 4\), got \(4, 7\).*transposed"),
    ],
    "01-lines": [
        ("parallel lines forgotten",
         "n, p = check.lines(seed=CLASS_SEED)\nhow_many = 1 + n + n * (n - 1) // 2",
         r"parallel lines never meet"),
        ("the first region forgotten",
         "n, p = check.lines(seed=CLASS_SEED)\nhow_many = n + n * (n - 1) // 2 - p * (p - 1) // 2",
         r"without any line there is one region already"),
        ("crossings only",
         "n, p = check.lines(seed=CLASS_SEED)\nhow_many = n * (n - 1) // 2 - p * (p - 1) // 2",
         r"that is the number of crossings"),
        ("parallel lines left out",
         "n, p = check.lines(seed=CLASS_SEED)\nn -= p\nhow_many = 1 + n + n * (n - 1) // 2",
         r"still cross all the others"),
        ("crossings of the other lines only",
         "n, p = check.lines(seed=CLASS_SEED)\nhow_many = 1 + n + (n - p) * (n - p - 1) // 2",
         r"each parallel line still crosses"),
        ("half a region", "how_many = 2.5", r"should be a whole number, got 2.5"),
    ],
    "01-affine": [
        ("no masks", """
def affine_map(model, x):
    A, b = torch.eye(len(x), dtype=x.dtype), torch.zeros_like(x)
    for layer in model:
        if isinstance(layer, nn.Linear):
            A, b = layer.weight @ A, layer.weight @ b + layer.bias
    return A, b
""", r"every unit active"),
        ("the other units", """
def affine_map(model, x):
    A, b = torch.eye(len(x), dtype=x.dtype), torch.zeros_like(x)
    for layer in model:
        if isinstance(layer, nn.Linear):
            A, b, x = layer.weight @ A, layer.weight @ b + layer.bias, layer(x)
        else:
            silent = (x <= 0).to(x.dtype)
            A, b, x = silent[:, None] * A, silent * b, x.relu()
    return A, b
""", r"active and silent units exchanged"),
        ("the output as b", """
def affine_map(model, x):
    return torch.autograd.functional.jacobian(model, x), model(x)
""", r"take A x away from it"),
        ("the last bias as b", """
def affine_map(model, x):
    return torch.autograd.functional.jacobian(model, x), model[-1].bias
""", r"the biases before it count too"),
        ("A alone", """
def affine_map(model, x):
    return torch.autograd.functional.jacobian(model, x)
""", r"should return two things|A and the vector b|shape"),
    ],
    "01-tent": [
        ("slopes, not differences", """
def three_teeth():
    return [1, 1, 1], [0, -1 / 3, -2 / 3], [3, -3, 3]
""", r"is 1\.000 at x = 0\.667, where 0 is due"),
        ("folds at the wrong places", """
def three_teeth():
    return [1, 1, 1], [0, 1 / 3, 2 / 3], [3, -6, 6]
""", r"where 0 is due|where 1 is due"),
        ("two units", """
def three_teeth():
    return [1, 1], [0, -1 / 3], [3, -6]
""", r"`w` should have shape \(3,\), got \(2,\)"),
        ("one list", """
def three_teeth():
    return [3, -6, 6]
""", r"`w` should have shape"),
    ],
}  # fmt: skip
