"""CAUSES: what makes trainings fail, one row each, with the cure in words and in code."""

from dataclasses import dataclass

__all__ = ["CAUSES", "Cause"]


@dataclass(frozen=True)
class Cause:
    """A cause of failing trainings.

    Args:
        sentence: what is wrong, in general words.
        row: the row of the project's table of signs that it belongs to, such as ``"F1"``.
        cure: what to change, in words.
        code: the change as lines of code.
    """

    sentence: str
    row: str
    cure: str
    code: str


CAUSES: dict[str, Cause] = {
    # The output and the loss
    "softmax_before_cross_entropy": Cause(
        "The model ends in a softmax, and the loss applies softmax again: "
        "the loss cannot come near 0, and gradients are small.",
        "F11",
        "Return the scores before the softmax; apply softmax where probabilities are shown.",
        "return self.out(x)  # not torch.softmax(self.out(x), dim=1)",
    ),
    "sigmoid_before_bce_with_logits": Cause(
        "The model ends in a sigmoid, and the loss applies a sigmoid again: "
        "it never sees a probability outside 0.5 to 0.73.",
        "F11",
        "Return the scores before the sigmoid, or keep the sigmoid and use BCELoss.",
        "return self.out(x)  # not torch.sigmoid(self.out(x))",
    ),
    "softmax_over_one_unit": Cause(
        "A softmax over one unit is always 1: the output does not depend on the input.",
        "F11",
        "Use one score with BCEWithLogitsLoss, or one unit per class with CrossEntropyLoss.",
        "return self.out(x)  # one score\nloss_fn = nn.BCEWithLogitsLoss()",
    ),
    "relu_output_into_log": Cause(
        "The loss takes a logarithm of outputs that can be exactly 0: it becomes infinite or NaN.",
        "F11",
        "Return plain scores, and use a loss that takes scores; for a rate or a variance, end in "
        "softplus in place of ReLU.",
        "return self.out(x)  # no ReLU\nloss_fn = nn.CrossEntropyLoss()",
    ),
    "output_range_too_small": Cause(
        "The last activation cannot reach the targets.",
        "F11",
        "Leave out the last activation, or scale the targets into its range.",
        "return self.out(x)  # no activation after the last layer",
    ),
    "binary_loss_for_classes": Cause(
        "A loss for two classes is used for more than two.",
        "F11",
        "Use one output per class, and the cross-entropy.",
        "self.out = nn.Linear(width, classes)\nloss_fn = nn.CrossEntropyLoss()",
    ),
    "softmax_for_multi_label": Cause(
        "Several labels are true at once, and the softmax lets only one probability be large.",
        "F11",
        "Use one independent sigmoid per label.",
        "return self.out(x)  # no softmax\nloss_fn = nn.BCEWithLogitsLoss()",
    ),
    "loss_broadcasts": Cause(
        "Outputs and targets have different shapes, and the loss compares every output with every "
        "target: the model learns the mean.",
        "F11",
        "Give both the same shape.",
        "loss = loss_fn(model(x).squeeze(1), y)  # or y.unsqueeze(1)",
    ),
    "loss_terms_unbalanced": Cause(
        "One term of the loss is so large that the others are not learned.",
        "F11",
        "Weight the terms so that their gradients have like size.",
        "loss = a + (a.detach() / b.detach()) * b",
    ),
    "loss_unsuited": Cause(
        "The loss does not fit the targets.",
        "F11",
        "Classes: cross-entropy on scores. Numbers: squared error, or Huber's where there are "
        "outliers.",
        "loss_fn = nn.CrossEntropyLoss()  # for classes\nloss_fn = nn.SmoothL1Loss()  # numbers",
    ),
    "loss_not_mean": Cause(
        "The loss is a sum over the examples: the step grows with the batch.",
        "F11",
        "Use the mean.",
        'loss_fn = nn.MSELoss(reduction="mean")',
    ),
    "loss_sign_wrong": Cause(
        "The loss has the wrong sign: it falls without end while the model becomes worse.",
        "F11",
        "Minimize the loss: give the score that should grow a minus sign.",
        "loss = -score",
    ),
    # The data
    "inputs_not_scaled": Cause(
        "Inputs are far from mean 0 and scale 1: units saturate, and no rate suits all weights.",
        "F3",
        "Standardize the inputs with the mean and the deviation of the training data.",
        "x = (x - x_train.mean(0)) / x_train.std(0).clamp(min=1e-8)",
    ),
    "inputs_and_targets_not_scaled": Cause(
        "Inputs and targets are far from mean 0 and scale 1.",
        "F3",
        "Standardize both, and undo it on the predictions.",
        "x = (x - x_train.mean(0)) / x_train.std(0)\ny = (y - y_train.mean()) / y_train.std()",
    ),
    "inputs_constant": Cause(
        "Every example has the same inputs: there is nothing to learn from.",
        "F11",
        "Look at how inputs are read; a division of integers makes zeros.",
        "x = x.float() / 255  # not x // 255",
    ),
    "inputs_ignored": Cause(
        "The output does not depend on the input, or on a part of it that tells the target.",
        "F11",
        "Look for a layer that is multiplied by 0, a wrong index, or a variable that is not used.",
        "print((model(x) - model(x[torch.randperm(len(x))])).abs().max())",
    ),
    "nan_in_inputs": Cause(
        "Inputs or targets hold NaN or infinite values.",
        "F11",
        "Fill them in, or leave those examples out.",
        "x = x.nan_to_num(0.0)  # after standardizing: 0 is the mean",
    ),
    "labels_all_equal": Cause(
        "All labels are the same.",
        "F11",
        "Look at how labels are read.",
        "print(torch.stack([y for _, y in dataset]).unique(return_counts=True))",
    ),
    "labels_out_of_range": Cause(
        "Labels do not fit the number of outputs.",
        "F11",
        "Number classes from 0, and give the model one output per class.",
        "y = y - y.min()",
    ),
    "labels_do_not_match_inputs": Cause(
        "The labels have nothing to do with the inputs they stand beside.",
        "F11",
        "Sort, shuffle, crop and turn inputs and labels alike, and look at a few pairs.",
        "order = torch.randperm(len(x))\nx, y = x[order], y[order]",
    ),
    "class_imbalance": Cause(
        "One class is so frequent that naming it always is nearly the best the loss can have.",
        "F6",
        "Weight the classes in the loss, or draw them equally often.",
        "loss_fn = nn.CrossEntropyLoss(weight=len(y) / (classes * torch.bincount(y)))",
    ),
    "data_sorted_not_shuffled": Cause(
        "Batches hold one kind of example after the other: each batch undoes the one before.",
        "F11",
        "Shuffle the training data.",
        "loader = DataLoader(dataset, batch_size=32, shuffle=True)",
    ),
    "duplicates_across_parts": Cause(
        "Validation examples are in the training data too: the validation loss says too much good.",
        "F9",
        "Remove duplicates before the split; keep what belongs together in one part.",
        "data = data.drop_duplicates()  # then split",
    ),
    "validation_preprocessed_differently": Cause(
        "Validation inputs went through another preprocessing than training inputs.",
        "F7",
        "Use the same transform for both, with the mean and deviation of the training data.",
        "x_val = (x_val - x_train.mean()) / x_train.std()",
    ),
    "validation_of_other_distribution": Cause(
        "Validation data come from another distribution than training data.",
        "F8",
        "Split at random, or stratified by label.",
        "train, val = random_split(dataset, [0.8, 0.2])",
    ),
    "target_leaks_into_input": Cause(
        "The model can read the target off its input: it copies, and has learned nothing.",
        "F9",
        "Hide the target: a causal mask, inputs shifted by one, or no column that is made of it.",
        "x, y = tokens[:, :-1], tokens[:, 1:]\n"
        "mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])",
    ),
    "reads_padding": Cause(
        "Outputs depend on the padding behind the end of a sequence.",
        "F11",
        "Pack the sequences, read the last true step, or mask the padding.",
        "last = out[torch.arange(len(x)), lengths - 1]  # not out[:, -1]",
    ),
    # The loop and the optimizer
    "gradients_not_zeroed": Cause(
        "Gradients of earlier steps are added to each new one.",
        "F11",
        "Call optimizer.zero_grad() in each step.",
        "optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
    ),
    "gradients_lost_before_step": Cause(
        "Gradients are zero at the optimizer's step, though the loss depends on the parameters.",
        "F11",
        "Call zero_grad() before backward(), never between backward() and step().",
        "optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
    ),
    "parameters_not_in_optimizer": Cause(
        "Parameters that the loss depends on are not in the optimizer: they never change.",
        "F11",
        "Make the optimizer from all parameters of the model that is trained, after the model.",
        "optimizer = torch.optim.Adam(model.parameters())",
    ),
    "parameters_not_registered": Cause(
        "Layers are kept in a plain list or dict: model.parameters() does not find them.",
        "F11",
        "Keep them in nn.ModuleList, nn.ModuleDict or nn.Parameter.",
        "self.layers = nn.ModuleList(layers)",
    ),
    "parameters_frozen": Cause(
        "Parameters that were drawn at random have requires_grad=False: they never change.",
        "F11",
        "Unfreeze them.",
        "model.requires_grad_(True)",
    ),
    "parameters_shared": Cause(
        "One layer stands in several places: its weights are shared.",
        "F11",
        "Make a layer for each place.",
        "layers = [nn.Linear(n, n) for _ in range(3)]  # not [nn.Linear(n, n)] * 3",
    ),
    "graph_cut_by_detach": Cause(
        "The loss depends on parameters that get no gradient: the graph is cut on the way.",
        "F11",
        "Leave out detach(), .data, .item(), no_grad() and argmax between parameter and loss.",
        "h = self.encoder(x)  # not self.encoder(x).detach()",
    ),
    "step_changes_nothing": Cause(
        "A step of the optimizer changes no parameter.",
        "F11",
        "Look for a missing step(), a rate of 0, or gradients of 0.",
        "loss.backward()\noptimizer.step()",
    ),
    "trained_in_eval_mode": Cause(
        "The model is in evaluation mode while it is trained: dropout is off, and normalization "
        "uses old statistics.",
        "F11",
        "Call model.train() after each validation.",
        "model.train()",
    ),
    "schedule_ends_too_early": Cause(
        "The schedule has brought the rate to nearly 0 long before the training ends.",
        "F2",
        "Make the schedule as long as the training; look whether it is stepped per batch or per "
        "epoch.",
        "scheduler = CosineAnnealingLR(optimizer, T_max=epochs * len(loader))  # stepped per batch",
    ),
    "lr_too_high": Cause(
        "The rate is above what the loss allows.",
        "F1",
        "Lower the rate by a factor of 3 to 10.",
        'for group in optimizer.param_groups:\n    group["lr"] /= 10',
    ),
    "lr_too_low": Cause(
        "The rate is so small that the loss falls too slowly.",
        "F2",
        "Raise the rate 10 times at a time, or by the factor that the finding names.",
        'for group in optimizer.param_groups:\n    group["lr"] *= 10',
    ),
    "weight_decay_too_high": Cause(
        "Weight decay pulls the weights to 0 more strongly than the gradient pulls them away.",
        "F6",
        "Lower the decay by a factor of 10 or more, or use AdamW, which decays apart from Adam's "
        "scaling.",
        "optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)",
    ),
    "exploding_gradient_no_clipping": Cause(
        "A few gradients are far larger than the others, and their steps destroy what was learned.",
        "F1",
        "Clip the norm of the gradient before the step.",
        "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
    ),
    "gradient_clipped_too_hard": Cause(
        "Clipping makes each gradient so small that the loss falls too slowly.",
        "F2",
        "Clip at about the usual norm of the gradient.",
        "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
    ),
    # The architecture and its start
    "batch_norm_with_tiny_batches": Cause(
        "Batch normalization estimates mean and variance from very few values.",
        "F11",
        "Use larger batches, or normalize each example by itself.",
        "nn.GroupNorm(8, channels)  # instead of nn.BatchNorm2d(channels)",
    ),
    "batch_dimension_mixed": Cause(
        "Examples of a batch influence one another's output.",
        "F11",
        "Keep the batch dimension apart: batch_first=True, the right dim, the right view.",
        "nn.LSTM(features, width, batch_first=True)",
    ),
    "vanishing_gradient_sigmoid": Cause(
        "Saturating activations make the gradient of the first layers nearly 0.",
        "F4",
        "Use ReLU or tanh with a matching initialization, normalization, or residual connections.",
        "nn.Sequential(nn.Linear(n, n), nn.BatchNorm1d(n), nn.ReLU())  # instead of nn.Sigmoid()",
    ),
    "dead_relu": Cause(
        "Most units of a layer are 0 for every input: they get no gradient.",
        "F4",
        "Lower the rate, start biases at 0, scale the inputs, or use LeakyReLU.",
        "nn.LeakyReLU(0.01)  # instead of nn.ReLU()",
    ),
    "init_too_large": Cause(
        "The first weights are so large that activations grow from layer to layer.",
        "F10",
        "Draw weights with deviation sqrt(2 / inputs) (He) or sqrt(2 / (inputs + outputs)) "
        "(Glorot).",
        'nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")',
    ),
    "loss_starts_high": Cause(
        "The first loss is far above that of the best constant: the first steps only undo it.",
        "F9",
        "Scale inputs and targets, draw the last weights small, and start its bias at the mean of "
        "the targets.",
        "nn.init.zeros_(model.out.weight)\nmodel.out.bias.data.fill_(y.mean())",
    ),
    "constant_init": Cause(
        "All weights of a layer start equal: its units compute the same for ever.",
        "F10",
        "Draw the weights at random; only biases may start at 0.",
        "layer.reset_parameters()",
    ),
    "weights_not_finite": Cause(
        "Weights are NaN or infinite before the first step: so is every loss.",
        "F10",
        "Look at the checkpoint that is loaded, and at parameters made by torch.empty.",
        "print([n for n, p in model.named_parameters() if not p.isfinite().all()])",
    ),
    "ill_conditioned": Cause(
        "The loss is far steeper in some directions than in others: steps zig-zag.",
        "F3",
        "Use momentum, an adaptive rule, normalization, or standardized inputs.",
        "optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)",
    ),
    # Numerics
    "nan_gradient_of_sqrt_at_zero": Cause(
        "The derivative of a root is infinite at 0, and so is that of acos or asin at 1: the loss "
        "is finite, and its gradient is NaN.",
        "F11",
        "Add a small number under the root, or keep what goes into acos off 1.",
        "torch.sqrt(x + 1e-8)  # not torch.sqrt(x)\ntorch.acos(x.clamp(-1 + 1e-6, 1 - 1e-6))",
    ),
    "gradient_wrong": Cause(
        "A backward pass that the user wrote is not the derivative of its forward pass.",
        "F11",
        "Correct backward(), and hold it against torch.autograd.gradcheck.",
        "x = torch.randn(5, dtype=torch.float64, requires_grad=True)\n"
        "torch.autograd.gradcheck(Own.apply, x)",
    ),
    "gradient_not_finite": Cause(
        "The loss is finite, and its gradient is not.",
        "F11",
        "Keep the arguments of log, division, acos and exp away from where they are infinite.",
        "torch.log(x.clamp(min=1e-8))",
    ),
    # What learning itself shows
    "noise_floor": Cause(
        "The noise of minibatches keeps the loss above its minimum.",
        "F5",
        "Lower the rate in the end, or use larger batches.",
        "scheduler = CosineAnnealingLR(optimizer, T_max=steps)",
    ),
    "plateau": Cause(
        "The gradient is nearly 0 where the loss is still high.",
        "F4",
        "Where the loss never fell, let thalweg check look at the wiring first; else try another "
        "initialization, momentum, or an adaptive rule.",
        "optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)",
    ),
    "underfitting": Cause(
        "The training loss stays high: the model cannot represent what it should learn.",
        "F6",
        "Use a larger model, better features, less regularization, or a longer training.",
        "model = nn.Sequential(nn.Linear(n, 256), nn.ReLU(), nn.Linear(256, outputs))",
    ),
    "overfitting": Cause(
        "The training loss falls, and the validation loss rises.",
        "F7",
        "Stop earlier, use more data, augmentation, weight decay or dropout, or a smaller model.",
        "optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)",
    ),
    # What a curve shows, whatever its cause
    "diverged": Cause(
        "The loss fell, or did not, and then grew.",
        "F1",
        "Lower the rate by a factor of 3 to 10, clip gradients, or warm the rate up; "
        "thalweg.Doctor tells which.",
        'for group in optimizer.param_groups:\n    group["lr"] /= 10',
    ),
    "loss_not_finite": Cause(
        "The loss is NaN or infinite, though it had not grown before.",
        "F11",
        "Look for NaN in the data, log(0), sqrt(0), a division by 0 and overflow in half "
        "precision; thalweg.check looks for them too.",
        "torch.autograd.set_detect_anomaly(True)  # names the operation",
    ),
    "still_falling": Cause(
        "The loss is still falling fast at the end: the training is too slow, or too short.",
        "F2",
        "Train longer, or try three times the rate.",
        'for group in optimizer.param_groups:\n    group["lr"] *= 3',
    ),
    "loss_spikes": Cause(
        "The loss jumps up and comes back: some steps are far too large.",
        "F1",
        "Clip the norm of the gradient, lower the rate, or look at the batches at the spikes.",
        "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
    ),
}
