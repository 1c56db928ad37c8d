"""A DCGAN draws clothes after Fashion-MNIST: two models, two optimizers, ordinary PyTorch."""

import argparse

import torch
from torch.utils.data import DataLoader, TensorDataset

from asgd.examples import dcgan

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--images", type=int, default=60_000)
parser.add_argument("--folder", default=dcgan.FOLDER)
parser.add_argument("--picture", default="dcgan.png")
args = parser.parse_args()

torch.set_num_threads(1)
images = dcgan.images("train", args.folder)[: args.images]
loader = DataLoader(TensorDataset(images), batch_size=64, shuffle=True, drop_last=True)
generator, critic = dcgan.generator(), dcgan.critic()
of_generator = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
of_critic = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))

for _ in range(args.epochs):
    for (real,) in loader:
        fake = generator(torch.randn(len(real), dcgan.NOISE))
        of_critic.zero_grad()
        loss = dcgan.taken_for(True, critic(real)) + dcgan.taken_for(False, critic(fake.detach()))
        loss.backward()
        of_critic.step()

        of_generator.zero_grad()
        loss = dcgan.taken_for(True, critic(fake))
        loss.backward()
        of_generator.step()

generator.eval()
distance = dcgan.distance(dcgan.drawn(generator, 2000), dcgan.images("t10k", args.folder))
print(f"Fréchet distance {distance:.2f}")
dcgan.save_grid(args.picture, dcgan.drawn(generator, 60))
