"""Keras as its tutorials use it: model.fit on numpy arrays; KERAS_BACKEND picks the engine. Run by bench/pictures.py in the peer's venv.

No progress bar (verbose=0): with one, Keras would be slower, which nobody who times it would leave on.
"""

from __future__ import annotations

import os
import time

import fashion
import keras
import numpy as np
import spawned
from keras import layers

args = fashion.words()
keras.utils.set_random_seed(args.seed)
pictures = [part.astype(np.float32) / 255 if part.ndim == 3 else part.astype(np.int64) for part in fashion.parts()]
x, y, x_valid, y_valid, x_test, y_test = [part[..., None] if part.ndim == 3 else part for part in pictures]

if args.workload == "mlp":
    body = [layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(128, activation="relu")]
else:
    body = [layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(2)]
    body += [layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2)]
    body += [layers.Flatten(), layers.Dense(128, activation="relu")]
model = keras.Sequential([keras.Input((28, 28, 1)), *body, layers.Dense(10)])
model.compile(
    optimizer=keras.optimizers.Adam(fashion.LR),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
    steps_per_execution=args.steps_per_execution,
)

marks = [time.perf_counter()]
ends = []


class Clock(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):  # called after the validation of that epoch
        marks.append(time.perf_counter())
        ends.append(spawned.since_spawn())


past = model.fit(x, y, batch_size=fashion.BATCH, epochs=args.epochs, validation_data=(x_valid, y_valid), callbacks=[Clock()], verbose=0)
test = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
spawned.tell(
    epoch_seconds=np.diff(marks).tolist(),
    total_seconds=ends[-1],
    valid=[float(value) for value in past.history["val_accuracy"]],
    test=float(test),
    threads=len(os.sched_getaffinity(0)),  # both engines take all cores that they may
    parameters=model.count_params(),
)
