"""examples/fashion.yaml in plain PyTorch: the same model, images, groups and schedule, and no asgd in the loop.

python examples/scripts/fashion_plain.py [--seed 0]
"""

import argparse
import math
import time
from fnmatch import fnmatch

import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from asgd.examples import fashion
from asgd.examples.parts import Rows, as_it_is

WIDTH, EPOCHS, WARMUP, BATCH_SIZE, LEARNING_RATE = 12, 2, 0.1, 32, 0.005
BETAS, WEIGHT_DECAY, NO_DECAY = (0.0, 0.99), 0.05, ("*bias", "stem.1*", "*inner.1*", "*inner.4*", "*around.1*")
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
torch.manual_seed(parser.parse_args().seed)
torch.set_num_threads(1)

model = fashion.ResNet(WIDTH)
groups = [{"params": [], "weight_decay": 0}, {"params": [], "weight_decay": WEIGHT_DECAY}]
for name, parameter in model.named_parameters():
    groups[not any(fnmatch(name, pattern) for pattern in NO_DECAY)]["params"].append(parameter)
optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS)
rows = Rows(*fashion.images_and_labels("train"))
loader = DataLoader(rows, batch_size=BATCH_SIZE, shuffle=True, collate_fn=as_it_is)
warm, whole = WARMUP * len(loader), EPOCHS * len(loader)


def rate(step: int) -> float:
    return step / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (whole - warm))


scheduler = LambdaLR(optimizer, rate)

started = time.perf_counter()
for _ in range(EPOCHS):
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        scheduler.step()
model.eval()
print(f"{time.perf_counter() - started:.0f} s", fashion.task().evaluate(model))
