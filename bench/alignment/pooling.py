"""Ways from frames to an utterance. Each takes hidden [B, T, W], frame logits z [B, T, C] and `present` bool [B, T], and gives
utterance logits [B, C] and frame posteriors [B, T, C]."""

import torch
from torch import nn
from torch.nn.functional import logsigmoid


def over_frames(values, present):
    """-inf where there is no frame, for a softmax or maximum over frames."""
    return values.masked_fill(~present[..., None], -torch.inf)


def mean_over(values, present):
    return (values * present[..., None]).sum(1) / present.sum(1, keepdim=True)


class Pooling(nn.Module):
    def __init__(self, width, classes, neutral):
        super().__init__()
        self.neutral = neutral

    def forward(self, hidden, z, present):
        return self.pool(z, present), z.softmax(-1)


class Mean(Pooling):
    def pool(self, z, present):
        return mean_over(z, present)


class Max(Pooling):
    def pool(self, z, present):
        return over_frames(z, present).amax(1)


class TopK(Pooling):
    """Mean over the quarter of the frames that speaks most for a class."""

    def pool(self, z, present):
        ranked = over_frames(z, present).sort(1, descending=True).values
        count = (present.sum(1, keepdim=True) / 4).ceil()
        chosen = torch.arange(z.shape[1]) < count
        return mean_over(ranked.masked_fill(~chosen[..., None], 0), chosen)


class LogSumExp(Pooling):
    """Pinheiro and Collobert, 2015."""

    sharpness = 4

    def pool(self, z, present):
        summed = over_frames(self.sharpness * z, present).logsumexp(1)
        return (summed - present.sum(1, keepdim=True).log()) / self.sharpness


class Auto(Pooling):
    """McFee et al., 2018: a softmax over frames whose sharpness is learned, one a class."""

    def __init__(self, width, classes, neutral):
        super().__init__(width, classes, neutral)
        self.sharpness = nn.Parameter(torch.ones(classes))

    def pool(self, z, present):
        weights = over_frames(self.sharpness * z, present).softmax(1)
        return (weights * z).sum(1)


class LinearSoftmax(Pooling):
    """Wang, Li and Metze, 2019: frames weigh as much as they are sure."""

    def pool(self, z, present):
        p = z.softmax(-1) * present[..., None]
        return ((p * p).sum(1) / p.sum(1)).log()


class NoisyOr(Pooling):
    """An utterance is neutral unless some frame is emotional; frames are independent."""

    def __init__(self, width, classes, neutral):
        super().__init__(width, classes, neutral)
        # At first some frame in a hundred is emotional, else every utterance is.
        self.bias = nn.Parameter(torch.full((classes,), -5.0))

    def evidence(self, z):
        return z - z[..., self.neutral, None] + self.bias

    def forward(self, hidden, z, present):
        evidence = self.evidence(z)
        none = (logsigmoid(-evidence) * present[..., None]).sum(1).clamp(max=-1e-6)
        logits = torch.log(-torch.expm1(none)) - none
        logits = logits.index_fill(1, torch.tensor(self.neutral), 0)
        return logits, evidence.index_fill(2, torch.tensor(self.neutral), 0).softmax(-1)


class Attention(Pooling):
    """As published: a = softmax over frames of tanh(h · w). Its weights are in `weights` [B, T]."""

    def __init__(self, width, classes, neutral):
        super().__init__(width, classes, neutral)
        self.vector = nn.Parameter(torch.rand(width))

    def forward(self, hidden, z, present):
        scores = torch.tanh(hidden @ self.vector)[..., None]
        self.weights = over_frames(scores, present).softmax(1)
        # The output layer is linear: pooling before it is pooling after it.
        return (self.weights * z).sum(1), z.softmax(-1)


class ForwardBackward(Pooling):
    """An utterance of an emotion is neutral frames and at least one island of it: the sum over all such paths."""

    def __init__(self, width, classes, neutral, scale=0.1, switching_cost=4.0):
        super().__init__(width, classes, neutral)
        self.bias = nn.Parameter(torch.zeros(classes))
        self.scale = scale
        cost = torch.tensor(switching_cost)
        self.stay, self.switch = logsigmoid(cost), logsigmoid(-cost)

    def log_partition(self, r, present):
        """log Z [B, C] of evidence r [B, T, C]. States: before an island, in one, after one."""
        before = torch.full_like(r[:, 0], 0.5).log()
        inside = before + r[:, 0]
        after = torch.full_like(before, -torch.inf)
        # Sums are of finite terms alone, as the gradient of -inf - -inf is none.
        for t in range(1, r.shape[1]):
            entered = [before + self.switch, inside + self.stay]
            if t > 1:
                entered.append(after + self.switch)
            left = [inside + self.switch] + ([after + self.stay] if t > 1 else [])
            new = (
                before + self.stay,
                torch.stack(entered).logsumexp(0) + r[:, t],
                torch.stack(left).logsumexp(0),
            )
            here = present[:, t, None]
            old = (before, inside, after)
            before, inside, after = (torch.where(here, a, b) for a, b in zip(new, old))
        return torch.logaddexp(inside, after)

    def forward(self, hidden, z, present):
        r = self.scale * (z - z[..., self.neutral, None])
        logits = self.log_partition(r, present) + self.bias
        logits = logits.index_copy(
            1, torch.tensor([self.neutral]), self.bias[self.neutral].expand(len(z), 1)
        )
        return logits, None if self.training else self.posteriors(r, present, logits)

    def posteriors(self, r, present, logits):
        """The gradient of log Z by the evidence is how often a frame lies in an island."""
        with torch.enable_grad():
            r = r.detach().requires_grad_()
            (occupancies,) = torch.autograd.grad(self.log_partition(r, present).sum(), r)
        q = logits.softmax(-1)[:, None] * occupancies
        q[..., self.neutral] = 0
        q[..., self.neutral] = 1 - q.sum(-1)
        return q


POOLINGS = {
    "mean": Mean,
    "max": Max,
    "top-k": TopK,
    "log-sum-exp": LogSumExp,
    "noisy-or": NoisyOr,
    "linear softmax": LinearSoftmax,
    "auto": Auto,
    "attention": Attention,
    "forward-backward": ForwardBackward,
    "true frame labels": ForwardBackward,
}
