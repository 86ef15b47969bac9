"""Keras' own example network for CIFAR-10 (keras examples, cifar10_cnn), on the JPEG copies, for as many minutes as it is given.

    LUBAN_DATA=... KERAS_BACKEND=tensorflow python bench/peers/keras_cifar.py --minutes 20

conv 32, conv 32, pool, dropout .25, conv 64, conv 64, pool, dropout .25, dense 512, dropout .5; batch 32, RMSprop 1e-4, pictures shifted
and mirrored, as in the example. Needs pillow. Reading the files does not count.
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image

parser = argparse.ArgumentParser()
parser.add_argument("--minutes", type=float, default=20)
parser.add_argument("--seed", type=int, default=42)
args = parser.parse_args()
keras.utils.set_random_seed(args.seed)


def pictures(part: str) -> tuple[np.ndarray, list[str]]:
    x, y = [], []
    with tarfile.open(Path(os.environ["LUBAN_DATA"]) / "cifar10-jpeg" / f"cifar10_{part}.tar.xz") as tar:
        for member in tar:
            if member.name.endswith((".jpg", ".jpeg")):
                x.append(np.asarray(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")))
                y.append(Path(member.name).parent.name)
    return np.stack(x).astype(np.float32) / 255, y


(x, words), (x_test, words_test) = pictures("train"), pictures("test")
names = sorted(set(words))
y, y_test = (np.array([names.index(word) for word in each]) for each in (words, words_test))
model = keras.Sequential(
    [
        keras.Input((32, 32, 3)),
        layers.RandomFlip("horizontal"),
        layers.RandomTranslation(0.1, 0.1),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(0.25),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(0.25),
        layers.Flatten(),
        layers.Dense(512, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(len(names)),
    ]
)
model.compile(
    optimizer=keras.optimizers.RMSprop(1e-4),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
began = time.time()


class Limit(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if time.time() - began > 60 * args.minutes:
            self.model.stop_training = True


past = model.fit(x, y, batch_size=32, epochs=200, callbacks=[Limit()], verbose=0)
test = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
print(f"epochs {len(past.history['loss'])}, {time.time() - began:.0f} s, test accuracy {test:.4f}")
