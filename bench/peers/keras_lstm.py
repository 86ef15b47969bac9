"""Keras' LSTM as its examples use it: Embedding, LSTM, Dense; model.fit on padded ids. Run by bench/text.py in the peer's venv."""

from __future__ import annotations

import os
import time

import keras
import numpy as np
import reviews
import spawned
from keras import layers

args = reviews.words()
keras.utils.set_random_seed(args.seed)
(x, y), valid, test = reviews.parts(args.folder)

model = keras.Sequential(
    [
        keras.Input((x.shape[1],), dtype="int64"),
        layers.Embedding(reviews.VOCABULARY, reviews.WIDTH),
        layers.LSTM(reviews.HIDDEN),
        layers.Dense(2),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(reviews.LR),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
    steps_per_execution=args.steps_per_execution,
)
marks, ends = [time.perf_counter()], []


class Clock(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):  # called after the validation of that epoch
        marks.append(time.perf_counter())
        ends.append(spawned.since_spawn())


past = model.fit(x, y, batch_size=reviews.BATCH, epochs=args.epochs, validation_data=valid, callbacks=[Clock()], verbose=0)
spawned.tell(
    epoch_seconds=np.diff(marks).tolist(),
    total_seconds=ends[-1],
    valid=[float(value) for value in past.history["val_accuracy"]],
    test=float(model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]),
    threads=len(os.sched_getaffinity(0)),  # both engines take all cores that they may
    parameters=model.count_params(),
)
