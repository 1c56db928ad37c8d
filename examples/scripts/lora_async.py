"""Adapters (LoRA) of a small Llama learn source code: transformers, peft and ordinary PyTorch.

The base, which has read prose only, is made by examples/scripts/lora_base.py. The rates are those of LoRA+: of the two
matrices of an adapter, B learns faster.
"""

import argparse

import asgd
import torch
from torch.utils.data import DataLoader, TensorDataset

from asgd.examples import lora

EPOCHS = 4

parser = argparse.ArgumentParser()
parser.add_argument("--base", default="lora-base")
parser.add_argument("--epochs", type=int, default=EPOCHS)
args = parser.parse_args()

torch.set_num_threads(1)
model = lora.adapted(args.base)
loader = DataLoader(TensorDataset(lora.code()), batch_size=16, shuffle=True)
held_out = lora.code(lora.HELD_OUT_CODE)
print(f"base alone {lora.bits_per_character(model, held_out):.3f} bits per character")

a_and_b = [[p for n, p in model.named_parameters() if matrix in n] for matrix in ("lora_A", "lora_B")]
optimizer = torch.optim.AdamW([{"params": group} for group in a_and_b], betas=(0.5, 0.99), weight_decay=0.01)
optimizer = asgd.connect(model, optimizer)
steps = args.epochs * len(loader)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, [0.002, 0.01], steps, pct_start=0.1, cycle_momentum=False)

for _ in range(args.epochs):
    for (text,) in optimizer.until_stopped(loader):
        optimizer.zero_grad()
        loss = lora.next_character(model, text)
        loss.backward()
        optimizer.step(loss=loss)
        scheduler.step()

print(f"with adapters {lora.bits_per_character(model, held_out):.3f} bits per character")
