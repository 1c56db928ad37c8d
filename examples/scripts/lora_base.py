"""The base of examples/lora.yaml: a small Llama from a config reads Python's language reference, in plain PyTorch.

python examples/scripts/lora_base.py [lora-base]
"""

import sys
import time

import torch
from torch.utils.data import DataLoader, TensorDataset

from asgd.examples import lora

EPOCHS = 6
folder = sys.argv[1] if len(sys.argv) > 1 else "lora-base"
torch.manual_seed(0)
torch.set_num_threads(1)

model = lora.base()
loader = DataLoader(TensorDataset(lora.prose()), batch_size=16, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.005, weight_decay=0.1)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.005, total_steps=EPOCHS * len(loader), pct_start=0.1)

started = time.perf_counter()
for _ in range(EPOCHS):
    for (text,) in loader:
        optimizer.zero_grad()
        loss = lora.next_character(model, text)
        loss.backward()
        optimizer.step()
        scheduler.step()
model.save_pretrained(folder)
bits = lora.bits_per_character(model, lora.code(lora.HELD_OUT_CODE))
print(f"{folder}: {bits:.2f} bits per character of code, {time.perf_counter() - started:.0f} s")
