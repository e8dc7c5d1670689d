"""AdamW with its state in the open: all weights in one vector, and of the token table only the rows that a step uses.

The update is PyTorch's fused one, called without the Optimizer class around it, which at its first step loads the
compiler of PyTorch and takes longer than a small model's whole epoch.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from integer_tickets.model.transformer import Transformer
from integer_tickets.training.state import State, weights_of

TABLE = "tokens.weight"
LINE = 16  # numbers in a cache line, on which every tensor in the vector begins


class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101) for matrices that learn, none for the rest.

    The second moment forgets as in RoBERTa (arXiv 1907.11692): a run of a few hundred steps has no time for 0.999.

    The parameters of `model` become views of one vector, and their gradients views of another: zeroing, masking,
    adding up over processes and the update itself are single operations, however many tensors there are. Of the token
    table a step updates those rows alone that occur in its batch, as every other row has no gradient; their moments
    and decay rest meanwhile (the lazy form that PyTorch calls SparseAdam). Masked places are exactly zero after every
    step in weights and moments: their gradients are.
    """

    def __init__(self, model: Transformer, state: State, weight_decay: float, masks: Mapping[str, Tensor]) -> None:
        self.model, self.weight_decay, self.steps = model, weight_decay, state.step
        model.load_state_dict(state.weights)
        parameters = dict(model.named_parameters())
        self.table = parameters.pop(TABLE)
        device = self.table.device
        matrices = [name for name, own in parameters.items() if name.endswith(".weight") and own.requires_grad]
        self.names = [*matrices, *(name for name in parameters if name not in matrices)]
        self.places: dict[str, slice] = {}
        end = self.decayed = 0
        for name in self.names:
            size = parameters[name].numel()
            self.places[name] = slice(end, end + size)
            end += -(-size // LINE) * LINE
            self.decayed = end if name in matrices else self.decayed
        self.shapes = {name: parameters[name].shape for name in self.names}
        self.weights, self.gradients, self.first, self.second = torch.zeros(4, end, device=device).unbind()
        self.alive = torch.ones(end, device=device) if masks else None
        for name, place in self.places.items():
            self.weights[place] = parameters[name].detach().flatten()
            self.first[place], self.second[place] = state.first[name].flatten(), state.second[name].flatten()
            if self.alive is not None and name in masks:
                self.alive[place] = masks[name].flatten().to(device, torch.float32)
            parameters[name].data = self.weights[place].view(self.shapes[name])
            parameters[name].grad = self.gradients[place].view(self.shapes[name])
        self.table_first = state.first[TABLE].to(device, copy=True)
        self.table_second = state.second[TABLE].to(device, copy=True)
        self.table_alive = masks[TABLE].to(device, torch.float32) if TABLE in masks else None
        self.rows, self.used = self.table.detach()[:0], torch.zeros(0, dtype=torch.int64)

    def begin(self, used: Tensor) -> Tensor:
        """Zero all gradients; the rows `used` (int64, each once) of the token table, as a leaf of this step's graph."""
        self.gradients.zero_()
        self.used, self.rows = used, self.table.detach()[used].requires_grad_()
        return self.rows

    def gathered(self) -> list[Tensor]:
        """The gradients of this step, two tensors."""
        assert self.rows.grad is not None
        return [self.gradients, self.rows.grad]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        gradients, row_gradients = self.gathered()
        if self.alive is not None:
            gradients.mul_(self.alive)
        if self.table_alive is not None:
            row_gradients.mul_(self.table_alive[self.used])
        rows, first, second = self.rows.detach(), self.table_first[self.used], self.table_second[self.used]
        moments = (gradients, self.first, self.second)
        decayed, others = slice(0, self.decayed), slice(self.decayed, None)
        self._update([(self.weights[decayed], *(x[decayed] for x in moments)), (rows, row_gradients, first, second)],
                     lr, self.weight_decay)  # fmt: skip
        self._update([(self.weights[others], *(x[others] for x in moments))], lr, 0.0)
        self.table.detach()[self.used] = rows
        self.table_first[self.used], self.table_second[self.used] = first, second
        self.steps += 1

    def _update(self, parts: list[tuple[Tensor, ...]], lr: float, weight_decay: float) -> None:
        weights, gradients, first, second = (list(column) for column in zip(*parts, strict=True))
        steps = [torch.tensor(float(self.steps), device=self.weights.device) for _ in parts]
        adamw(
            weights, gradients, first, second, [], steps, fused=True, amsgrad=False, beta1=0.9, beta2=0.98, lr=lr,
            weight_decay=weight_decay, eps=1e-8, maximize=False,
        )  # fmt: skip

    def revived(self) -> Tensor:
        """The sum of all that should be zero in weights and moments, a scalar.

        After a gradient at any step the second moment would not be zero, and a weight that is not zero stays so.
        """
        total = torch.zeros((), device=self.weights.device)
        for alive, *parts in (
            (self.alive, self.weights, self.first, self.second),
            (self.table_alive, self.table.detach(), self.table_first, self.table_second),
        ):
            if alive is not None:
                total += sum(((1 - alive) * part.abs()).sum() for part in parts)
        return total

    def snapshot(self) -> State:
        """Where the run stands, on the CPU, in tensors of its own."""

        def copies(vector: Tensor, table: Tensor) -> dict[str, Tensor]:
            parts = {name: vector[place].view(self.shapes[name]) for name, place in self.places.items()}
            return {name: tensor.to("cpu", copy=True) for name, tensor in {TABLE: table, **parts}.items()}

        first, second = copies(self.first, self.table_first), copies(self.second, self.table_second)
        return State(self.steps, weights_of(self.model), first, second)
