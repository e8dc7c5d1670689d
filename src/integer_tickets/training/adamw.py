"""AdamW with its state in the open: the update is PyTorch's fused one, called without the Optimizer class around it.

The class loads the compiler of PyTorch at its first step, which takes longer than a small model's whole epoch.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from integer_tickets.training.state import State, weights_of


class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101) for weight matrices, none for the rest."""

    def __init__(self, model: nn.Module, state: State, weight_decay: float) -> None:
        self.model, self.weight_decay, self.steps = model, weight_decay, state.step
        self.parameters = dict(model.named_parameters())
        self.matrices = [name for name in self.parameters if name.endswith(".weight")]
        self.others = [name for name in self.parameters if not name.endswith(".weight")]
        self.first, self.second = self._own(state.first), self._own(state.second)

    def _own(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensors[name].to(p.device, copy=True) for name, p in self.parameters.items()}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        for names, decay in ((self.matrices, self.weight_decay), (self.others, 0.0)):
            parameters: list[Tensor] = [self.parameters[name] for name in names]
            gradients = [p.grad for p in parameters if p.grad is not None]
            assert len(gradients) == len(parameters)  # every parameter takes part in every step
            adamw(
                parameters,
                gradients,
                [self.first[name] for name in names],
                [self.second[name] for name in names],
                [],
                [torch.tensor(float(self.steps), device=p.device) for p in parameters],
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=lr,
                weight_decay=decay,
                eps=1e-8,
                maximize=False,
            )
        self.steps += 1

    def snapshot(self) -> State:
        """Where the run stands, on the CPU, in tensors of its own."""

        def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}

        return State(self.steps, weights_of(self.model), copies(self.first), copies(self.second))
