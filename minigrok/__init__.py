"""See why networks generalise and grow robust: their linear regions, margins and activation patterns.

All public names on one screen; `help(minigrok.regions.partition)` says what one of them does.

Look into a network:

    minigrok.networks      every affine map and every unit of a network, in one numbering
        trace, Step, Network
    minigrok.regions       the linear regions: exact in a plane and on a segment, counted around a point
        local_complexity, bending_on_grid, unit_states, lines_by_distance, partition, on_segment,
        LocalComplexity, Plane, Partition, Segment
    minigrok.attacks       adversarial examples, robust accuracy, and whether the attack is to blame
        fgsm, pgd, apgd, square, robust_accuracy, adversarial_distance, diagnose, zero_gradient_share,
        adversarial_training, Attack, Diagnosis
    minigrok.naps          activation patterns: what a class's samples have in common inside the network
        states, of, mine, followers, coverage, clashes, minimal, NAP, Coverage, Minimal
    minigrok.measures      progress measures: norm, sharpness, waves, symmetry, spread of features
        commutativity, gram, matrix_entropy, mutual_information, perturbation_measures, sparsity,
        gradient_bound, first_reached, turn, fourier_power, inverse_participation, key_frequencies,
        restricted, excluded, weight_norm, weight_entropy, hessian_trace, circuit_complexity,
        PerturbationMeasures, GradientBound

Have a network to look into:

    minigrok.models        the networks of the course, as plain torch modules
        mlp, pair_mlp, cosine_solution, pair_transformer, cnn, resnet18, Square, PairMLP, PairTransformer,
        ResidualMLP, PreActBlock
    minigrok.data          toy sets in the plane, tables of arithmetic, digits, photographs
        disc_and_ring, spiral, moons, table, arithmetic, without_mirror, digits, mnist, cifar10, cifar100,
        imagenette, Arithmetic, Digits, Images
    minigrok.training      one small loop around a step of your own; many seeds as one batched model
        train, log_spaced, minibatches, classification_loss, classification_step, classification_gradients,
        accuracy, padded, stablemax, noise_level, swap_loss, grokfast, perp_grad, Ensemble, EnsembleAdamW,
        State, Run, Diverged
    minigrok.sweep         one function over a grid of settings: here, over processes, on a cluster
        grid, run, grokking_times, Table
    minigrok.recordings    results of long runs, with what made them
        save, load, data_hash, machine, write_whole, Recording

Prove something about it; hold a simulation against a formula (imported by their own names):

    minigrok.verify        certificates for boxes, balls and patterns; needs highspy
        certify, certify_disjoint, largest_eps, unit_bounds, Certificate, LargestEps
    minigrok.theory        closed forms of models that grok on paper
        simultaneous_band, relu_spectrum, features_risk, marchenko_pastur_edges, marchenko_pastur,
        linear_losses, linear_accuracy, linear_delay, linear_delay_limit, effective_rank, smallest_ridge,
        ridge_risk, best_ridge, ridge_bounds, rule_threshold, rule_error, grokking_probability,
        grokking_time, ball_error, critical_exponent, gaussian_error, selftraining_cosine,
        selftraining_error, selftraining_limit, selftraining_threshold, selftraining_gap,
        mean_selftraining_error, separable_probability, constant_accuracy, constant_margin, two_point_flow,
        two_point_limit, two_point_bias, wasserstein, transport_cost, lipschitz, transport_bound, Band,
        ReluSpectrum, LinearLosses, LinearDelay, RidgeRisk, RidgeBounds, RuleTimes, SelfTraining, TwoPoint

Show it (needs `minigrok[course]`; imported by their own names):

    minigrok.course.plots  the figures of the lessons
        curves, line_on_band, ridges, sandwich, against, triangle, answers_image, ring_image, bars_image,
        pictures, side_by_side, regions, region_image, heat, walk, followed, rooms, dots, waits, intervals,
        use_style, phases, table, scores, pattern_strips
    minigrok.course.player a figure with time in it
        player, Player

`import minigrok` needs torch, NumPy and SciPy alone. What only the lessons need besides (exercises, editions,
plans, grading) is `minigrok.course`.
"""

from minigrok import attacks, data, measures, models, naps, networks, recordings, regions, sweep, training

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "attacks",
    "data",
    "measures",
    "models",
    "naps",
    "networks",
    "recordings",
    "regions",
    "sweep",
    "training",
]
