"""examples/charlm-adamw.yaml in plain PyTorch: the same model, text, groups and schedule, and no asgd in the loop.

python examples/scripts/charlm_plain.py [--seed 0]
"""

import argparse
import math
import time
from fnmatch import fnmatch

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from asgd.examples import charlm

EPOCHS, WARMUP, BATCH_SIZE, LEARNING_RATE = 10, 0.3, 8, 0.002
BETAS, WEIGHT_DECAY, NO_DECAY = (0.0, 0.99), 0.1, ("*bias", "*norm*", "*perceptron.0*", "positions")
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
torch.manual_seed(parser.parse_args().seed)
torch.set_num_threads(1)

model = charlm.Transformer(context=64, width=64, layers=2)
groups = [{"params": [], "weight_decay": 0}, {"params": [], "weight_decay": WEIGHT_DECAY}]
for name, parameter in model.named_parameters():
    groups[not any(fnmatch(name, pattern) for pattern in NO_DECAY)]["params"].append(parameter)
optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS)
text = charlm.windows(charlm.encode(charlm.topics(charlm.LEARNT)), 64)
loader = DataLoader(TensorDataset(text), batch_size=BATCH_SIZE, shuffle=True)
warm, whole = WARMUP * len(loader), EPOCHS * len(loader)


def rate(step: int) -> float:
    return step / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (whole - warm))


scheduler = LambdaLR(optimizer, rate)

started = time.perf_counter()
for _ in range(EPOCHS):
    for batch in loader:
        optimizer.zero_grad()
        loss = charlm.next_character(model, batch)
        loss.backward()
        optimizer.step()
        scheduler.step()
print(f"{time.perf_counter() - started:.0f} s", charlm.task().evaluate(model))
